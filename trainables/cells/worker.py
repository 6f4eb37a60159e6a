"""The worker loop: a block's units, one after the other, each base model loaded once.

It knows nothing of Ray: the seam gives it units to claim, the in-process twin does too. A finished
cell is durable at once; a failed one leaves its reason, and the rest goes on.
"""

from __future__ import annotations

import gc
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from search_spaces.base_models import EngineName
from search_spaces.cell import Cell
from search_spaces.recipes import WeightTraining
from trainables.cells.completion import is_finished
from trainables.cells.inputs import make_inputs
from trainables.cells.outputs import files_of, scores_of
from trainables.cells.planned import PlannedCell, RunContext, Unit
from trainables.cells.provenance import execution_facts
from trainables.cells.run import CellInputs, CellResult, run_cell
from trainables.data.task import SplitTask
from trainables.distributed.select import choose_engine, load_for_engine
from trainables.distributed.worker_group import GroupBrokenError, WorkerGroup
from trainables.inference.hidden_state_files import StateFiles
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.interface import Execution
from trainables.models.loading import Base
from trainables.models.oom import LEAST_SHARE, find_executable_batch_size, halved_note
from trainables.stop_signals import StoppedError
from trainables.storage.checkpoints import Checkpoint, Timer, delete_checkpoint
from trainables.storage.claims import CellClaims, PreviousAttempt
from trainables.storage.failures import read_failure, write_failure
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import write_record

MAX_ATTEMPTS = 3
"""A cell that outlived so many of its processes is not begun again: one that kills its process
would else use up its block's restarts, and take the block's other cells with it."""


CellRunner = Callable[[CellInputs, Base], CellResult]


@dataclass(kw_only=True, slots=True)
class Worker:
    """One process's share of a block: what it holds between two cells."""

    tasks: Mapping[str, SplitTask]
    run_context: RunContext
    device: str = "cpu"
    gpus: float = 0.0
    """Of this worker; a fraction where it shares a GPU."""
    threads: int = 1
    """Of torch on the CPU: sums over more threads are other sums, so it is part of the record."""
    group: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Names the worker group of this start: a restarted group has another name."""
    is_first: bool = True
    """Whether this is the group's first worker."""
    worker_group: WorkerGroup = field(default_factory=WorkerGroup)
    """The workers that run each cell together with this one; alone: units are claimed."""
    engine: EngineName = "plain"
    is_leaving: Callable[[], bool] = lambda: False
    """Whether a machine of the group is about to be taken away."""
    must_stop: Callable[[], bool] = lambda: False
    """Whether the sweep has been told to stop."""
    offload: bool = False
    """Whether what the engine shares lies in the memory of the CPU."""
    run_one: CellRunner = run_cell
    """What runs a cell: a measurement of all else gives one that only waits."""
    _storage: Storage = field(init=False)
    _claims: CellClaims = field(init=False)
    _base_key: tuple[str, str, str] | None = field(init=False, default=None)
    _base: Base | None = field(init=False, default=None)
    _load_error: Exception | None = field(init=False, default=None)
    """Why the base of the last cell could not be loaded: its other cells fail alike, at once."""
    _states: StateCache | None = field(init=False, default=None)
    _unit: Unit = field(init=False, default=())
    """In hand."""
    _share: float = field(init=False, default=1.0)
    """Of the usual tokens of a batch, in the cell in hand."""
    _begun: float | None = field(init=False, default=None)
    """When the cell in hand was, by `time.perf_counter`; None: it was given up at once."""

    def __post_init__(self) -> None:
        self._storage = open_storage(self.run_context.out)
        self._claims = CellClaims(
            storage=self._storage,
            group=self.group,
            is_leaving=self.is_leaving,
            token=self.run_context.token,
        )

    def run(self, units: Sequence[Unit], claims: Iterable[int]) -> None:
        """Runs the claimed units' cells that have no valid record yet.

        Units with a cell that was running when an earlier group of this block died are suspects:
        the first worker runs them after all else, one at a time, so that a cell which kills its
        process takes no other one with it more than once. Where a machine of the group is about to
        be taken away no further unit is begun: what is left is for the next start of the group.
        Where the sweep has been told to stop, no further cell is, and a training leaves a
        checkpoint.

        Raises:
            OSError: If the run folder takes nothing any more; on all workers of a worker group.
            GroupBrokenError: If the worker group's other workers cannot end a cell.
        """
        torch.set_num_threads(self.threads)
        words = self.worker_group.broadcast_decision(self._claims.previous_attempts)
        begun = {
            id_: PreviousAttempt(deaths=int(w["deaths"]), share=w["share"])
            for id_, w in words.items()
        }
        suspects: dict[int, int] = {}
        for index, unit in enumerate(units):
            deaths = max((begun[cell.id].deaths for cell in unit if cell.id in begun), default=0)
            if deaths:
                suspects[index] = deaths
        with suppress(StoppedError):
            for index in self._until_leaving(claims):
                if index not in suspects:
                    self._run_unit(units[index], begun)
            if self.is_first or self.worker_group.size > 1:
                order = sorted(suspects, key=lambda index: (suspects[index], index))
                for index in self._until_leaving(order):
                    self._run_unit(units[index], begun)

    def _until_leaving(self, claims: Iterable[int]) -> Iterator[int]:
        waiting = iter(claims)
        while not self.worker_group.broadcast_decision(self.is_leaving):
            index = next(waiting, None)
            if index is None:
                return
            yield index

    def _run_unit(self, unit: Unit, begun: Mapping[str, PreviousAttempt]) -> None:
        self._unit = unit
        for planned in unit:
            if self.worker_group.broadcast_decision(self.must_stop):
                raise StoppedError
            if not self.worker_group.broadcast_decision(partial(self._is_over, planned)):
                self._run_and_record(planned, begun.get(planned.id, PreviousAttempt()))

    def _is_over(self, planned: PlannedCell) -> bool:
        """Returns whether the cell needs no run, because it ended or broke a worker group."""
        if self.worker_group.size > 1 and read_failure(self._storage, planned.id) is not None:
            return True
        return is_finished(self._storage, planned)

    def _run_and_record(self, planned: PlannedCell, before: PreviousAttempt) -> None:
        attempt, self._begun = before.deaths + 1, None
        if attempt > MAX_ATTEMPTS:
            reason = (
                f"its process died {MAX_ATTEMPTS} times while running it (out of memory, or a "
                "crash in native code); the rest of its block goes on without it"
            )
            self.worker_group.broadcast_decision(partial(self._leave, planned, reason))
            return
        self._begun = time.perf_counter()
        try:
            self._run(planned, attempt, before.share)
        except GroupBrokenError as error:
            self._leave_broken(planned, attempt, error)
            raise
        except StoppedError:
            if self.worker_group.is_first:
                self._claims.remove(planned.id)
            raise
        except Exception as error:
            reason, details = f"{type(error).__name__}: {error}", traceback.format_exc()
            self.worker_group.broadcast_decision(partial(self._leave, planned, reason, details))
        else:
            self.worker_group.broadcast_decision(partial(self._leave, planned))

    def _leave(self, planned: PlannedCell, reason: str | None = None, details: str = "") -> None:
        """Writes why the cell failed, if it did, and removes what only a running cell has."""
        if reason is not None:
            self._write_failure(planned, reason, details)
        if isinstance(planned.cell.recipe, WeightTraining):
            delete_checkpoint(self._storage, planned.id)
        self._claims.remove(planned.id)

    def _write_failure(self, planned: PlannedCell, reason: str, details: str) -> None:
        write_failure(
            self._storage,
            planned.id,
            reason=reason,
            details=details,
            seconds=0.0 if self._begun is None else time.perf_counter() - self._begun,
            gpus=self.gpus * self.worker_group.size,
        )

    def _leave_broken(self, planned: PlannedCell, attempt: int, error: GroupBrokenError) -> None:
        """Writes how the next start of the group goes on; this need not be the first worker."""
        try:
            if error.ran_out and self._share / 2 >= LEAST_SHARE:
                self._claims.write(planned.id, attempt - 1, self._share / 2)
            else:
                reason = f"{type(error).__name__}: {error}"
                self._write_failure(planned, reason, traceback.format_exc())
                self._claims.remove(planned.id)
        except OSError as fault:  # the cell's sign stays, and the group has to start anew anyway
            error.add_note(f"the run folder took no word of it: {fault}")

    def _run(self, planned: PlannedCell, attempt: int, share: float) -> None:
        """Runs the cell and writes its record.

        A worker group that runs out of memory retries with half the batch; a worker alone does that
        within the cell (`run_cell`).
        """
        find = partial(self._find_together, planned, attempt)
        if self.worker_group.size == 1:
            write = find(share)
        else:
            write, _ = find_executable_batch_size(find, share, torch.device(self.device))
        self.worker_group.run_together(write if self.worker_group.is_first else _nothing)

    def _find_together(
        self, planned: PlannedCell, attempt: int, share: float
    ) -> Callable[[], object]:
        self._share = share
        sign = partial(self._claims.write, planned.id, attempt, share)
        self.worker_group.run_together(sign if self.worker_group.is_first else _nothing)
        watched = self._claims.noting_departure(planned.id, attempt, share)
        with watched if self.worker_group.is_first else nullcontext():
            try:
                return self.worker_group.run_together(partial(self._find, planned, share))
            except Exception:
                if self.worker_group.size > 1:
                    self._base = None  # some of its weights may have been left gathered
                raise

    def _find(self, planned: PlannedCell, share: float) -> Callable[[], object]:
        """Runs the cell; returns what writes its record."""
        started = time.perf_counter()
        base, states = self._base_for(planned)
        loaded = time.perf_counter()
        curve: list[Mapping[str, float]] = []
        # What its parents left may be read here and not there: that is said before all begin.
        inputs = self.worker_group.run_together(
            partial(self._inputs, planned, base, states, curve, share)
        )
        execution = self._execution(planned)
        if self.gpus:
            execution["gpus_per_worker"] = self.gpus
        notes = base.notes
        if share < 1.0:
            execution |= {"class": "B", "token_share": share}
            notes = (*notes, halved_note(share))
        result = self.run_one(inputs, base)
        ended = time.perf_counter()
        return partial(
            write_record,
            self._storage,
            planned.cell,
            scores_of(inputs.test, result),
            seconds={"load": loaded - started, "run": ended - loaded, "total": ended - started},
            execution={**execution, **result.execution},
            curve=curve,
            notes=(*notes, *result.notes),
            selection=None if result.round is None else result.round.facts,
            files=files_of(planned, result),
        )

    def _inputs(
        self,
        planned: PlannedCell,
        base: Base,
        states: StateCache,
        curve: list[Mapping[str, float]],
        share: float,
    ) -> CellInputs:
        return make_inputs(
            planned,
            self._unit,
            self.tasks[planned.cell.task],
            self._storage,
            base=base,
            states=states,
            curve=curve,
            execution=Execution(
                engine=choose_engine(self.engine, offload=self.offload),
                token_share=share,
                may_halve=self.worker_group.size == 1,
                worker_group=self.worker_group,
                checkpoint=self._checkpoint(planned),
            ),
        )

    def _checkpoint(self, planned: PlannedCell) -> Checkpoint | None:
        if not isinstance(planned.cell.recipe, WeightTraining):
            return None
        return Checkpoint(
            storage=self._storage,
            cell_id=planned.id,
            execution=self._execution(planned),
            is_due=Timer(is_leaving=self.is_leaving),
            must_stop=self.must_stop,
        )

    def _base_for(self, planned: PlannedCell) -> tuple[Base, StateCache]:
        if self._base is None or self._states is None or self._base_key != planned.base_key:
            if self._load_error is not None and self._base_key == planned.base_key:
                raise self._load_error.with_traceback(None)
            self._base, self._states, self._load_error = None, None, None
            gc.collect()  # the old base goes before the new one comes
            self._base_key = planned.base_key
            try:
                self._base = self.worker_group.run_together(partial(self._load, planned.cell))
            except Exception as error:
                self._load_error = error
                raise
            files = StateFiles(storage=self._storage)
            self._states = StateCache(files=files, worker_group=self.worker_group)
        return self._base, self._states

    def _load(self, cell: Cell) -> Base:
        return load_for_engine(
            self.engine,
            self.run_context.models[cell.model],
            dtype=cell.dtype,
            quantization=cell.recipe.quantization,
            device=self.device,
            offload=self.offload,
        )

    def _execution(self, planned: PlannedCell) -> dict[str, Any]:
        return execution_facts(
            quantization=planned.cell.recipe.quantization,
            device=self.device,
            threads=self.threads,
            engine=self.engine,
            offload=self.offload,
            workers=self.worker_group.size,
        )


def _nothing() -> None:
    """What a worker does while the first one of its worker group writes."""
