"""The queue of a worker: which units it runs, in which order, and when it stops.

It does not depend on Ray: an executor passes it the indices of its units. A finished cell is
durable at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from trainables.cells.completion import checked_record, lacks_state
from trainables.cells.planned import PlannedCell, Unit
from trainables.cells.retries import RetryPolicy
from trainables.cells.runner import CellRunner
from trainables.models.cpu import set_up_cpu
from trainables.stop_signals import StoppedError
from trainables.storage.claims import CellClaims
from trainables.storage.failures import read_failure
from trainables.storage.records import Record


@dataclass(slots=True)
class Worker:
    """Works through a block's units."""

    runner: CellRunner
    group: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Names this start of the worker group: a restarted group has another name."""
    is_first: bool = True
    """Whether this is the first worker of the block's process group."""

    def run(self, units: Sequence[Unit], claims: Iterable[int]) -> None:
        """Runs the claimed units' cells that have no valid record yet.

        Units with a cell that was running when an earlier start of this group died are suspects:
        the first worker runs them last, one at a time, so that a cell which kills its process
        interrupts other cells only once. No further unit begins when a machine of the group is
        about to be taken away: the next start of the group runs the rest. When the sweep is told
        to stop, no further cell begins, and a training writes a checkpoint.

        Args:
            units: Of the block.
            claims: Indices of the units that this worker runs.

        Raises:
            OSError: If the run folder cannot be written any more; on all workers of a group.
            GroupBrokenError: If the group's other workers cannot end a cell.
        """
        runner, group = self.runner, self.runner.worker_group
        set_up_cpu(runner.threads)
        cell_claims = CellClaims(
            storage=runner.storage,
            group=self.group,
            is_leaving=runner.is_leaving,
            token=runner.run_context.token,
        )
        policy = RetryPolicy(runner=runner, claims=cell_claims)
        deaths = [policy.deaths(unit) for unit in units]
        with suppress(StoppedError):
            for index in self._in_order(deaths, claims):
                for planned in units[index]:
                    if group.broadcast_decision(runner.must_stop):
                        raise StoppedError
                    if group.broadcast_decision(partial(self._has_ended, planned)):
                        continue
                    with policy.recording_failure(planned):
                        write_record = policy.run(planned, units[index])
                        group.run_on_first(write_record)

    def _in_order(self, deaths: Sequence[int], claims: Iterable[int]) -> Iterator[int]:
        """Yields the claimed units, then the suspects with the fewest deaths first."""
        for index in self._until_leaving(claims):
            if not deaths[index]:
                yield index
        if self.is_first or self.runner.worker_group.size > 1:
            suspects = (index for index, number in enumerate(deaths) if number)
            yield from self._until_leaving(sorted(suspects, key=lambda index: deaths[index]))

    def _until_leaving(self, claims: Iterable[int]) -> Iterator[int]:
        waiting = iter(claims)
        while not self.runner.worker_group.broadcast_decision(self.runner.is_leaving):
            index = next(waiting, None)
            if index is None:
                return
            yield index

    def _has_ended(self, planned: PlannedCell) -> bool:
        """Returns whether the cell has a record and its state, or broke this group before."""
        storage = self.runner.storage
        if self.runner.worker_group.size > 1 and read_failure(storage, planned.id) is not None:
            return True
        record = checked_record(storage, planned)
        return isinstance(record, Record) and not lacks_state(planned, record)
