"""Calibration: expected calibration error with its interval, and reliability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from study.analysis.accuracy_curves import condition_order
from study.analysis.calibration import MAX_ROWS, CalibrationRow
from study.analysis.surface import Surface
from study.formatting import percent
from study.reporting.charts.curves import CurveAxes, CurveMark, curve_chart
from study.reporting.charts.filters import Filters, method_of
from study.reporting.charts.intervals import IntervalLine, interval_chart
from study.reporting.content import Content
from study.reporting.sections.section import Block, Section
from study.reporting.tables import calibration_page, reliability_page

TABLE, BINS_TABLE = "calibration-rows", "reliability-rows"


def calibration_section(surface: Surface, content: Content) -> Section:
    """Returns the calibration of every arm."""
    rows = content.calibration
    blocks: list[Block] = ["No cell with a confidence has finished yet."]
    if rows:
        overall = [row for row in rows if row.test_level is None]
        blocks = [
            "Is a model that is 70 % sure right 70 % of the time? ECE: mean |accuracy - "
            "confidence| over 10 bins of equal width; its interval includes 0 exactly if perfect "
            "calibration is not rejected. Brier score: squared distance of the probabilities from "
            "the truth, summed over the choices (0 to 2). Selective area: mean accuracy over all "
            f"coverages, most confident answers first. Intervals of {100 * surface.level:g} % "
            "over items and seeds.",
            *([f"Computed for the first {MAX_ROWS} arms and levels."] * (len(rows) == MAX_ROWS)),
            *_charts(overall, list(condition_order(surface))),
            calibration_page(rows),
            reliability_page(overall),
        ]
    return Section(name="calibration", title="Calibration", label="Calibration", blocks=blocks)


def _charts(rows: Sequence[CalibrationRow], conditions: Sequence[str]) -> Iterator[Block]:
    yield interval_chart(
        "calibration-error",
        [_ece_line(row) for row in rows],
        title="Expected calibration error on all test items",
        quote=ece_quote(rows),
        reading="ECE with its interval, %; 0 is perfect calibration.",
        table=TABLE,
        axis="ECE %",
        references=(0.0,),
    )
    yield curve_chart(
        "calibration",
        [mark for row in rows for mark in _bins(row)],
        CurveAxes(
            x="confidence %",
            y="right %",
            x_limits=(0, 100),
            y_limits=(0, 100),
            has_diagonal=True,
        ),
        title="Reliability on all test items",
        quote=confidence_quote(rows),
        reading=(
            "Accuracy of the answers against their confidence, in 10 bins of equal width, with the "
            "interval of each; on the diagonal both agree."
        ),
        table=BINS_TABLE,
        curves=conditions,
    )


def _ece_line(row: CalibrationRow) -> IntervalLine:
    ece = row.ece
    return IntervalLine(
        filters=_of_row(row),
        panel=_panel(row),
        label=row.condition,
        estimate=_percent(ece.estimate),
        low=_percent(ece.low),
        high=_percent(ece.high),
        said=_said(row),
        more={
            "right %": percent(row.accuracy),
            "confidence %": percent(row.confidence),
            "items": row.num_items,
        },
    )


def _of_row(row: CalibrationRow) -> Filters:
    return Filters(model=row.model, method=method_of(row.method), task=row.task)


def _panel(row: CalibrationRow) -> str:
    return f"{row.model} {row.method}: {row.task}"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value


def _said(row: CalibrationRow) -> str:
    ece = row.ece
    if ece.low is None or ece.high is None:
        return f"{percent(ece.estimate)} %"
    return f"{percent(ece.estimate)} % [{percent(ece.low)}, {percent(ece.high)}]"


def ece_quote(rows: Sequence[CalibrationRow]) -> str:
    """Returns the best and the worst calibrated arm."""
    ordered = sorted(rows, key=lambda row: row.ece.estimate)
    best, worst = ordered[0], ordered[-1]
    return (
        f"ECE is lowest for {_panel(best)} after {best.condition}: {_said(best)}; highest for "
        f"{_panel(worst)} after {worst.condition}: {_said(worst)}."
    )


def confidence_quote(rows: Sequence[CalibrationRow]) -> str:
    """Returns the arm whose confidence exceeds its accuracy most."""
    worst = max(rows, key=lambda row: row.confidence - row.accuracy)
    return (
        f"Most overconfident: {_panel(worst)} after {worst.condition}, {percent(worst.confidence)} "
        f"% sure and {percent(worst.accuracy)} % right."
    )


def _bins(row: CalibrationRow) -> Iterator[CurveMark]:
    for bin_ in row.bins:
        yield CurveMark(
            filters=_of_row(row),
            panel=_panel(row),
            curve=row.condition,
            x=100.0 * bin_.confidence,
            x_label=percent(bin_.confidence),
            y=100.0 * bin_.accuracy,
            low=100.0 * bin_.low,
            high=100.0 * bin_.high,
            said=f"{percent(bin_.accuracy)} % [{percent(bin_.low)}, {percent(bin_.high)}]",
            more={"answers": bin_.count},
        )
