"""Errors that end a command, by cause. `study.cli.command` maps them to exit statuses.

`BadInputError` and its subclasses end a command with status 2 before any work starts; the message
names the value and the remedy. `LockLostError`, like an `OSError` of the run folder, ends it with
status 1, and finished work is kept. An error of one cell does not end a command: the worker records
it as the cell's failure.
"""

from __future__ import annotations


class BadInputError(ValueError):
    """The user's input cannot be used."""


class DataError(BadInputError):
    """A data set that cannot be used: the message names the file and the line."""


class RepeatedChoiceError(DataError):
    """An item that offers one choice twice: its answer is ambiguous."""


class UnavailableError(BadInputError):
    """Data or weights that this machine does not have: with a network or a local copy it works."""


class MissingDataError(DataError, UnavailableError):
    """A data set that this machine does not have."""


class StorageError(BadInputError):
    """A run folder's address that cannot be used."""


class RunFolderInUseError(BadInputError):
    """Another sweep holds the run folder's lock."""


class ClusterError(BadInputError):
    """The cluster does not answer, or cannot hold what the study asks for."""


class CostError(BadInputError):
    """The study costs more than the user allows, or its cost is unknown."""


class InsufficientMemoryError(CostError):
    """The machines that the study would run on cannot hold it."""


class LockLostError(RuntimeError):
    """Another sweep took over the run folder's lock while this one held it."""
