"""Checkpoints within a cell: how far a long training has come, in case its worker is lost.

Each worker writes its share, then the first one writes `progress.json`, which names the update and
thereby the shares: what it names is complete. A finished cell has no checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from trainables.storage import layout
from trainables.storage.filesystem import Storage

INTERVAL_S = 600.0
"""Between two checkpoints: the most training time that a lost worker costs."""

HURRIED_S = 20.0
"""Between two checkpoints once the cloud has announced that it takes a machine of the worker group
away: 30 to 120 s later."""

KEPT_S = 14 * 24 * 3600.0
"""Age at which a checkpoint is deleted if its cell belongs to no study that runs now."""


@dataclass(kw_only=True, slots=True)
class Timer:
    """Returns true once per interval; the first time after the first interval."""

    interval_s: float = INTERVAL_S
    is_leaving: Callable[[], bool] = lambda: False
    """Whether a machine of the worker group is about to be taken away; then the timer fires at
    once, and more often."""
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)
    _was_leaving: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def __call__(self) -> bool:
        """Returns whether the interval has passed."""
        now, leaving = self.clock(), self.is_leaving()
        is_news, self._was_leaving = leaving and not self._was_leaving, leaving
        interval = min(HURRIED_S, self.interval_s) if leaving else self.interval_s
        if now - self._last < interval and not is_news:
            return False
        self._last = now
        return True


@dataclass(kw_only=True, slots=True)
class Usage:
    """Time and tokens that a cell has used, in this process and in those whose training it resumes.

    Work that a lost process did after its last checkpoint is not counted.
    """

    tokens: int = 0
    """Tokens that went through the base model in forward passes, padding included."""
    _started: float = field(init=False, default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Wall-clock time."""
        return time.perf_counter() - self._started

    def add(self, earlier: Progress) -> None:
        """Adds what earlier processes had used when they wrote the checkpoint."""
        self.tokens += earlier.tokens
        self._started -= earlier.seconds


class Progress(BaseModel):
    """The content of progress.json."""

    model_config = ConfigDict(frozen=True)

    update: int = 0
    """Optimizer updates made; names the shares."""
    rows: list[dict[str, Any]] = []
    """What was logged up to this update."""
    execution: dict[str, Any] = {}
    seconds: float = 0.0
    """Used by all processes up to this update, like `tokens`."""
    tokens: int = 0
    """Of the first worker."""
    written: float = 0.0
    """Seconds since 1970."""


def read_progress(storage: Storage, cell_id: str) -> Progress | None:
    """Returns how far a cell's checkpoint is; None if there is none, or none that can be read."""
    try:
        return Progress.model_validate_json(storage.read_bytes(layout.checkpoint_progress(cell_id)))
    except (FileNotFoundError, ValidationError):
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Reads and writes the checkpoint of one cell."""

    storage: Storage
    cell_id: str
    execution: Mapping[str, Any]
    """Kind of host, workers, engine, versions. A training resumes only under the same execution,
    so that it ends as if it had not been interrupted."""
    usage: Usage = field(default_factory=Usage)
    """Of the cell so far; it is written with the progress."""
    is_due: Callable[[], bool] = field(default_factory=Timer)
    must_stop: Callable[[], bool] = lambda: False
    """Whether the sweep is being stopped: the training writes its checkpoint and ends."""

    def read_progress(self) -> Progress | None:
        """Returns the progress to resume from; None if there is none of the same execution.

        None also if the run folder cannot be read: the training starts over.
        """
        try:
            progress = read_progress(self.storage, self.cell_id)
        except OSError:
            return None
        is_same = progress is not None and progress.execution == dict(self.execution)
        return progress if is_same else None

    def write_progress(self, update: int, rows: Sequence[Mapping[str, float]]) -> None:
        """Makes the shares of this update valid, with the rows logged so far."""
        progress = Progress(
            update=update,
            rows=[dict(row) for row in rows],
            execution=dict(self.execution),
            seconds=self.usage.seconds,
            tokens=self.usage.tokens,
            written=time.time(),
        )
        key = layout.checkpoint_progress(self.cell_id)
        self.storage.write_bytes(key, json.dumps(progress.model_dump()).encode())

    def read_share(self, update: int, rank: int) -> bytes:
        """Returns a worker's share.

        Raises:
            FileNotFoundError: If it does not exist.
        """
        return self.storage.read_bytes(layout.checkpoint_share(self.cell_id, update, rank))

    def write_share(self, update: int, rank: int, content: bytes) -> None:
        """Writes a worker's share."""
        self.storage.write_bytes(layout.checkpoint_share(self.cell_id, update, rank), content)

    def delete_share(self, update: int, rank: int) -> None:
        """Deletes a worker's share of an earlier update."""
        self.storage.delete(layout.checkpoint_share(self.cell_id, update, rank))


def update_reached(storage: Storage, cell_id: str) -> int:
    """Returns the update of the cell's checkpoint; 0 without one."""
    progress = read_progress(storage, cell_id)
    return 0 if progress is None else progress.update


def delete_checkpoint(storage: Storage, cell_id: str) -> None:
    """Deletes a cell's checkpoint, if there is one."""
    storage.delete(layout.checkpoint(cell_id))


def clean_checkpoints(storage: Storage, waiting: Collection[str], *, now: float) -> list[str]:
    """Deletes checkpoints that no cell will resume from; returns the ids of their cells.

    Keeps those of cells that this study is about to run and, for two weeks, those of other studies'
    unfinished cells.

    Args:
        storage: The run folder.
        waiting: Ids of the cells that this study is about to run.
        now: Seconds since 1970.
    """
    orphans = []
    for id_ in storage.list(layout.CHECKPOINTS):
        if id_ in waiting:
            continue
        progress = read_progress(storage, id_) or Progress()
        if storage.exists(layout.record(id_)) or now - progress.written > KEPT_S:
            delete_checkpoint(storage, id_)
            orphans.append(id_)
    return orphans
