"""Mirrors a running study to Weights & Biases, which is never read back.

A thread of the driver reads the records and writes all runs, so that Ray, the in-process twin, a
resumed study and a replay give the same runs, and workers need no W&B. Every failure is a warning
and never fails the study. Without a key the runs are written offline below the run folder, for
`wandb sync`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from study.analysis.surface import Surface
from study.artifacts.plan import Plan
from study.reporting.style import Format
from study.tracking.cell_groups import MAX_RUNS, group_cells
from study.tracking.cell_run import CellRun
from study.tracking.mirror import CLOSE_TIMEOUT_S, Closing, Mirror
from study.tracking.surface_run import log_surface_run
from study.tracking.wandb_runs import WandbRuns, tracking_mode, warn
from trainables.cells.planned import PlannedCell
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, Record, read_record


class Tracker(Closing):
    """Mirror of a running study, used as a context manager; this base class mirrors nothing."""

    figure_formats: tuple[Format, ...] = ()
    """Formats in which it logs the report's figures, which must be drawn in them."""

    def log_cell(self, planned: PlannedCell, record: Record) -> None:
        """Adds a finished cell to the run of its model, method and condition."""

    def log_surface(self, surface: Surface) -> None:
        """Logs the run of the surface: its tables, its figures and the study's files."""


def open_tracker(storage: Storage, plan: Plan, missing: Collection[PlannedCell]) -> Tracker:
    """Returns the tracker of a study.

    Args:
        storage: The run folder; offline runs are written below it.
        plan: The study.
        missing: The cells that are going to run. Finished cells that W&B was not sent are logged
            too. If no cell is going to run, nothing is logged.
    """
    if not missing or tracking_mode() == "disabled":
        return Tracker()
    tracker = WandbTracker(storage, plan)
    waiting = {planned.id for planned in missing}
    tracker.catch_up([planned for planned in plan.cells if planned.id not in waiting])
    return tracker


class WandbTracker(Tracker):
    """Mirrors a study in W&B: a run for each group of cells, and one for the surface."""

    figure_formats = ("png",)

    def __init__(self, storage: Storage, plan: Plan) -> None:
        self._storage = storage
        self._plan = plan
        self._runs = WandbRuns(storage, plan.space.name)
        self._cell_runs: dict[str, CellRun] = {}
        self._mirror = Mirror(self._runs)
        self._mirror.put(self._group)

    def catch_up(self, cells: Collection[PlannedCell]) -> None:
        """Adds the finished ones of these cells, unless W&B was sent them before."""
        self._mirror.put(lambda: self._catch_up(cells))

    def log_cell(self, planned: PlannedCell, record: Record) -> None:
        """Adds the cell to the run of its group."""
        self._mirror.put(lambda: self._log_cell(planned, record))

    def log_surface(self, surface: Surface) -> None:
        """Logs the run of the surface, unless W&B has the same one."""
        self._mirror.put(lambda: log_surface_run(self._runs, self._storage, self._plan, surface))

    def replay(self, surface: Surface) -> None:
        """Logs everything of a study that W&B lacks, from its records alone."""
        self._mirror.put(lambda: self._replay(surface.scores.records))
        self.log_surface(surface)

    def close(self, timeout_s: float | None = CLOSE_TIMEOUT_S) -> None:
        """Ends the runs; waits a minute at most, unless told otherwise."""
        self._mirror.put(self._finish)
        self._mirror.close(timeout_s)

    def _group(self) -> None:
        groups = group_cells(self._plan)
        for group in groups:
            run = CellRun(self._runs, self._storage, group)
            self._cell_runs |= dict.fromkeys((cell.id for cell in group.cells), run)
        if any(group.keys for group in groups):
            warn(
                f"one run per model, method and condition would make more than {MAX_RUNS} runs, so "
                f"there is one per model and method: {len(groups)} runs"
            )

    def _catch_up(self, cells: Collection[PlannedCell]) -> None:
        for planned in cells:
            if not self._cell_runs[planned.id].has(planned):
                try:
                    record = read_record(self._storage, planned.id)
                except (FileNotFoundError, InvalidRecordError):
                    continue
                self._log_cell(planned, record)

    def _log_cell(self, planned: PlannedCell, record: Record) -> None:
        run = self._cell_runs[planned.id]
        run.log(planned, record)
        if run.is_complete:
            run.finish()

    def _replay(self, records: Mapping[str, Record]) -> None:
        for run in dict.fromkeys(self._cell_runs.values()):
            finished = [planned for planned in run.group.cells if planned.id in records]
            if finished and self._runs.is_online:
                run.open()  # W&B tells how much of it arrived
            for planned in finished:
                run.log(planned, records[planned.id])
            run.finish()
        print(f"W&B: {len(records)} cells in runs of the group {self._plan.space.name}", flush=True)

    def _finish(self) -> None:
        for run in dict.fromkeys(self._cell_runs.values()):
            run.finish()


def replay(storage: Storage, plan: Plan, surface: Surface) -> None:
    """Logs a study to W&B from its records alone; runs that W&B has are completed.

    Every failure is a warning: the records are complete without W&B.
    """
    if tracking_mode() == "disabled":
        warn("disabled by WANDB_MODE, so the study was not logged")
        return
    tracker = WandbTracker(storage, plan)
    tracker.replay(surface)
    tracker.close(timeout_s=None)
