"""All figures of a report, for papers: what the page shows, drawn by Matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from study.analysis.accuracy_curves import CurvePanel, condition_order, factor_panels
from study.analysis.calibration import CalibrationRow
from study.analysis.label_curves import AXES as LABEL_AXES
from study.analysis.label_curves import LabelCurves
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import Interval, SurfaceRow, recipe_text
from study.artifacts.plan import Plan
from study.reporting.content import Content
from study.reporting.figures.audit import draw_confidence, draw_reliability, draw_selective
from study.reporting.figures.drawing import (
    MAX_PANELS,
    Drawing,
    capped,
    draw_calibration,
    draw_curves,
    filled,
)
from study.reporting.figures.forest import draw_forest
from study.reporting.figures.gains import draw_gains
from study.reporting.figures.sensitivity import draw_search
from study.reporting.figures.thresholds import draw_thresholds
from study.reporting.findings import gain_rows
from study.reporting.self_training import SelfTrainingSection, selected_line
from study.reporting.surface_views.drawing import draw_view
from study.reporting.surface_views.levels import draw_levels

ACCURACY_ALT = (
    "Accuracy against difficulty, one panel per model and method, one curve per condition, with "
    "intervals. The table of points has the same accuracies for every test level."
)
FACTOR_ALT = "Accuracy against the options of self-training, one curve per condition."
LABEL_ALT = (
    "Accuracy against {axis}, one curve per level of labels, with intervals. The dotted line marks "
    "where the curves of {easy} and {hard} labels cross, and the grey band its interval; a panel "
    "without a line shows no crossing."
)
LOSS_ALT = "Training loss against optimizer steps, averaged over seeds, one curve per condition."


def draw_figures(plan: Plan, surface: Surface, content: Content) -> tuple[Drawing, ...]:
    """Draws every figure that the study has."""
    drawings = [
        *_draw_surface(surface, content),
        draw_forest(content.pooled, surface.level),
        *curve_figures(surface, content),
        *_draw_reliability(content.calibration),
    ]
    if content.self_training is not None:
        drawings += self_training_figures(plan, surface, content.self_training, content.labels)
    drawings += [draw_search(tuned) for tuned in content.searches]
    return tuple(drawing for drawing in drawings if drawing is not None)


def _draw_surface(surface: Surface, content: Content) -> Iterator[Drawing]:
    """Yields accuracy and SGR by level, which stand for the first view, and the other views."""
    pictures: tuple[Drawing, ...] = ()
    if content.is_default_view:
        shown = content.difficulty[:MAX_PANELS]
        pictures = draw_levels(surface.rows, shown)
    yield from pictures
    for i, view in enumerate(content.views):
        if i or not pictures:
            name = "surface" if i == 0 else f"surface-view-{i + 1}"
            yield draw_view(name, surface.rows, view)


def curve_figures(surface: Surface, content: Content) -> Iterator[Drawing]:
    """Yields accuracy over difficulty, labels and options of self-training, and losses."""
    conditions = list(condition_order(surface))
    if content.difficulty:
        yield _draw_accuracy(content.difficulty)
    yield from _draw_label_curves(content.label_curves, conditions)
    yield from _draw_factor_and_loss_curves(surface, content.losses, conditions)


def _draw_accuracy(panels: Sequence[CurvePanel]) -> Drawing:
    what = ACCURACY_ALT + capped(panels, "the table of points has all points")
    return draw_curves("accuracy", panels[:MAX_PANELS], y_title="accuracy %", what=what)


def _draw_reliability(rows: Sequence[CalibrationRow]) -> tuple[Drawing, ...]:
    """Draws the reliability on all test items."""
    overall = [row for row in rows if row.test_level is None]
    return (draw_calibration("calibration", overall),) if overall else ()


def _draw_label_curves(
    label_panels: Sequence[LabelCurves], conditions: Sequence[str]
) -> Iterator[Drawing]:
    """Draws one figure per axis of labels."""
    for axis, title in LABEL_AXES.items():
        curves = [entry for entry in label_panels if entry.axis == axis]
        if curves:
            panels = [entry.panel for entry in curves]
            what = LABEL_ALT.format(axis=title, easy=curves[0].easy, hard=curves[0].hard)
            what += capped(panels, "surface.parquet has all points")
            yield draw_curves(
                f"curves-{axis.replace('_', '-')}",
                panels[:MAX_PANELS],
                y_title="accuracy %",
                what=what,
                conditions=conditions,
            )


def _draw_factor_and_loss_curves(
    surface: Surface, losses: Sequence[CurvePanel], conditions: Sequence[str]
) -> tuple[Drawing, ...]:
    """Draws the curves of self-training and of losses, if the study has any."""
    drawings = []
    factors = factor_panels(surface, max_panels=MAX_PANELS)
    if factors:
        what = FACTOR_ALT + filled(factors, "surface.parquet")
        drawings.append(draw_curves("curves", factors, y_title="accuracy %", what=what))
    if losses:
        what = LOSS_ALT + capped(losses, "each cell's curve.jsonl has its own")
        shown = losses[:MAX_PANELS]
        drawings.append(
            draw_curves(
                "loss",
                shown,
                y_title="loss",
                what=what,
                is_share=False,
                conditions=conditions,
            )
        )
    return tuple(drawings)


def self_training_figures(
    plan: Plan, surface: Surface, found: SelfTrainingSection, labels: Mapping[str, str]
) -> list[Drawing]:
    """Draws thresholds and gains, and the audit of the pseudo-labels."""
    drawings = [
        *_draw_thresholds(plan, surface, found, labels),
        draw_gains(found.rows, labels, surface.level),
        draw_selective(found.audited, labels),
        draw_confidence(found.audited, labels),
        draw_reliability(found.audited, labels),
    ]
    return [drawing for drawing in drawings if drawing is not None]


def _draw_thresholds(
    plan: Plan, surface: Surface, found: SelfTrainingSection, labels: Mapping[str, str]
) -> Sequence[Drawing]:
    reader = ArmReader(surface.items, surface.scores)

    def selected(row: SurfaceRow) -> tuple[float, float] | None:
        line = selected_line(row, labels[recipe_text(row.point.recipe)], found.lines)
        if line is None:
            return None
        number, right = line.means["num_selected"], line.means["selected_accuracy"]
        return None if number is None or right is None else (number, right)

    def start_of(row: SurfaceRow) -> Interval:
        start = row.point.start
        if start is None:
            return Interval()
        return Interval.of(reader.accuracy(start, row.point.place, surface.level))

    return draw_thresholds(gain_rows(plan, surface), selected, start_of)
