"""One recipe search while it runs: its file is written anew after every trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from search_spaces.base_models import BaseModelRef
from search_spaces.tuning import FoundRecipe, Trial
from study.tuning.results import describe_trial
from study.tuning.searches import file_of, found_recipe, read_earlier
from trainables.storage.filesystem import Storage
from trainables.tuning.trial import Search


class Picture(Protocol):
    """A figure in two formats."""

    @property
    def png(self) -> bytes:
        """Pixels."""

    @property
    def svg(self) -> bytes:
        """Vectors."""


@dataclass(kw_only=True, slots=True)
class SearchJob:
    """One search: what is known of it so far, and where that is kept."""

    model: BaseModelRef
    search: Search
    """With the trials so far."""
    num_trials: int
    storage: Storage
    space: str
    draw: Callable[[FoundRecipe], Picture | None]
    """Draws what a finished search found; None where there is too little to draw."""
    seconds: tuple[float, ...] = ()
    is_pinned: bool = False
    """Whether its file names a winner."""
    _begun: float = field(init=False, default=0.0)
    _num_before: int = field(init=False, default=0)

    @property
    def name(self) -> str:
        """How messages name it."""
        history = self.search.history
        return f"{self.model.name} {history.start.method} on {history.task} by {history.measure}"

    @property
    def is_over(self) -> bool:
        """Whether it has as many trials as were asked for."""
        return len(self.search.history.trials) >= self.num_trials

    @property
    def num_left(self) -> int:
        """Trials that are still to be run."""
        return max(0, self.num_trials - len(self.search.history.trials))

    @property
    def found(self) -> FoundRecipe:
        """What its file says now."""
        return found_recipe(
            self.search.history,
            model_name=self.model.name,
            seconds=self.seconds,
            is_over=self.is_over,
        )

    def start(self) -> None:
        """Notes the time, for the forecast."""
        self._begun = time.monotonic()
        self._num_before = len(self.search.history.trials)

    def add(self, trial: Trial, seconds: float) -> None:
        """Takes a trial that has ended: on disk before anything is said of it."""
        history = self.search.history
        history = history.model_copy(update={"trials": (*history.trials, trial)})
        self.search = replace(self.search, history=history)
        self.seconds = (*self.seconds, seconds)
        self.write()
        number = len(history.trials)
        each = (time.monotonic() - self._begun) / (number - self._num_before)
        left = each * (self.num_trials - number)
        forecast = f"  ({_duration(left)} left)" if left else ""
        print(
            f"  {number:3}/{self.num_trials}  {describe_trial(trial, history)}{forecast}",
            flush=True,
        )

    def write(self) -> None:
        """Writes the file; once the search is over its drawing is there before it."""
        found = self.found
        drawing = self.draw(found) if self.is_over else None
        if drawing is not None:
            self.storage.write_bytes(self.key("png"), drawing.png)
            self.storage.write_bytes(self.key("svg"), drawing.svg)
        self.storage.write_bytes(self.key("json"), found.model_dump_json(indent=1).encode())
        self.is_pinned = found.recipe is not None

    def key(self, ending: str) -> str:
        """Where it lies in the run folder."""
        return file_of(self.space, self.model.name, self.search.history, ending)


def resumed(job: SearchJob) -> SearchJob:
    """Returns the search with what earlier runs of it found.

    Raises:
        ValueError: If its file holds another search.
    """
    earlier = read_earlier(job.storage, job.key("json"), job.search.history)
    if earlier is None:
        return job
    search = replace(job.search, history=earlier.history)
    is_pinned = earlier.recipe is not None
    return replace(job, search=search, seconds=earlier.seconds, is_pinned=is_pinned)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
