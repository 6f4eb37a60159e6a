"""Runs one cell after the other in this process, and loads each base model once."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from search_spaces.base_models import EngineName
from search_spaces.recipes import WeightTraining
from trainables.cells.inputs import make_inputs
from trainables.cells.peak_memory import start_measuring
from trainables.cells.planned import PlannedCell, RunContext, Unit
from trainables.cells.record import execution_facts, files_of, scores_of
from trainables.cells.run import run_cell
from trainables.cells.usage import measure_usage
from trainables.distributed.select import choose_engine, load_for_engine
from trainables.distributed.worker_group import WorkerGroup
from trainables.inference.hidden_state_files import StateFiles
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.interface import Execution
from trainables.models.loading import Base
from trainables.models.oom import halved_note
from trainables.storage.checkpoints import Checkpoint, Progress, Timer, Usage
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import write_record


@dataclass(kw_only=True, slots=True)
class CellRunner:
    """One process: its hardware, its worker group, and the base model it has loaded."""

    run_context: RunContext
    device: str = "cpu"
    gpus: float = 0.0
    """Of this process; a fraction where it shares a GPU."""
    threads: int = 1
    """Of torch on the CPU. Sums depend on it, so records name it."""
    engine: EngineName = "plain"
    offload: bool = False
    """Whether the engine keeps its shards in CPU memory."""
    worker_group: WorkerGroup = field(default_factory=WorkerGroup)
    """The workers that run each cell together with this one."""
    is_leaving: Callable[[], bool] = lambda: False
    """Whether the cloud is about to take a machine of the group away."""
    must_stop: Callable[[], bool] = lambda: False
    """Whether the sweep must stop, because of a signal."""
    storage: Storage = field(init=False)
    _base_key: tuple[str, str, str] | None = field(init=False, default=None)
    _base: Base | None = field(init=False, default=None)
    _states: StateCache | None = field(init=False, default=None)
    _load_error: Exception | None = field(init=False, default=None)
    """Why the last base model could not be loaded: its other cells fail with the same error."""

    def __post_init__(self) -> None:
        self.storage = open_storage(self.run_context.out)

    def run(self, planned: PlannedCell, unit: Unit, share: float) -> Callable[[], None]:
        """Runs a cell; returns a function that writes its record.

        Args:
            planned: The cell.
            unit: Its unit: what the unit's cells share is computed once.
            share: Of the usual tokens per batch.
        """
        started, peak_memory = time.perf_counter(), start_measuring(self.device)
        base, states = self._base_for(planned)
        load_seconds, usage = time.perf_counter() - started, Usage()
        curve: list[Mapping[str, float]] = []
        execution = self._execution_facts(planned)
        # One worker may fail to read the parent's files: no worker begins unless all can.
        inputs = self.worker_group.run_together(
            partial(
                make_inputs,
                planned,
                unit,
                self.run_context.tasks[planned.cell.task],
                self.storage,
                base=base,
                states=states,
                curve=curve,
                execution=self._execution(planned, share, execution, usage),
            )
        )
        with measure_usage(base, usage) as gpu:
            result = (self.run_context.run_cell or run_cell)(inputs, base)
        run_seconds, peak_bytes = usage.seconds, peak_memory()
        notes = (*base.notes, *result.notes)
        if self.gpus:
            execution["gpus_per_worker"] = self.gpus
        if share < 1.0:
            execution |= {"class": "B", "token_share": share}
            notes = (*base.notes, halved_note(share), *result.notes)
        source = self.run_context.models[planned.cell.model]
        scores, files = scores_of(inputs.test, result), files_of(planned, source, result)

        def write() -> None:
            write_record(
                self.storage,
                planned.cell,
                scores,
                seconds={
                    "load": load_seconds,
                    "run": run_seconds,
                    "total": load_seconds + run_seconds,
                },
                peak_memory=peak_bytes,
                tokens=usage.tokens,
                gpu_utilisation=gpu.mean,
                execution={**execution, **result.execution},
                curve=curve,
                notes=notes,
                selection=None if result.round is None else result.round.facts,
                files=files,
            )

        return write

    def unload(self) -> None:
        """Drops the base model: the next cell loads it again."""
        self._base = None

    def _execution(
        self, planned: PlannedCell, share: float, facts: Mapping[str, Any], usage: Usage
    ) -> Execution:
        checkpoint = None
        if isinstance(planned.cell.recipe, WeightTraining):
            checkpoint = Checkpoint(
                storage=self.storage,
                cell_id=planned.id,
                execution=dict(facts),
                usage=usage,
                is_due=Timer(is_leaving=self.is_leaving),
                must_stop=self.must_stop,
            )
            usage.add(checkpoint.read_progress() or Progress())
        return Execution(
            engine=choose_engine(self.engine, offload=self.offload),
            token_share=share,
            may_halve=self.worker_group.size == 1,
            worker_group=self.worker_group,
            checkpoint=checkpoint,
        )

    def _execution_facts(self, planned: PlannedCell) -> dict[str, Any]:
        return execution_facts(
            quantization=planned.cell.recipe.quantization,
            device=self.device,
            threads=self.threads,
            engine=self.engine,
            offload=self.offload,
            workers=self.worker_group.size,
        )

    def _base_for(self, planned: PlannedCell) -> tuple[Base, StateCache]:
        if self._base is None or self._states is None or self._base_key != planned.base_key:
            if self._load_error is not None and self._base_key == planned.base_key:
                raise self._load_error.with_traceback(None)
            self._base, self._states, self._load_error = None, None, None
            gc.collect()  # frees the old base before the new one is loaded
            self._base_key = planned.base_key
            cell = planned.cell
            try:
                self._base = self.worker_group.run_together(
                    lambda: load_for_engine(
                        self.engine,
                        self.run_context.models[cell.model],
                        dtype=cell.dtype,
                        quantization=cell.recipe.quantization,
                        device=self.device,
                        offload=self.offload,
                    )
                )
            except Exception as error:
                self._load_error = error
                raise
            files = StateFiles(storage=self.storage)
            self._states = StateCache(files=files, worker_group=self.worker_group)
        return self._base, self._states
