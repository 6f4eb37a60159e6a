"""How cells of a run folder ended: found by few requests, for many cells.

A bucket answers a request in tens of milliseconds, so cells are not asked for one by one: one
listing of the folder says which have a record or a failure, and only those are touched.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from study.running.run_state import read_claim
from trainables.cells.completion import cells_without_outcome
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.checkpoints import clean_checkpoints
from trainables.storage.failures import read_failure, write_failure
from trainables.storage.filesystem import Storage, map_parallel


def clear_failures(storage: Storage, missing: Sequence[PlannedCell]) -> None:
    """Forgets how cells ended before, and removes checkpoints that no cell will go on from.

    Args:
        storage: The run folder.
        missing: The cells that are about to run.
    """
    ids = {cell.id for cell in missing}
    kept = storage.keys(layout.CELLS) | storage.keys(layout.RUNNING) if ids else frozenset()
    old = [key for id_ in ids for key in (layout.failure(id_), layout.running(id_)) if key in kept]
    map_parallel(storage, storage.delete, old)
    clean_checkpoints(storage, ids, now=time.time())


@contextmanager
def claims_removed(storage: Storage, token: str | None) -> Iterator[None]:
    """Removes a sweep's claims once it has ended, however: nobody runs those cells any more.

    Args:
        storage: The run folder.
        token: Names the sweep; claims of another one stay.
    """
    try:
        yield
    finally:
        with suppress(OSError):  # without a living sweep a claim says nothing
            left = [name.removesuffix(".json") for name in storage.list(layout.RUNNING)]
            claims = map_parallel(storage, partial(read_claim, storage), left)
            for id_, claim in zip(left, claims, strict=True):
                if claim is not None and claim.token == token:
                    storage.delete(layout.running(id_))
            if not any(storage.list(layout.RUNNING)):
                storage.delete(layout.RUNNING)


def incomplete_cells(storage: Storage, cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Returns the cells without a record."""
    kept = storage.keys(layout.CELLS)
    return [cell for cell in cells if layout.record(cell.id) not in kept]


def print_incomplete_cells(storage: Storage, cells: Sequence[PlannedCell]) -> bool:
    """Prints which cells have no record, and why; says whether there are any."""
    left = incomplete_cells(storage, cells)
    reasons = map_parallel(storage, partial(read_failure, storage), [cell.id for cell in left])
    for cell, reason in zip(left, reasons, strict=True):
        print(f"FAILED {cell.label} ({cell.id}): {reason or 'not run'}", file=sys.stderr)
    if left:
        print(
            f"{len(left)} cells failed; details lie in failure.json beside where their "
            "records would be. The same command tries them again.",
            file=sys.stderr,
        )
    return bool(left)


def record_block_failure(
    storage: Storage, cells: Sequence[PlannedCell], errors: Sequence[str]
) -> None:
    """Gives every cell that a lost block left behind the reason why.

    Args:
        storage: The run folder.
        cells: Those that were to run.
        errors: Of the blocks that ended early.
    """
    if not errors:
        return
    reason = f"its block ended early: {errors[0].strip().splitlines()[-1]}"
    details = "\n\n".join(errors)
    left = [cell.id for cell in cells_without_outcome(storage, cells)]
    map_parallel(
        storage, lambda id_: write_failure(storage, id_, reason=reason, details=details), left
    )
