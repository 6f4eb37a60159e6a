"""Tables of the page as columns and rows of plain values, sorted and searched in the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from study.analysis.calibration import (
    CALIBRATION_COLUMNS,
    RELIABILITY_COLUMNS,
    CalibrationRow,
    reliability_rows,
)
from study.analysis.contrasts import explored
from study.analysis.items.accuracy import GROUP_COLUMNS, GroupAccuracy
from study.analysis.items.influence import INFLUENCE_COLUMNS, ItemInfluence
from study.analysis.names import recipe_labels
from study.analysis.surface import Surface
from study.analysis.surface_columns import COLUMNS, Column
from study.analysis.surface_rows import Scalar, recipe_text
from study.artifacts.plan import Plan
from study.formatting import GIB
from study.reporting.charts.filters import Filters, method_of, of_point
from study.reporting.self_training import ALL_LEVELS, AuditLine
from trainables.cells.planned import PlannedCell

Kind = Literal["text", "percent", "points", "share", "signed", "p", "number", "seconds"]
"""How the page formats a column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageTable:
    """A table of the page."""

    name: str
    """Its id in the page, for links."""
    caption: str
    columns: Sequence[PageColumn]
    rows: Sequence[Sequence[Scalar]]
    filters: Sequence[Filters]
    """What each row is about."""
    sentences: Sequence[str] = ()
    """A sentence below each row, if there are any."""


class PageColumn(NamedTuple):
    """A column: its header, how the page formats it, and its value for a row."""

    name: str
    kind: Kind
    value: Callable[[Any], Any]
    help: str = ""
    """Shown when the pointer is on the header; empty: none."""


def text_column(name: str, value: Callable[[Any], str | None], help: str = "") -> PageColumn:
    """Returns a column of texts, formatted already."""
    return PageColumn(name, "text", value, help)


def make_table(
    name: str,
    caption: str,
    columns: Iterable[PageColumn | None],
    rows: Sequence[Any],
    filters: Callable[[Any], Filters] | None = None,
    sentences: Sequence[str] = (),
) -> PageTable:
    """Returns a table of the page; its numbers are short enough for the page.

    Args:
        name: Its id.
        caption: Its caption.
        columns: Its columns; None is left out.
        rows: What the columns take their values from.
        filters: Returns what a row is about; None: nothing that the page filters by.
        sentences: A sentence per row.
    """
    shown = [column for column in columns if column is not None]
    return PageTable(
        name=name,
        caption=caption,
        columns=shown,
        rows=[[_rounded(column, column.value(row)) for column in shown] for row in rows],
        filters=[Filters() if filters is None else filters(row) for row in rows],
        sentences=sentences,
    )


class _DeclaredColumn(Protocol):
    """Makes a column of the page from a declared one, with its own value or one for the page."""

    def __call__(
        self, name: str, kind: Kind, declared: str, value: Callable[[Any], Any] | None = None
    ) -> PageColumn: ...


def _declared(file: str, columns: Iterable[Column]) -> _DeclaredColumn:
    """Returns what makes page columns of the declared columns of a file."""
    known = {column.name: column for column in columns}

    def column(
        name: str, kind: Kind, declared: str, value: Callable[[Any], Any] | None = None
    ) -> PageColumn:
        of_file = known[declared]
        unit = f", {of_file.unit}" if of_file.unit else ""
        text = f"{of_file.meaning} ({file}: {declared}{unit})"
        return PageColumn(name, kind, value or of_file.value, text)

    return column


DECIMALS: Mapping[str, int] = {"seconds": 2, "number": 4}
"""Decimals of a value in the page, by kind; the others are rounded once, by the page's script."""


def _rounded(column: PageColumn, value: Any) -> Any:
    return round(value, DECIMALS.get(column.kind, 10)) if isinstance(value, float) else value


def point_table(
    surface: Surface, labels: Mapping[str, str], sentences: Sequence[str] = ()
) -> PageTable:
    """Returns the points, one per row, in the order of the surface."""
    q_values = dict(zip(map(id, surface.rows), explored(surface), strict=True))
    several_tasks = len({(row.point.task, row.point.measure) for row in surface.rows}) > 1
    column = _declared("surface.parquet", COLUMNS)
    over_trivial: tuple[PageColumn, ...] = (
        column("SGR over trivial", "share", "format_matched"),
        column("low (trivial)", "share", "format_matched_low"),
        column("high (trivial)", "share", "format_matched_high"),
    )
    if all(row.over_trivial is None for row in surface.rows):
        over_trivial = ()
    columns = (
        column("task", "text", "task", lambda row: f"{row.point.task} by {row.point.measure}")
        if several_tasks
        else None,
        column("model", "text", "model"),
        column("method", "text", "recipe", lambda row: labels[recipe_text(row.point.recipe)]),
        column("trained on", "text", "condition", lambda row: row.point.source),
        column("test level", "text", "test_level"),
        column("gap", "signed", "difficulty_gap"),
        column("zero-shot %", "percent", "zero_shot"),
        column("source %", "percent", "easy"),
        column("hard %", "percent", "hard"),
        column("SGR", "share", "sgr"),
        column("low", "share", "sgr_low"),
        column("high", "share", "sgr_high"),
        column("verdict", "text", "verdict", lambda row: row.verdict or "no estimate"),
        column("caveats", "text", "caveats"),
        *over_trivial,
        column("hard - source", "points", "hard_minus_easy"),
        PageColumn("q (hard = source)", "p", lambda row: _two_digits(q_values[id(row)])),
        column("items", "number", "num_items"),
        column("seeds", "number", "num_seeds", lambda row: row.draw_note or row.num_seeds),
        column("cost", "seconds", "cell_seconds"),
    )
    return make_table("points", "Points of the surface", columns, surface.rows, of_point, sentences)


def calibration_page(rows: Sequence[CalibrationRow]) -> PageTable:
    """Returns the calibration of every arm, one arm and test level per row."""
    column = _declared("calibration.parquet", CALIBRATION_COLUMNS)
    several = len({(row.task, row.measure) for row in rows if row.measure}) > 1
    has_start = any(row.brier_change.estimate is not None for row in rows)

    def interval(name: str, kind: Kind, declared: str) -> tuple[PageColumn, ...]:
        ends = (column(end, kind, f"{declared}_{end}") for end in ("low", "high"))
        return (column(name, kind, declared), *ends)

    columns = (
        *(
            (column("task", "text", "task"), column("measure", "text", "measure"))
            if several
            else ()
        ),
        column("model", "text", "model"),
        column("method", "text", "recipe", lambda row: row.method),
        column("trained on", "text", "condition"),
        column("test level", "text", "test_level", lambda row: row.test_level or "all"),
        column("right %", "percent", "accuracy"),
        column("confidence %", "percent", "confidence"),
        *interval("ECE %", "percent", "ece"),
        *interval("Brier", "share", "brier"),
        *(interval("Brier, after - before", "signed", "brier_change") if has_start else ()),
        *interval("selective area %", "percent", "selective_area"),
        column("items", "number", "num_items"),
        column("seeds", "number", "num_seeds"),
    )
    caption = "Calibration of every arm, by test level"
    return make_table("calibration-rows", caption, columns, rows, _of_calibration)


def reliability_page(rows: Sequence[CalibrationRow]) -> PageTable:
    """Returns the reliability of every arm, one bin of confidence per row."""
    column = _declared("calibration_bins.parquet", RELIABILITY_COLUMNS)
    bins = reliability_rows(rows)
    columns = (
        column("task", "text", "task") if len({row.task for row in rows}) > 1 else None,
        column("model", "text", "model"),
        column("method", "text", "recipe", lambda row: row.of.method),
        column("trained on", "text", "condition"),
        column("confidence %", "percent", "confidence"),
        column("right %", "percent", "accuracy"),
        column("low", "percent", "accuracy_low"),
        column("high", "percent", "accuracy_high"),
        column("answers", "number", "count"),
    )
    caption = "Reliability of every arm on all test items, by confidence"
    return make_table(
        "reliability-rows", caption, columns, bins, lambda row: _of_calibration(row.of)
    )


def _of_calibration(row: CalibrationRow) -> Filters:
    return Filters(
        model=row.model, method=method_of(row.method), task=row.task, level=row.test_level
    )


def item_accuracy_page(rows: Sequence[GroupAccuracy]) -> PageTable:
    """Returns accuracies by item hardness and topic, one arm and group of items per row."""
    column = _declared("item_accuracy.parquet", GROUP_COLUMNS)
    columns = (
        column("task", "text", "task") if len({row.task for row in rows}) > 1 else None,
        column("by", "text", "by"),
        column("items of", "text", "group"),
        column("model", "text", "model"),
        column("method", "text", "method"),
        column("trained on", "text", "condition"),
        column("right %", "percent", "accuracy"),
        column("low", "percent", "accuracy_low"),
        column("high", "percent", "accuracy_high"),
        column("items", "number", "num_items"),
    )

    def of(row: GroupAccuracy) -> Filters:
        return Filters(model=row.model, method=method_of(row.method), task=row.task)

    caption = "Accuracy by item hardness and topic"
    return make_table("item-accuracy-rows", caption, columns, rows, of)


def influence_page(rows: Sequence[ItemInfluence]) -> PageTable:
    """Returns the most influential items, one point and item per row."""
    column = _declared("influence.parquet", INFLUENCE_COLUMNS)
    several = len({(row.row.point.task, row.row.point.measure) for row in rows}) > 1
    columns = (
        column("task", "text", "task") if several else None,
        column("measure", "text", "measure") if several else None,
        column("model", "text", "model"),
        column("method", "text", "recipe", lambda row: row.row.point.recipe.method),
        column("source", "text", "source"),
        column("test level", "text", "test_level"),
        column("item", "text", "item_id"),
        column("change of SGR", "number", "change"),
        column("SGR", "share", "sgr"),
        column("zero-shot %", "percent", "zero_shot"),
        column("source %", "percent", "easy"),
        column("hard %", "percent", "hard"),
    )
    caption = "Items with the largest influence on SGR; shares of seeds right on the item"
    return make_table("influence-rows", caption, columns, rows, lambda row: of_point(row.row))


def _of_cell(planned: PlannedCell) -> Filters:
    cell = planned.cell
    return Filters(model=planned.model_name, method=cell.recipe.method, task=cell.task)


def cell_table(plan: Plan, surface: Surface) -> PageTable:
    """Returns the finished cells with times and peak memory; core time is time times threads."""
    labels = recipe_labels(planned.cell.recipe for planned in plan.cells)
    records = surface.scores.records

    def core_seconds(planned: PlannedCell) -> float | None:
        record = records[planned.id]
        threads = record.execution.get("threads")
        return record.seconds["total"] * threads if isinstance(threads, int) else None

    def peak_gib(planned: PlannedCell) -> float | None:
        peak = records[planned.id].peak_memory
        return None if peak is None else peak / GIB

    columns = (
        PageColumn("cell", "text", lambda cell: cell.id),
        PageColumn("model", "text", lambda cell: cell.model_name),
        PageColumn("task", "text", lambda cell: cell.cell.task),
        PageColumn("method", "text", lambda cell: labels[recipe_text(cell.cell.recipe)]),
        PageColumn("condition", "text", lambda cell: f"{cell.condition} {cell.variant}".strip()),
        PageColumn("seed", "number", lambda cell: cell.cell.seed),
        PageColumn("accuracy %", "percent", lambda cell: records[cell.id].accuracy),
        PageColumn("unreadable %", "percent", lambda cell: records[cell.id].unreadable),
        PageColumn("time", "seconds", lambda cell: records[cell.id].seconds["total"]),
        PageColumn("loading", "seconds", lambda cell: records[cell.id].seconds.get("load", 0.0)),
        PageColumn("core time", "seconds", core_seconds),
        PageColumn("peak GiB", "number", peak_gib),
        PageColumn("expected GFLOP", "number", lambda cell: cell.flop / 1e9),
        PageColumn("host", "text", lambda cell: str(records[cell.id].execution.get("host", ""))),
        PageColumn("notes", "text", lambda cell: "; ".join(records[cell.id].notes)),
    )
    finished = [planned for planned in plan.cells if planned.id in records]
    return make_table("cell-rows", "Finished cells", columns, finished, _of_cell)


def missing_table(plan: Plan, surface: Surface) -> PageTable:
    """Returns the cells without scores and why."""
    columns = (
        PageColumn("cell", "text", lambda cell: cell.id),
        PageColumn("what", "text", lambda cell: cell.label),
        PageColumn("why", "text", lambda cell: surface.reasons[cell.id]),
    )
    missing = [planned for planned in plan.cells if planned.id in surface.reasons]
    return make_table("missing-rows", "Cells without scores", columns, missing, _of_cell)


def audit_table(lines: Sequence[AuditLine]) -> PageTable:
    """Returns the audit of self-training: a row per source, round, set of items and level."""

    def mean(name: str, key: str, kind: Kind = "percent") -> PageColumn:
        return PageColumn(name, kind, lambda line: line.means[key])

    several_tasks = len({(line.task, line.measure) for line in lines}) > 1
    columns = (
        PageColumn("task", "text", lambda line: f"{line.task} by {line.measure}")
        if several_tasks
        else None,
        PageColumn("model", "text", lambda line: line.model),
        PageColumn("method", "text", lambda line: line.method),
        PageColumn("condition", "text", lambda line: line.condition),
        PageColumn("tau", "number", lambda line: line.threshold),
        PageColumn("round", "number", lambda line: line.ssrm_round),
        PageColumn("items", "text", lambda line: f"{line.items}, {line.moment} the round"),
        PageColumn("level", "text", lambda line: line.level),
        mean("number", "num_items", "number"),
        mean("selected %", "coverage"),
        mean("right %", "accuracy"),
        mean("right of selected %", "selected_accuracy"),
        mean("right of trained on %", "target_accuracy"),
        mean("confidence %", "mean_confidence"),
        mean("ECE %", "ece_equal_width"),
        mean("ECE (equal mass) %", "ece_equal_mass"),
        mean("Brier", "brier", "share"),
        mean("selective area %", "selective_area"),
        PageColumn("seeds", "number", lambda line: line.num_seeds),
    )
    caption = "Pseudo-labels and calibration by level and round"
    return make_table("audit", caption, columns, lines, _of_audit)


def _of_audit(line: AuditLine) -> Filters:
    level = None if line.level == ALL_LEVELS else line.level
    return Filters(model=line.model, method=method_of(line.method), task=line.task, level=level)


def _two_digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.2g}")
