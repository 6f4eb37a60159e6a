"""The retry policy of cells: what is tried again, how often, and what is recorded as a failure.

| fault | what follows |
|---|---|
| an exception | recorded as the cell's failure; the next cell runs |
| out of memory in a worker group | the cell runs again with half the batch |
| out of memory that breaks the group | the next start of the group halves the batch |
| the process dies | the next start runs the cell again, `MAX_ATTEMPTS` times at most |
| a signal | the cell keeps its checkpoint, and the next sweep continues from it |
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch

from search_spaces.recipes import WeightTraining
from trainables.cells.planned import PlannedCell, Unit
from trainables.cells.runner import CellRunner
from trainables.distributed.worker_group import GroupBrokenError
from trainables.models.oom import LEAST_SHARE, find_executable_batch_size
from trainables.stop_signals import StoppedError
from trainables.storage.checkpoints import delete_checkpoint
from trainables.storage.claims import CellClaims, PreviousAttempt
from trainables.storage.failures import write_failure

MAX_ATTEMPTS = 3
"""Processes that may die while running a cell. Without a limit, a cell that kills its process would
use up its block's restarts and take the block's other cells with it."""


class RepeatedDeathError(RuntimeError):
    """Too many processes died while running the cell."""


@dataclass(kw_only=True, slots=True)
class RetryPolicy:
    """Runs cells within the limits of the policy, for one start of a worker group."""

    runner: CellRunner
    claims: CellClaims
    _previous: Mapping[str, PreviousAttempt] = field(init=False)
    _share: float = field(init=False, default=1.0)
    """Of the usual tokens per batch, in the current cell."""
    _started: float = field(init=False, default=0.0)
    """`time.perf_counter` at the start of the current cell."""

    def __post_init__(self) -> None:
        previous = self.runner.worker_group.broadcast_decision(self.claims.previous_attempts)
        self._previous = {
            id_: PreviousAttempt(deaths=int(each["deaths"]), share=each["share"])
            for id_, each in previous.items()
        }

    def deaths(self, unit: Unit) -> int:
        """Returns how many processes died while running the unit's most dangerous cell."""
        return max(map(self._deaths, unit), default=0)

    def _deaths(self, planned: PlannedCell) -> int:
        return self._previous.get(planned.id, PreviousAttempt()).deaths

    @contextmanager
    def recording_failure(self, planned: PlannedCell) -> Iterator[None]:
        """Records an exception of the context as the cell's failure, and ends its claim.

        Raises:
            StoppedError: If the sweep must stop; a training has written its checkpoint.
            OSError: If the run folder cannot be written any more; on all workers of a group.
            GroupBrokenError: If the group's other workers cannot end the cell.
        """
        group = self.runner.worker_group
        self._started = time.perf_counter()
        try:
            yield
        except GroupBrokenError as error:
            self._leave_broken_group(planned, error)
            raise
        except StoppedError:
            if group.is_first:
                self.claims.remove(planned.id)
            raise
        except Exception as error:
            reason, details = f"{type(error).__name__}: {error}", traceback.format_exc()
            group.broadcast_decision(partial(self._end, planned, reason, details))
        else:
            group.broadcast_decision(partial(self._end, planned))

    def run(self, planned: PlannedCell, unit: Unit) -> Callable[[], None]:
        """Runs a cell; returns a function that writes its record.

        A worker group that runs out of memory starts again with half the batch, as `run_cell` does
        on a worker that is alone.

        Raises:
            RepeatedDeathError: If too many processes died while running the cell.
        """
        previous = self._previous.get(planned.id, PreviousAttempt())
        if previous.deaths >= MAX_ATTEMPTS:
            raise RepeatedDeathError(
                f"its process died {MAX_ATTEMPTS} times while running it (out of memory, or a "
                "crash in native code); the rest of its block goes on without it"
            )
        run = partial(self._run, planned, unit)
        if self.runner.worker_group.size == 1:
            return run(previous.share)
        device = torch.device(self.runner.device)
        write, _ = find_executable_batch_size(run, previous.share, device)
        return write

    def _run(self, planned: PlannedCell, unit: Unit, share: float) -> Callable[[], None]:
        """Runs the cell under its claim; returns a function that writes its record."""
        self._share = share
        group, attempt = self.runner.worker_group, self._deaths(planned) + 1
        group.run_on_first(partial(self.claims.write, planned.id, attempt, share))
        noting_departure = self.claims.noting_departure(planned.id, attempt, share)
        with noting_departure if group.is_first else nullcontext():
            try:
                return group.run_together(partial(self.runner.run, planned, unit, share))
            except Exception:
                if group.size > 1:
                    self.runner.unload()  # some of its weights may still be gathered
                raise

    def _end(self, planned: PlannedCell, reason: str | None = None, details: str = "") -> None:
        """Records the failure, if there is one, and removes the claim and the checkpoint."""
        if reason is not None:
            self._write_failure(planned, reason, details)
        if isinstance(planned.cell.recipe, WeightTraining):
            delete_checkpoint(self.runner.storage, planned.id)
        self.claims.remove(planned.id)

    def _write_failure(self, planned: PlannedCell, reason: str, details: str) -> None:
        write_failure(
            self.runner.storage,
            planned.id,
            reason=reason,
            details=details,
            seconds=time.perf_counter() - self._started,
            gpus=self.runner.gpus * self.runner.worker_group.size,
        )

    def _leave_broken_group(self, planned: PlannedCell, error: GroupBrokenError) -> None:
        """Records how the next start of the group continues. Any worker may have to do this."""
        try:
            if error.ran_out and self._share / 2 >= LEAST_SHARE:
                self.claims.write(planned.id, self._deaths(planned), self._share / 2)
            else:
                reason = f"{type(error).__name__}: {error}"
                self._write_failure(planned, reason, traceback.format_exc())
                self.claims.remove(planned.id)
        except OSError as fault:  # the claim stays, and the group has to start again anyway
            error.add_note(f"this could not be recorded in the run folder: {fault}")
