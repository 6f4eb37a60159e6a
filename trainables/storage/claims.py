"""Claim files: which cell each worker is running, and how its previous attempt ended.

A process that dies leaves its claim, which tells the next start of the worker group which cell it
died with.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from trainables.storage import layout
from trainables.storage.checkpoints import update_reached
from trainables.storage.filesystem import Storage, UnreadableError
from trainables.storage.process_identity import ProcessIdentity, this_process

NOTICE_POLL_S = 2.0
"""Interval of checks whether the machine is about to be taken away."""


class Claim(ProcessIdentity):
    """The content of a claim file: which process runs a cell. Unknown keys are ignored."""

    started: float
    """Seconds since 1970 by the clock of the worker's machine."""
    token: str | None = None
    """Identifies the sweep: its lock holds the same token while it is alive."""
    group: str = ""
    """Identifies the start of the worker group."""
    attempt: int = 0
    """Counted from 1; 0 if the next start must not count a death."""
    share: float = 1.0
    """Fraction of the usual tokens per batch."""
    update: int = 0
    """Update of the cell's checkpoint when it was claimed."""
    was_leaving: bool = False
    """Whether the cloud had announced that it takes the machine away."""


def read_claim(storage: Storage, id_: str) -> Claim | None:
    """Returns the claim on a cell; None if there is none that can be read."""
    try:
        return Claim.model_validate_json(storage.read_bytes(layout.running(id_)))
    except (FileNotFoundError, UnreadableError, ValidationError):
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviousAttempt:
    """How an earlier start of the worker group left a cell that it did not end."""

    deaths: int = 0
    """Number of processes that died while running it."""
    share: float = 1.0
    """Fraction of the usual tokens per batch to continue with; below 1 after running out of
    memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellClaims:
    """The claims of one start of a worker group."""

    storage: Storage
    group: str
    """Identifies this start; claims with another value belong to processes that died."""
    is_leaving: Callable[[], bool]
    """Whether a machine of the group is about to be taken away."""
    token: str | None = None
    """Identifies the sweep that runs the cells."""

    def previous_attempts(self) -> dict[str, dict[str, float]]:
        """Returns the fields of `PreviousAttempt` for each cell that an earlier start left."""
        ids = [name.removesuffix(".json") for name in self.storage.list(layout.RUNNING)]
        claims = {id_: read_claim(self.storage, id_) for id_ in ids}
        return {
            id_: {"deaths": self._deaths(id_, claim), "share": claim.share}
            for id_, claim in claims.items()
            if claim is not None and claim.group != self.group
        }

    def write(self, id_: str, attempt: int, share: float, *, was_leaving: bool = False) -> None:
        """Claims a cell.

        Args:
            id_: The cell's id.
            attempt: Counted from 1; 0 if the next start must not count a death.
            share: Fraction of the usual tokens per batch.
            was_leaving: Whether the cloud is about to take the machine away.
        """
        claim = Claim(
            **this_process().model_dump(),
            started=time.time(),
            token=self.token,
            group=self.group,
            attempt=attempt,
            share=share,
            update=update_reached(self.storage, id_),
            was_leaving=was_leaving,
        )
        self.storage.write_bytes(layout.running(id_), json.dumps(claim.model_dump()).encode())

    def remove(self, id_: str) -> None:
        """Deletes the claim on a cell that has ended."""
        self.storage.delete(layout.running(id_))

    @contextmanager
    def noting_departure(self, id_: str, attempt: int, share: float) -> Iterator[None]:
        """Notes in the cell's claim if its machine is about to be taken away."""
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

    def _deaths(self, id_: str, claim: Claim) -> int:
        """Returns how many deaths may be the cell's own fault.

        None if the cloud took the machine away with a notice, or if training made progress.
        """
        if claim.was_leaving or update_reached(self.storage, id_) > claim.update:
            return 0
        return claim.attempt
