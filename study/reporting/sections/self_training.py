"""Self-training: gains by threshold and round, pseudo-labels against gold, failure detectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from study.analysis.names import source_label
from study.analysis.self_training.detectors import DetectorRow
from study.analysis.surface import Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.formatting import number, percent
from study.reporting.charts.chart import Chart
from study.reporting.charts.curves import CurveAxes, CurveMark, curve_chart
from study.reporting.charts.filters import Filters, method_of, of_point
from study.reporting.charts.intervals import IntervalLine, interval_chart
from study.reporting.content import Content
from study.reporting.findings import gain_span
from study.reporting.sections.section import Block, Bullets, Heading, Section
from study.reporting.self_training import ALL_LEVELS, AuditLine, SelfTrainingSection
from study.reporting.tables import PageColumn, PageTable, audit_table, make_table, text_column
from study.reporting.terminal import gain_text, residual_text

FACTORS: Mapping[str, tuple[str, str]] = {
    "threshold": ("confidence threshold", "Gain of self-training by threshold"),
    "ssrm_round": ("round", "Gain of self-training by round"),
}
"""Option of self-training -> title of its axis and of its chart."""

TABLE = "gains"


def self_training_section(surface: Surface, content: Content) -> Section | None:
    """Returns the section; None for a study without self-training."""
    found = content.self_training
    if found is None:
        return None
    return Section(
        name="self-training",
        title="Self-training",
        label="Self-training",
        blocks=[
            "Does self-training beat its start? The difference is paired (same test items, same "
            "labelled items), in points with its interval; * means that the interval excludes 0; q "
            "is its p-value adjusted for all rows (false discovery rate). Declared tests of it are "
            "among the contrasts. Residual recovery = (self-trained - start) / (hard - start), "
            "only if hard - start is resolved. Controls rule out other explanations of a gain: "
            "oracle_selected trains on the gold labels of the selected items, random_labels on "
            "random ones, easy_same_steps on the easy labels for as many steps, easy_pool_ssrm on "
            "pseudo-labels of an easy pool.",
            *([Bullets(lines=[f"Warning: {w}" for w in found.warnings])] if found.warnings else []),
            *_gain_charts(found.rows, content.labels, content.findings[-1]),
            _gain_table(found, content.labels),
            *_audit(found, content.labels),
            *_detectors(found.detectors),
        ],
    )


def _gain_charts(
    rows: Sequence[SurfaceRow], labels: Mapping[str, str], finding: str
) -> Iterator[Chart]:
    known = [row for row in rows if row.ssrm_gain.estimate is not None]
    for factor, (axis, title) in FACTORS.items():
        members = [row for row in known if getattr(row.point, factor) is not None]
        if len({getattr(row.point, factor) for row in members}) > 1:
            marks = [_gain_mark(row, labels, factor) for row in members]
            yield curve_chart(
                f"gain-by-{factor.replace('_', '-')}",
                marks,
                CurveAxes(
                    x=axis,
                    y="self-trained - start, points",
                    at=(0.0,),
                    is_ordinal=True,
                    has_bars=True,
                ),
                title=title,
                quote=_gain_quote(members, labels),
                reading=(
                    "Paired difference from the start, with its interval: where the bar includes "
                    "0, self-training does not differ significantly from its start."
                ),
                table=TABLE,
            )
    if known:
        yield interval_chart(
            "ssrm-gain",
            [_gain_line(row, labels) for row in known],
            title="Gain of every self-trained source over its start",
            quote=finding,
            reading="Self-trained - start in points, with its interval; grey squares: controls.",
            table=TABLE,
            axis="self-trained - start, points",
            references=(0.0,),
        )


def _panel(row: SurfaceRow, labels: Mapping[str, str]) -> str:
    point = row.point
    method = labels[recipe_text(point.recipe)]
    return f"{point.model} {method}: {point.task}, {point.test_level.name}"


def _gain_mark(row: SurfaceRow, labels: Mapping[str, str], factor: str) -> CurveMark:
    gain, x = row.ssrm_gain, float(getattr(row.point, factor))
    return CurveMark(
        filters=of_point(row),
        panel=_panel(row, labels),
        curve=source_label(row.point, frozenset({factor})),
        x=x,
        x_label=f"{x:g}",
        y=100.0 * (gain.estimate or 0.0),
        low=None if gain.low is None else 100.0 * gain.low,
        high=None if gain.high is None else 100.0 * gain.high,
        said=f"{gain_text(row)} points",
        more={"start %": percent(row.start), "self-trained %": percent(row.easy)},
    )


def _gain_line(row: SurfaceRow, labels: Mapping[str, str]) -> IntervalLine:
    mark = _gain_mark(row, labels, "ssrm_round")
    return IntervalLine(
        filters=mark.filters,
        panel=mark.panel,
        label=source_label(row.point),
        estimate=mark.y,
        low=mark.low,
        high=mark.high,
        said=mark.said,
        kind="control" if row.role == "control" else "estimate",
        more=mark.more,
    )


def _gain_quote(rows: Sequence[SurfaceRow], labels: Mapping[str, str]) -> str:
    trained = [row for row in rows if row.role == "self-training"] or rows
    best = max(trained, key=lambda row: row.ssrm_gain.estimate or 0.0)
    return (
        f"The largest gain of self-training over its start is {gain_span(best)} points "
        f"({_panel(best, labels)}, {source_label(best.point)})."
    )


def _gain_table(found: SelfTrainingSection, labels: Mapping[str, str]) -> PageTable:
    q_values = dict(zip(map(id, found.rows), found.q_values, strict=True))
    control = {"control": " (control)"}
    return make_table(
        TABLE,
        "Self-training against its start",
        (
            text_column("model", lambda row: row.point.model),
            text_column("method", lambda row: labels[recipe_text(row.point.recipe)]),
            text_column("condition", lambda row: row.point.condition + control.get(row.role, "")),
            PageColumn("tau", "number", lambda row: row.point.threshold),
            PageColumn("round", "number", lambda row: row.point.ssrm_round),
            text_column("test level", lambda row: row.point.test_level.name),
            PageColumn("start %", "percent", lambda row: row.start),
            PageColumn("self-trained %", "percent", lambda row: row.easy),
            text_column("difference", gain_text),
            PageColumn("p", "p", lambda row: row.ssrm_gain.p_value),
            PageColumn("q", "p", lambda row: q_values[id(row)]),
            text_column("residual recovery", residual_text),
        ),
        found.rows,
        of_point,
    )


def _audit(found: SelfTrainingSection, labels: Mapping[str, str]) -> Iterator[Block]:
    if not found.lines:
        return
    yield Heading(text="Audit")
    yield (
        "Gold labels of the pool are joined here, after the study; self-training never saw them. "
        '"Before" is the model that a round starts from, "after" the one that it trained. Means '
        "over seeds; accuracies, coverage, confidence and calibration errors in %, Brier score "
        "summed over the choices."
    )
    yield from _selected_chart(found.lines)
    yield from _table_chart(
        "ssrm-selective",
        [row for row in found.selective.to_pylist() if row["level"] is not None],
        labels,
        ("coverage", "labelled share of the pool %"),
        lambda row: f"before round {row['ssrm_round']}: {row['source']}",
        title="Selective accuracy of the pseudo-labels",
        reading=(
            "Accuracy of the most confident pseudo-labels against their share of a level's items "
            "in the pool."
        ),
    )
    yield from _table_chart(
        "ssrm-reliability",
        [
            row
            for row in found.reliability.to_pylist()
            if row["level"] is not None and row["binning"] == "equal-width"
        ],
        labels,
        ("confidence", "confidence %"),
        lambda row: f"{row['items']}, {row['moment']}",
        title="Reliability before and after self-training",
        reading=(
            "Accuracy of the answers against their confidence on pool and test items, in 10 bins "
            "of equal width; on the diagonal both agree."
        ),
        by_source=True,
    )
    yield audit_table(found.lines)


def _selected_chart(lines: Sequence[AuditLine]) -> Iterator[Chart]:
    pool = [
        line
        for line in lines
        if (line.items, line.moment, line.role) == ("pool", "before", "self-training")
        and line.threshold is not None
        and line.means["selected_accuracy"] is not None
    ]
    if len({line.threshold for line in pool}) < 2:
        return
    most = max(pool, key=lambda line: line.means["selected_accuracy"] or 0.0)
    yield curve_chart(
        "selected-labels",
        [_selected_mark(line) for line in pool],
        CurveAxes(x="confidence threshold", y="right pseudo-labels %", y_limits=(0, 100)),
        title="Right pseudo-labels by threshold",
        quote=(
            f"Pseudo-labels are most often right at threshold {most.threshold:g} ({most.model}, "
            f"{most.level}): {_selected_said(most)}."
        ),
        reading="Share of the selected pseudo-labels that are right, and their number on hover.",
        table="audit",
    )


def _selected_mark(line: AuditLine) -> CurveMark:
    return CurveMark(
        filters=_of_line(line),
        panel=f"{line.model} {line.method}: {line.task}, {line.level}",
        curve=f"{line.condition} round {line.ssrm_round}",
        x=line.threshold or 0.0,
        x_label=f"{line.threshold:g}",
        y=100.0 * (line.means["selected_accuracy"] or 0.0),
        said=_selected_said(line),
    )


def _selected_said(line: AuditLine) -> str:
    return f"{percent(line.means['selected_accuracy'])} % of {line.means['num_selected']:.0f}"


def _of_line(line: AuditLine) -> Filters:
    level = None if line.level == ALL_LEVELS else line.level
    return Filters(model=line.model, method=method_of(line.method), task=line.task, level=level)


def _table_chart(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    labels: Mapping[str, str],
    x: tuple[str, str],
    curve: Callable[[Mapping[str, Any]], str],
    *,
    title: str,
    reading: str,
    by_source: bool = False,
) -> Iterator[Chart]:
    """Yields accuracy against a column of a table of the audit; controls select like sources."""
    column, axis = x
    marks = []
    for row in rows:
        if row["role"] != "self-training":
            continue
        method = labels.get(row["recipe"], method_of(row["recipe"]))
        panel = f"{row['model']} {method}: {row['task']}, {row['level']}"
        marks.append(
            CurveMark(
                filters=Filters(
                    model=row["model"],
                    method=method_of(row["recipe"]),
                    task=row["task"],
                    level=row["level"],
                ),
                panel=f"{panel}, {row['source']}" if by_source else panel,
                curve=curve(row),
                x=100.0 * row[column],
                x_label=percent(row[column]),
                y=100.0 * row["accuracy"],
                said=f"{percent(row['accuracy'])} %",
            )
        )
    if not marks:
        return
    last = max(marks, key=lambda mark: mark.x)
    yield curve_chart(
        name,
        marks,
        CurveAxes(
            x=axis,
            y="right %",
            x_limits=(0, 100),
            y_limits=(0, 100),
            has_diagonal=by_source,
            has_markers=by_source,
        ),
        title=title,
        quote=f"{last.panel}, {last.curve}: {last.said} right at {last.x:.0f} {axis}.",
        reading=reading,
        table="audit",
        is_folded=True,
    )


def _detectors(rows: Sequence[DetectorRow]) -> Iterator[Block]:
    if not rows:
        return
    yield Heading(text="Failure detectors")
    yield (
        "Detectors use the selection, never gold labels; a warning is a hint, not a proof. Ranges "
        "over seeds."
    )
    yield make_table(
        "detectors",
        "Failure detectors",
        (
            text_column("model", lambda row: row.model),
            text_column("source", lambda row: row.source),
            text_column("detector", lambda row: row.name),
            text_column("lowest", lambda row: number(row.low)),
            text_column("highest", lambda row: number(row.high)),
            PageColumn("warns at", "number", lambda row: row.threshold),
            text_column("seeds that warn", lambda row: f"{row.num_warned} of {row.num_seeds}"),
        ),
        rows,
        lambda row: Filters(model=row.model, method=method_of(row.recipe), task=row.task),
    )
