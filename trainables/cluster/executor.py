"""What every executor can do. `ray_executor` and `in_process` implement it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from search_spaces.base_models import Footprint
from trainables.cells.planned import Block, RunContext
from trainables.cluster.capacity import Capacity

if TYPE_CHECKING:  # a driver must not pay for importing torch
    from trainables.tuning.search import OnTrial, Search


class Executor(Protocol):
    """Runs blocks of cells and the trials of recipe searches."""

    def fit(self, footprint: Footprint) -> Capacity:
        """Returns how many worker groups of a footprint fit at once, and their size.

        Raises:
            ClusterError: If no node can hold a group.
        """

    def run_blocks(self, blocks: Sequence[Block], run_context: RunContext) -> Sequence[str]:
        """Runs every cell of the blocks to a record or a failure in the run folder.

        Args:
            blocks: Packed to the capacity that `fit` returned.
            run_context: What the blocks share.

        Returns:
            The errors of blocks that ended before all of their cells had.

        Raises:
            ClusterError: If a node does not see the run folder, or a function of the user's file
                returns other items there: all blocks end at once.
            DataError: If the function does so in this process.
            OSError: If the run folder cannot be written, and the cells run in this process.
            KeyboardInterrupt: If a signal asked this process to stop, once no cell is running.
        """

    def run_search(
        self, search: Search, num_trials: int, on_trial: OnTrial, *, fits: Capacity
    ) -> None:
        """Runs trials until the search's history has `num_trials`, those of earlier runs included.

        Args:
            search: What is searched, with the trials of earlier runs.
            num_trials: In total.
            on_trial: Called in this process after each trial.
            fits: Where one trial takes the resources of one worker.
        """
