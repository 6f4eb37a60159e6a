"""A recipe search as a value: its items, its history and its base model. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search_spaces.tuning import History, Trial
from trainables.data.items import Item, data_hash
from trainables.models.source import ModelSource


@dataclass(frozen=True, kw_only=True, slots=True)
class EasyItems:
    """All items that a search sees: two disjoint sets of one level, in draw order."""

    labelled: tuple[Item, ...]
    validation: tuple[Item, ...]

    @property
    def hash(self) -> str:
        """Of ids, questions, choices and gold."""
        return data_hash((*self.labelled, *self.validation))


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Everything that the trials of a search need."""

    history: History
    """The search, with the trials of earlier runs."""
    items: EasyItems
    source: ModelSource
    notes: tuple[str, ...] = ()
    """Rows of the task that were left out or changed."""


OnTrial = Callable[[Trial, float], None]
"""Receives a trial that has ended, and its seconds."""

Report = Callable[[float], None]
"""Receives the validation accuracy after each epoch, in [0, 1]; it may raise to stop the trial."""
