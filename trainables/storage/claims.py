"""Claim files: which cell each worker is running, and how its previous attempt ended.

A process that dies says nothing of itself: the sign that it leaves says which cell it died with.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainables.storage import layout
from trainables.storage.checkpoints import update_reached
from trainables.storage.filesystem import Storage
from trainables.storage.process_identity import this_process

NOTICE_POLL_S = 2.0
"""Between two looks at whether the machine is about to be taken away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviousAttempt:
    """What an earlier start of the worker group came to with a cell that it did not end."""

    deaths: int = 0
    """How often a process died with it in hand."""
    share: float = 1.0
    """Of the usual tokens of a batch, to go on with: less where memory ran out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellClaims:
    """The signs of one start of a worker group."""

    storage: Storage
    group: str
    """Names this start; signs of others are of processes that died."""
    is_leaving: Callable[[], bool]
    """Whether a machine of the group is about to be taken away."""
    token: str | None = None
    """Names the sweep that the cells are run for."""

    def previous_attempts(self) -> dict[str, dict[str, float]]:
        """Returns the fields of `Begun` for each cell that processes of this sweep died with."""
        found = {}
        for name in self.storage.list(layout.RUNNING):
            id_ = name.removesuffix(".json")
            try:
                word = json.loads(self.storage.read_bytes(layout.running(id_)))
                if word["group"] != self.group:
                    share = float(word.get("share", 1.0))
                    found[id_] = {"deaths": self._deaths(id_, word), "share": share}
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                continue  # it ended meanwhile
        return found

    def write(self, id_: str, attempt: int, share: float, *, was_leaving: bool = False) -> None:
        """Says that a cell is in hand.

        Args:
            id_: The cell's.
            attempt: Counted from 1; 0 for a next start that no death is counted against.
            share: Of the usual tokens of a batch.
            was_leaving: Whether the cloud is about to take the machine away.
        """
        word = {
            **this_process().model_dump(),
            "started": time.time(),
            "token": self.token,
            "group": self.group,
            "attempt": attempt,
            "share": share,
            "update": update_reached(self.storage, id_),
            "was_leaving": was_leaving,
        }
        self.storage.write_bytes(layout.running(id_), json.dumps(word).encode())

    def remove(self, id_: str) -> None:
        """Says that the cell has ended."""
        self.storage.delete(layout.running(id_))

    @contextmanager
    def noting_departure(self, id_: str, attempt: int, share: float) -> Iterator[None]:
        """Says in the cell's sign when the machine is about to be taken away under it."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(NOTICE_POLL_S):
                if self.is_leaving():
                    self.write(id_, attempt, share, was_leaving=True)
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _deaths(self, id_: str, word: Mapping[str, Any]) -> int:
        """Returns how often a cell's process died that may be the cell's own fault.

        Not where the cloud took the machine with a notice, and not where training got further.
        """
        if word.get("was_leaving") or update_reached(self.storage, id_) > int(
            word.get("update", 0)
        ):
            return 0
        return int(word["attempt"])
