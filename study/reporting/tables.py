"""Tables of the page as columns and rows of plain values, sorted and searched in the browser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from study.analysis.contrasts import explored
from study.analysis.names import recipe_labels
from study.analysis.surface import Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.artifacts.plan import Plan
from study.reporting.self_training import AuditLine

Table = dict[str, Any]
"""`columns`: name and kind of each (`text`, `percent`, `points`, `share`, `signed`,
`p`, `number`, `seconds`);
`rows`: their values."""

_POINT_COLUMNS: tuple[tuple[str, str], ...] = (
    ("model", "text"),
    ("method", "text"),
    ("trained on", "text"),
    ("test level", "text"),
    ("gap", "signed"),
    ("zero-shot %", "percent"),
    ("source %", "percent"),
    ("hard %", "percent"),
    ("SGR", "share"),
    ("low", "share"),
    ("high", "share"),
    ("verdict", "text"),
    ("caveats", "text"),
    ("hard - source", "points"),
    ("q (E=H)", "p"),
    ("items", "number"),
    ("seeds", "number"),
    ("cost", "seconds"),
)

_CELL_COLUMNS: tuple[tuple[str, str], ...] = (
    ("cell", "text"),
    ("model", "text"),
    ("task", "text"),
    ("method", "text"),
    ("condition", "text"),
    ("seed", "number"),
    ("accuracy %", "percent"),
    ("unreadable %", "percent"),
    ("time", "seconds"),
    ("loading", "seconds"),
    ("core time", "seconds"),
    ("expected GFLOP", "number"),
    ("host", "text"),
    ("notes", "text"),
)

_AUDIT_COLUMNS: tuple[tuple[str, str], ...] = (
    ("model", "text"),
    ("method", "text"),
    ("condition", "text"),
    ("tau", "number"),
    ("round", "number"),
    ("items", "text"),
    ("level", "text"),
    ("number", "number"),
    ("selected %", "percent"),
    ("right %", "percent"),
    ("right of selected %", "percent"),
    ("right of trained on %", "percent"),
    ("confidence %", "percent"),
    ("ECE %", "percent"),
    ("ECE (equal mass) %", "percent"),
    ("Brier", "share"),
    ("selective area %", "percent"),
    ("seeds", "number"),
)

_MISSING_COLUMNS: tuple[tuple[str, str], ...] = (
    ("cell", "text"),
    ("what", "text"),
    ("why", "text"),
)


def point_table(surface: Surface, labels: Mapping[str, str]) -> Table:
    """Returns the points, one a row, in the order of the surface."""
    adjusted = explored(surface)["E=H"]
    several_tasks = len({(row.point.task, row.point.measure) for row in surface.rows}) > 1
    columns = (("task", "text"), *_POINT_COLUMNS) if several_tasks else _POINT_COLUMNS
    rows = []
    for row, q_value in zip(surface.rows, adjusted, strict=True):
        values = _point_values(row, labels, q_value)
        task = f"{row.point.task} by {row.point.measure}"
        rows.append([task, *values] if several_tasks else values)
    return _table(columns, rows)


def cell_table(plan: Plan, surface: Surface) -> Table:
    """Returns the finished cells with their times; cost is time on the threads a cell had."""
    labels = recipe_labels(planned.cell.recipe for planned in plan.cells)
    rows = []
    for planned in plan.cells:
        record = surface.scores.records.get(planned.id)
        if record is None:
            continue
        total = record.seconds["total"]
        threads = record.execution.get("threads")
        rows.append(
            [
                planned.id,
                planned.model_name,
                planned.cell.task,
                labels[recipe_text(planned.cell.recipe)],
                " ".join(filter(None, (planned.condition, planned.variant))),
                planned.cell.seed,
                _rounded(record.accuracy),
                _rounded(record.unreadable),
                round(total, 2),
                round(record.seconds.get("load", 0.0), 2),
                round(total * threads, 2) if isinstance(threads, int) else None,
                round(planned.flop / 1e9, 2),
                str(record.execution.get("host", "")),
                "; ".join(record.notes),
            ]
        )
    return _table(_CELL_COLUMNS, rows)


def missing_table(plan: Plan, surface: Surface) -> Table:
    """Returns the cells without scores and why."""
    rows = [
        [planned.id, planned.label, surface.reasons[planned.id]]
        for planned in plan.cells
        if planned.id in surface.reasons
    ]
    return _table(_MISSING_COLUMNS, rows)


def audit_table(lines: Iterable[AuditLine]) -> Table:
    """Returns the audit of self-training, a line a source, round, set of items and level."""
    shown = list(lines)
    several_tasks = len({(line.task, line.measure) for line in shown}) > 1
    columns = (("task", "text"), *_AUDIT_COLUMNS) if several_tasks else _AUDIT_COLUMNS
    rows = [
        [
            *([f"{line.task} by {line.measure}"] if several_tasks else []),
            line.model,
            line.method,
            line.condition,
            line.threshold,
            line.ssrm_round,
            f"{line.items}, {line.moment} the round",
            line.level,
            _rounded(line.means["num_items"]),
            *(_rounded(line.means[name]) for name in _AUDIT_MEANS),
            line.num_seeds,
        ]
        for line in shown
    ]
    return _table(columns, rows)


_AUDIT_MEANS = (
    "coverage",
    "accuracy",
    "selected_accuracy",
    "target_accuracy",
    "mean_confidence",
    "ece_equal_width",
    "ece_equal_mass",
    "brier",
    "selective_area",
)
"""In the order of the columns."""


def _point_values(row: SurfaceRow, labels: Mapping[str, str], q_value: float | None) -> list[Any]:
    point = row.point
    return [
        point.model,
        labels[recipe_text(point.recipe)],
        point.source,
        point.test_level.name,
        _rounded(point.difficulty_gap),
        _rounded(row.zero_shot),
        _rounded(row.easy),
        _rounded(row.hard),
        _rounded(row.sgr.estimate),
        _rounded(row.sgr.low),
        _rounded(row.sgr.high),
        row.verdict or "no estimate",
        "; ".join(row.caveats) or None,
        _rounded(row.hard_minus_easy.estimate),
        None if q_value is None else float(f"{q_value:.2g}"),
        row.num_items,
        row.draw_note or row.num_seeds,
        None if row.cell_seconds is None else round(row.cell_seconds, 1),
    ]


def _rounded(value: float | None) -> float | None:
    """Returns a number short enough for the page, long enough to be rounded once, by the page."""
    return None if value is None else round(value, 10)


def _table(columns: tuple[tuple[str, str], ...], rows: list[list[Any]]) -> Table:
    return {"columns": [{"name": name, "kind": kind} for name, kind in columns], "rows": rows}
