"""How the cells of a run folder ended, read with few requests.

A bucket takes tens of milliseconds per request. One listing of the folder shows which cells have a
record or a failure, and only those are read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from search_spaces.explain import count
from trainables.cells.completion import cells_without_outcome
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.checkpoints import clean_checkpoints
from trainables.storage.claims import read_claim
from trainables.storage.failures import read_failure, write_failure
from trainables.storage.filesystem import Storage, map_parallel


def clear_failures(storage: Storage, missing: Sequence[PlannedCell]) -> None:
    """Deletes the failures of earlier runs, and checkpoints that no cell will resume from.

    Args:
        storage: The run folder.
        missing: The cells that are about to run.
    """
    ids = {cell.id for cell in missing}
    keys = storage.keys(layout.CELLS) | storage.keys(layout.RUNNING) if ids else frozenset()
    old = [key for id_ in ids for key in (layout.failure(id_), layout.running(id_)) if key in keys]
    map_parallel(storage, storage.delete, old)
    clean_checkpoints(storage, ids, now=time.time())


@contextmanager
def claims_removed(storage: Storage, token: str | None) -> Iterator[None]:
    """Removes a sweep's claims when it ends, whether it succeeds or fails.

    Args:
        storage: The run folder.
        token: Identifies the sweep; the claims of other sweeps stay.
    """
    try:
        yield
    finally:
        with suppress(OSError):  # a claim has no effect once its sweep is gone
            ids = [name.removesuffix(".json") for name in storage.list(layout.RUNNING)]
            claims = map_parallel(storage, partial(read_claim, storage), ids)
            for id_, claim in zip(ids, claims, strict=True):
                if claim is not None and claim.token == token:
                    storage.delete(layout.running(id_))
            if not any(storage.list(layout.RUNNING)):
                storage.delete(layout.RUNNING)


def print_incomplete_cells(storage: Storage, cells: Sequence[PlannedCell]) -> bool:
    """Prints which cells have no record, and why; returns whether any has none."""
    keys = storage.keys(layout.CELLS)
    left = [cell for cell in cells if layout.record(cell.id) not in keys]
    reasons = map_parallel(storage, partial(read_failure, storage), [cell.id for cell in left])
    for cell, reason in zip(left, reasons, strict=True):
        print(f"FAILED {cell.label} ({cell.id}): {reason or 'not run'}", file=sys.stderr)
    if left:
        print(
            f"{count(len(left), 'cell')} failed; the failure.json in each cell's folder has the "
            "details. The same command tries them again.",
            file=sys.stderr,
        )
    return bool(left)


def record_block_failure(
    storage: Storage, cells: Sequence[PlannedCell], errors: Sequence[str]
) -> None:
    """Writes a failure for every cell that a block left without an outcome.

    Args:
        storage: The run folder.
        cells: Of all blocks.
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
