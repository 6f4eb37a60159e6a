"""The live W&B run of one group of cells: a row per seed, its losses, and a table of all cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from study.analysis.surface_rows import Scalar
from study.tracking.cell_groups import CellGroup
from study.tracking.ledger import RunLedger
from study.tracking.rows import cell_factors, cell_results
from study.tracking.wandb_runs import WandbRuns
from trainables.cells.planned import PlannedCell
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, Record, read_curve, read_record

MAX_CURVE_ROWS = 500
"""Rows of one cell's losses; a longer curve is thinned evenly, its last step included."""

MAX_CHART_ROWS = 10_000
"""Rows of one W&B chart or table."""

AXES = ("optimizer_step", "seed")
"""The x axes: of losses, and of a cell's results."""

TABLE = "cells"

_TABLE_ENTRY = "table"

_TEXTS = frozenset({"host", "notes", "cell_id"})


class CellRun:
    """Mirrors the finished cells of a group; nothing is opened before the first one."""

    def __init__(self, runs: WandbRuns, storage: Storage, group: CellGroup) -> None:
        self.group = group
        self._runs = runs
        self._storage = storage
        self._ledger = RunLedger(storage, runs.space, group.run_id)
        self._cells = {planned.id: planned for planned in group.cells}
        self._records: dict[str, Record] = {}
        self._run: Any = None
        self._num_rows = 0
        self._metrics: set[str] = set()
        self._has_news = False

    def has(self, planned: PlannedCell) -> bool:
        """Returns whether the run was sent the cell."""
        return planned.id in self._ledger

    @property
    def is_complete(self) -> bool:
        """Whether every cell of the group has been logged."""
        return all(id_ in self._ledger for id_ in self._cells)

    def log(self, planned: PlannedCell, record: Record) -> None:
        """Adds a finished cell, unless the run has it."""
        if planned.id in self._ledger:
            return
        self.open()
        if planned.id not in self._ledger:
            self._records[planned.id] = record
            self._add(planned, record)
            self._update_summary()

    def open(self) -> None:
        """Opens the run, and logs what W&B lacks of the cells that it was sent before."""
        if self._run is not None:
            return
        self._run = self._runs.open(
            self.group.name,
            job_type="cells",
            config=self.group.config,
            run_id=self.group.run_id,
        )
        for axis in AXES:
            self._run.define_metric(axis, hidden=True)
        lost: Mapping[str, int] = {}
        self._num_rows = self._ledger.num_rows
        if self._runs.is_online:
            self._num_rows = self._run.starting_step
            lost = self._ledger.drop_lost(self._num_rows)
        for id_ in (*self._ledger.entries, *lost):
            record = self._read(id_)
            if record is not None:
                self._records[id_] = record
        for id_, start in lost.items():
            if id_ in self._records:
                skip = max(0, self._num_rows - start)
                self._add(self._cells[id_], self._records[id_], skip=skip)
        if lost:
            self._update_summary()

    def finish(self) -> None:
        """Adds the table of all cells and the chart of their losses, and ends the run."""
        if self._run is None:
            return
        if self._has_news:
            self._log_rows(_TABLE_ENTRY, [self._charts()])
        self._run.finish()
        self._run, self._has_news = None, False
        self._metrics.clear()

    def _read(self, id_: str) -> Record | None:
        if id_ not in self._cells:
            return None  # the table, or a cell that the study no longer has
        try:
            return read_record(self._storage, id_)
        except (FileNotFoundError, InvalidRecordError):
            return None

    def _add(self, planned: PlannedCell, record: Record, *, skip: int = 0) -> None:
        rows = list(self._rows(planned, record))[skip:]
        for row in rows:
            self._define_metrics(row)
        self._log_rows(planned.id, rows)
        self._has_news = True

    def _rows(self, planned: PlannedCell, record: Record) -> Iterator[dict[str, Any]]:
        """Yields the history rows of a cell: one per step of its curve, then its results."""
        keys = self._keys(planned)
        for step in _thinned(read_curve(self._storage, planned.id)):
            values = {name: value for name, value in step.items() if name != "step"}
            yield {"optimizer_step": step.get("step"), **keys, **values}
        results = {**keys, **cell_results(record), "cell_id": planned.id}
        yield {name: value for name, value in results.items() if value is not None}

    def _keys(self, planned: PlannedCell) -> dict[str, Scalar]:
        """Returns what tells the rows of a cell from those of the run's other cells."""
        factors = cell_factors(planned)
        keys = {name: factors.get(name) for name in ("seed", *self.group.keys)}
        return {name: value for name, value in keys.items() if value is not None}

    def _define_metrics(self, row: Mapping[str, Any]) -> None:
        """Sets the x axis of a row's metrics; their summary is set explicitly, over all seeds."""
        axis = next((name for name in AXES if name in row), None)
        for name in row.keys() - self._metrics - {*AXES, *_TEXTS, *self.group.keys}:
            self._metrics.add(name)
            self._run.define_metric(name, step_metric=axis, summary="none")

    def _log_rows(self, entry: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._num_rows += len(rows)
        self._ledger.add(entry, self._num_rows)
        for row in rows:
            self._run.log(row)

    def _update_summary(self) -> None:
        records = list(self._records.values())
        self._run.summary.update(
            {
                "num_finished": len(records),
                "accuracy": sum(record.accuracy for record in records) / len(records),
                "seconds_total": sum(record.seconds["total"] for record in records),
            }
        )

    def _charts(self) -> dict[str, Any]:
        """Returns the table of the cells, and a chart of their losses with a line per seed."""
        wandb = self._runs.module()
        cells = [self._cells[id_] for id_ in self._records]
        rows = [{**cell_factors(c), **cell_results(self._records[c.id])} for c in cells]
        names = list(dict.fromkeys(name for row in rows for name in row))
        data = [[row.get(name) for name in names] for row in rows[:MAX_CHART_ROWS]]
        charts: dict[str, Any] = {TABLE: wandb.Table(columns=names, data=data)}
        losses = [] if self.group.keys else list(self._losses(cells))[:MAX_CHART_ROWS]
        if losses:
            table = wandb.Table(columns=["optimizer_step", "loss", "seed"], data=losses)
            charts["losses"] = wandb.plot.line(
                table, x="optimizer_step", y="loss", stroke="seed", title="training loss"
            )
        return charts

    def _losses(self, cells: Sequence[PlannedCell]) -> Iterator[list[Any]]:
        for planned in cells:
            for step in _thinned(read_curve(self._storage, planned.id)):
                if "loss" in step:
                    yield [step.get("step"), step["loss"], str(planned.cell.seed)]


def _thinned(curve: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    stride = -(-len(curve) // MAX_CURVE_ROWS)
    return list(curve[::-1][:: stride or 1][::-1])
