"""Mirrors a running study to Weights & Biases, which is never read back.

A thread does all the work, so that neither the start of W&B's service nor a slow network delays a
cell. Every failure in it is a warning and never fails the study. Without a key the runs are written
offline below the run folder, for `wandb sync`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from study.analysis.surface import Surface
from study.artifacts.plan import Plan
from study.tracking.rows import cell_factors, cell_results
from study.tracking.wandb_logs import log_aggregation, replay_cells
from study.tracking.wandb_runs import WandbRuns, tracking_mode, warn
from trainables.cells.planned import Block, PlannedCell
from trainables.storage.filesystem import Storage
from trainables.storage.records import Record, read_curve

MAX_CURVES = 200
"""Loss curves of one run that are logged as metrics: W&B allows 10,000 metric names a project."""

CLOSE_TIMEOUT_S = 60.0
"""Longest wait for W&B at the end of a study."""


class Tracker:
    """Mirror of a running study, used as a context manager; this base class mirrors nothing."""

    logs_figures: bool = False
    """Whether it logs the figures of the report, which must be drawn then."""

    def start_blocks(self, blocks: Sequence[Block]) -> None:
        """Opens a run for each block that is about to start."""

    def log_cell(self, planned: PlannedCell, record: Record) -> None:
        """Adds a finished cell to the run of its block."""

    def log_surface(self, surface: Surface) -> None:
        """Logs the aggregation run: the surface, its figures and the study's files."""

    def close(self) -> None:
        """Ends all runs; does not wait indefinitely."""

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_tracker(storage: Storage, plan: Plan, *, is_active: bool = True) -> Tracker:
    """Returns the tracker of a study.

    Args:
        storage: The run folder; offline runs are written below it.
        plan: The study.
        is_active: False if no cell is going to run; the tracker then logs nothing.
    """
    if not is_active or tracking_mode() == "disabled":
        return Tracker()
    return WandbTracker(storage, plan)


class WandbTracker(Tracker):
    """Mirrors a study in W&B: a run a block, and one for the aggregation."""

    logs_figures = True

    def __init__(self, storage: Storage, plan: Plan) -> None:
        self._storage = storage
        self._plan = plan
        self._runs = WandbRuns(storage, plan)
        self._block_of: dict[str, int] = {}
        self._blocks: dict[int, _BlockRun] = {}
        self._has_news = False
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def start_blocks(self, blocks: Sequence[Block]) -> None:
        """Opens a run for each block; a cell's row goes to the run of its block."""
        for block in blocks:
            self._block_of |= {planned.id: block.index for planned in block.cells}
        self._tasks.put(lambda: self._open_blocks(blocks))

    def log_cell(self, planned: PlannedCell, record: Record) -> None:
        """Adds a row to the run of the cell's block."""
        self._has_news = True
        self._tasks.put(lambda: self._log_cell(planned, record))

    def log_surface(self, surface: Surface) -> None:
        """Logs the aggregation run, unless no cell was logged."""
        if self._has_news:
            self._tasks.put(lambda: log_aggregation(self._runs, self._storage, self._plan, surface))

    def close(self) -> None:
        """Ends the runs; waits at most a minute."""
        if not self._thread.is_alive():
            return
        self._tasks.put(self._finish)
        self._tasks.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            warn(f"not finished after {CLOSE_TIMEOUT_S:.0f} s; continuing without it")

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception as error:
                # Whatever failed, the study continues and warns once.
                warn(f"off for the rest of this run: {type(error).__name__}: {error}")
                break
        try:
            self._runs.close()
        except Exception as error:
            warn(f"the offline runs could not be copied: {type(error).__name__}: {error}")

    def _open_blocks(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            run = self._runs.open(
                f"block {block.index}",
                job_type="block",
                config={
                    "space": self._plan.space.name,
                    "block": block.index,
                    "num_cells": sum(1 for _ in block.cells),
                    "methods": sorted({planned.cell.recipe.method for planned in block.cells}),
                },
            )
            self._blocks[block.index] = _BlockRun(self._runs.module(), run)

    def _log_cell(self, planned: PlannedCell, record: Record) -> None:
        block = self._blocks.get(self._block_of.get(planned.id, -1))
        if block is not None:
            row = {**cell_factors(planned), **cell_results(record)}
            block.add(row, planned, read_curve(self._storage, planned.id))

    def _finish(self) -> None:
        for block in self._blocks.values():
            block.finish()


class _BlockRun:
    """The live run of one block."""

    def __init__(self, wandb: Any, run: Any) -> None:
        self._wandb = wandb
        self._run = run
        self._rows: list[dict[str, Any]] = []
        self._num_curves = 0
        run.define_metric("loss/*", step_metric="optimizer_step")

    def add(
        self,
        row: Mapping[str, Any],
        planned: PlannedCell,
        curve: Iterable[Mapping[str, float]],
    ) -> None:
        """Logs one finished cell: a history row with all its factors, and its loss curve."""
        self._rows.append(dict(row))
        self._run.log({"num_finished": len(self._rows), **row})
        steps = list(curve)
        if not steps or self._num_curves >= MAX_CURVES:
            return
        self._num_curves += 1
        for index, step in enumerate(steps):
            name = f"loss/{planned.label}"
            self._run.log({"optimizer_step": step.get("step", index), name: step.get("loss")})

    def finish(self) -> None:
        """Adds all rows as one table and ends the run."""
        if self._rows:
            names = list(dict.fromkeys(name for row in self._rows for name in row))
            data = [[row.get(name) for name in names] for row in self._rows]
            self._run.log({"cells": self._wandb.Table(columns=names, data=data)})
        self._run.finish()


def replay(storage: Storage, plan: Plan, surface: Surface) -> None:
    """Logs a study to W&B from its records alone: a run a cell, and the aggregation.

    Every failure is a warning: the records are complete without W&B.
    """
    if tracking_mode() == "disabled":
        warn("disabled by WANDB_MODE, so the study was not logged")
        return
    runs = WandbRuns(storage, plan)
    try:
        replay_cells(runs, storage, plan, surface)
        log_aggregation(runs, storage, plan, surface)
        runs.close()
    except Exception as error:
        warn(f"the replay ended early: {type(error).__name__}: {error}")
