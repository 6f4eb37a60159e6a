"""Checkpoints within a cell: how far a long training is, should its worker be lost.

Each worker writes its share, then the first one writes `progress.json`, which names the update and
so the shares: what it names is whole. A cell that has ended has no checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.storage import layout
from trainables.storage.filesystem import Storage

INTERVAL_S = 600.0
"""Between two checkpoints: what a lost worker costs at most, beside the start of another."""

HURRIED_S = 20.0
"""Between two checkpoints once the cloud has said that a machine of the group will be taken away:
its notice is 30 to 120 s long."""

KEPT_S = 14 * 24 * 3600.0
"""A checkpoint of a cell that no study has asked for since is removed after so long."""


@dataclass(kw_only=True, slots=True)
class Timer:
    """Says once every so many seconds that it is time; the first time after the first interval."""

    interval_s: float = INTERVAL_S
    is_leaving: Callable[[], bool] = lambda: False
    """Whether a machine of the group is about to be taken away: then it is time more often, and at
    once."""
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)
    _was_leaving: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def __call__(self) -> bool:
        """Says whether it is time."""
        now, leaving = self.clock(), self.is_leaving()
        is_news, self._was_leaving = leaving and not self._was_leaving, leaving
        interval = min(HURRIED_S, self.interval_s) if leaving else self.interval_s
        if now - self._last < interval and not is_news:
            return False
        self._last = now
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Where one cell's checkpoint lies, and when it is written."""

    storage: Storage
    cell_id: str
    execution: Mapping[str, Any]
    """What a training must be gone on with to end as if it had not been interrupted: kind of host,
    workers, engine, versions."""
    is_due: Callable[[], bool] = field(default_factory=Timer)
    must_stop: Callable[[], bool] = lambda: False
    """Whether the sweep has been told to stop: the training writes its checkpoint and ends."""

    def read_progress(self) -> dict[str, Any] | None:
        """Returns what `write_progress` wrote; None where there is nothing to go on from."""
        try:
            progress = json.loads(self.storage.read_bytes(layout.checkpoint_progress(self.cell_id)))
        except (FileNotFoundError, ValueError):
            return None
        is_alike = isinstance(progress, dict) and progress.get("execution") == dict(self.execution)
        return progress if is_alike else None

    def write_progress(self, update: int, rows: Sequence[Mapping[str, float]]) -> None:
        """Says that the shares of this update are written, and what was logged up to it."""
        progress = {
            "update": update,
            "rows": [dict(row) for row in rows],
            "execution": dict(self.execution),
            "written": time.time(),
        }
        key = layout.checkpoint_progress(self.cell_id)
        self.storage.write_bytes(key, json.dumps(progress).encode())

    def read_share(self, update: int, rank: int) -> bytes:
        """Returns a worker's share.

        Raises:
            FileNotFoundError: If there is none.
        """
        return self.storage.read_bytes(layout.checkpoint_share(self.cell_id, update, rank))

    def write_share(self, update: int, rank: int, content: bytes) -> None:
        """Writes a worker's share."""
        self.storage.write_bytes(layout.checkpoint_share(self.cell_id, update, rank), content)

    def delete_share(self, update: int, rank: int) -> None:
        """Removes a worker's share of an earlier update."""
        self.storage.delete(layout.checkpoint_share(self.cell_id, update, rank))


def update_reached(storage: Storage, cell_id: str) -> int:
    """Returns the last update that the cell's checkpoint holds; 0 without one."""
    try:
        return int(json.loads(storage.read_bytes(layout.checkpoint_progress(cell_id)))["update"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0


def delete_checkpoint(storage: Storage, cell_id: str) -> None:
    """Removes what a cell that has ended left, if it left any."""
    storage.delete(layout.checkpoint(cell_id))


def clean_checkpoints(storage: Storage, waiting: Collection[str], *, now: float) -> list[str]:
    """Removes checkpoints that nothing will go on from; returns their cells' ids.

    Kept are those of cells that this study will run now, and of other studies' cells without a
    record, for two weeks.

    Args:
        storage: The run folder.
        waiting: Ids of the cells that this study will run.
        now: Seconds since the epoch.
    """
    orphans = []
    for id_ in storage.list(layout.CHECKPOINTS):
        if id_ in waiting:
            continue
        if storage.exists(layout.record(id_)) or now - _written(storage, id_) > KEPT_S:
            delete_checkpoint(storage, id_)
            orphans.append(id_)
    return orphans


def _written(storage: Storage, cell_id: str) -> float:
    try:
        progress = json.loads(storage.read_bytes(layout.checkpoint_progress(cell_id)))
        return float(progress["written"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0.0
