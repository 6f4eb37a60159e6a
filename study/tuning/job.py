"""A running recipe search, whose file is rewritten after every trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from search_spaces.base_models import BaseModelRef
from search_spaces.tuning import FoundRecipe, Trial
from study.formatting import duration
from study.tuning.results import describe_trial
from study.tuning.searches import file_of, found_recipe, read_earlier
from trainables.storage.filesystem import Storage
from trainables.tuning.search import Search


class Picture(Protocol):
    """A figure in two formats."""

    @property
    def png(self) -> bytes:
        """The image as PNG."""

    @property
    def svg(self) -> bytes:
        """The image as SVG."""


@dataclass(kw_only=True, slots=True)
class SearchJob:
    """One search with its trials so far, and its file."""

    model: BaseModelRef
    search: Search
    """Includes the trials so far."""
    num_trials: int
    storage: Storage
    space: str
    draw: Callable[[FoundRecipe], Picture | None]
    """Draws the result of a finished search; None if there is too little to draw."""
    seconds: tuple[float, ...] = ()
    is_pinned: bool = False
    """Whether the file has a winner."""
    _started: float = field(init=False, default=0.0)
    _num_before: int = field(init=False, default=0)

    @property
    def name(self) -> str:
        """Name of the search in messages."""
        history = self.search.history
        return f"{self.model.name} {history.start.method} on {history.task} by {history.measure}"

    @property
    def is_over(self) -> bool:
        """Whether all its trials have ended."""
        return len(self.search.history.trials) >= self.num_trials

    @property
    def num_left(self) -> int:
        """Remaining trials."""
        return max(0, self.num_trials - len(self.search.history.trials))

    @property
    def found(self) -> FoundRecipe:
        """Current content of its file."""
        return found_recipe(
            self.search.history,
            model_name=self.model.name,
            seconds=self.seconds,
            is_over=self.is_over,
        )

    def start(self) -> None:
        """Starts the clock of the forecast."""
        self._started = time.monotonic()
        self._num_before = len(self.search.history.trials)

    def add(self, trial: Trial, seconds: float) -> None:
        """Adds an ended trial: writes it to disk, then prints it."""
        history = self.search.history
        history = history.model_copy(update={"trials": (*history.trials, trial)})
        self.search = replace(self.search, history=history)
        self.seconds = (*self.seconds, seconds)
        self.write()
        number = len(history.trials)
        each = (time.monotonic() - self._started) / (number - self._num_before)
        left = each * (self.num_trials - number)
        forecast = f"  ({duration(left)} left)" if left else ""
        print(
            f"  {number:3}/{self.num_trials}  {describe_trial(trial, history)}{forecast}",
            flush=True,
        )

    def write(self) -> None:
        """Writes the file, after the drawing if the search is over."""
        content = self.found
        drawing = self.draw(content) if self.is_over else None
        if drawing is not None:
            self.storage.write_bytes(self.key("png"), drawing.png)
            self.storage.write_bytes(self.key("svg"), drawing.svg)
        self.storage.write_bytes(self.key("json"), content.model_dump_json(indent=1).encode())
        self.is_pinned = content.recipe is not None

    def key(self, ending: str) -> str:
        """Key of the file in the run folder."""
        return file_of(self.space, self.model.name, self.search.history, ending)


def resumed(job: SearchJob) -> SearchJob:
    """Returns the search with the trials of earlier runs.

    Raises:
        ValueError: If its file holds another search.
    """
    earlier = read_earlier(job.storage, job.key("json"), job.search.history)
    if earlier is None:
        return job
    search = replace(job.search, history=earlier.history)
    is_pinned = earlier.recipe is not None
    return replace(job, search=search, seconds=earlier.seconds, is_pinned=is_pinned)
