"""Errors that more than one room raises."""

from __future__ import annotations


class UnavailableError(ValueError):
    """Data or weights that are not here: the same request works with a network or a local copy."""


class DataError(ValueError):
    """Input that cannot be used: the message names the file and the line, and what to do."""


class RepeatedChoiceError(DataError):
    """An item that offers one choice twice: no answer to it can be told from its copy."""


class MissingDataError(DataError, UnavailableError):
    """Data that is not here: the same request works with a network or a local copy."""
