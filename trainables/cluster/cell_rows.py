"""Ended cells of a block as rows of its Tune trial, read from the records while workers run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from trainables.cells.planned import Block, PlannedCell, RunContext
from trainables.cluster.tune_results import Row
from trainables.storage.failures import read_failure
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, Record, read_record

LOCAL_POLL_S = 1.0
REMOTE_POLL_S = 20.0
"""Between two polls of the run folder."""

SET_ASIDE = 4
"""Unfinished units that need not be in progress: a unit whose worker died runs last. If there are
more, rows come later, but none is lost."""


class CellRows:
    """The cells of a block that have ended, each once.

    Workers claim the units of a block in order. So a poll reads the next cell of the first
    unfinished units only, as many as can be in progress: its cost depends on the number of workers
    and of ended cells, not on the length of the queue.

    Args:
        block: Its cells.
        run_context: What they share.
        storage: The run folder.
    """

    def __init__(self, block: Block, run_context: RunContext, storage: Storage) -> None:
        self._waiting = [deque(unit) for unit in block.units]
        self._at_once = (1 if block.runs_together else block.workers) + SET_ASIDE
        self._run_context, self._storage = run_context, storage

    @property
    def poll_s(self) -> float:
        """Seconds between two polls."""
        return LOCAL_POLL_S if self._storage.is_local else REMOTE_POLL_S

    def ended(self, *, is_over: bool = False) -> Iterator[Row]:
        """Yields a row for each cell that has ended since the last call.

        Args:
            is_over: Whether no worker runs any more: looks at all cells, in no particular order.
        """
        num_unfinished = 0
        for unit in self._waiting:
            while unit and (row := self._row(unit[0])) is not None:
                unit.popleft()
                yield row
            num_unfinished += bool(unit)
            if num_unfinished >= self._at_once and not is_over:
                break
        self._waiting = [unit for unit in self._waiting if unit]

    def _row(self, planned: PlannedCell) -> Row | None:
        """Returns the row of a cell; None if it has neither a valid record nor a failure."""
        try:
            record = read_record(self._storage, planned.id)
        except (FileNotFoundError, InvalidRecordError):
            if read_failure(self._storage, planned.id) is None:
                return None
            record = None
        source = self._run_context.models.get(planned.cell.model)
        return cell_row(planned, record, num_params=None if source is None else source.num_params)


def cell_row(planned: PlannedCell, record: Record | None, *, num_params: int | None) -> Row:
    """Returns a cell's factors and its result, the columns of `tune_results.cell_results`."""
    cell, level = planned.cell, planned.train_level
    return {
        "cell": planned.id,
        "name": planned.label,
        "model": planned.model_name,
        "parameters": num_params,
        "task": cell.task,
        "measure": planned.measure,
        "method": cell.recipe.method,
        "condition": planned.condition,
        "train_level": None if level is None else level.name,
        "gap": planned.difficulty_gap,
        "seed": cell.seed,
        "threshold": None if cell.self_training is None else cell.self_training.threshold,
        "round": cell.round,
        "finished": record is not None,
        "accuracy": None if record is None else record.accuracy,
        "seconds": None if record is None else record.seconds["total"],
    }
