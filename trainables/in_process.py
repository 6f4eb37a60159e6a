"""The in-process twin of the Ray seam: the same blocks, one after the other, in this process.

For tests and for debugging a method: tracebacks are the method's own and a debugger works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainables import stopping
from trainables.block import Block, Site
from trainables.cells import run_cell
from trainables.task_data import SplitTask
from trainables.worker import CellRunner, Worker


def run_blocks(
    blocks: Sequence[Block],
    tasks: Mapping[str, SplitTask],
    site: Site,
    *,
    run_one: CellRunner = run_cell,
) -> tuple[str, ...]:
    """Runs every block's units in their order; returns no error: none is kept from the caller."""
    worker = Worker(tasks=tasks, site=site, run_one=run_one, must_stop=stopping.is_asked)
    for block in blocks:
        worker.run(block.units, range(len(block.units)))
    return ()
