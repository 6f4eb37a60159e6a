"""The in-process twin of the Ray seam: the same blocks, one after the other, in this process.

For tests and for debugging a method: tracebacks are the method's own and a debugger works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainables import stop_signals
from trainables.cells.planned import Block, RunContext
from trainables.cells.run import run_cell
from trainables.cells.worker import CellRunner, Worker
from trainables.data.task import SplitTask


def run_blocks(
    blocks: Sequence[Block],
    tasks: Mapping[str, SplitTask],
    run_context: RunContext,
    *,
    run_one: CellRunner = run_cell,
) -> tuple[str, ...]:
    """Runs every block's units in their order; returns no error: none is kept from the caller."""
    worker = Worker(
        tasks=tasks, run_context=run_context, run_one=run_one, must_stop=stop_signals.is_asked
    )
    for block in blocks:
        worker.run(block.units, range(len(block.units)))
    return ()
