"""Curves: accuracy over difficulty and over the labels, and training losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from study.analysis.accuracy_curves import CurvePanel, CurvePoint, condition_order
from study.analysis.label_curves import AXES as LABEL_AXES
from study.analysis.label_curves import LabelCurves
from study.analysis.surface import Surface
from study.formatting import percent
from study.reporting.charts.chart import Chart, ChartRow
from study.reporting.charts.curves import CurveAxes, curve_chart, panel_marks
from study.reporting.charts.filters import Filters
from study.reporting.content import MAX_CURVE_PANELS, Content
from study.reporting.sections.section import Block, Section
from study.reporting.sentences import crossing_text
from study.reporting.tables import make_table, text_column

NAMED_RIVALS = 2
"""Conditions that a sentence names besides the highest one."""

NAMES: Mapping[str, str] = {
    "noise_rate": "Noise curves",
    "num_labels": "Learning curves",
    "label_cost": "Cost curves",
}
FACTOR_TITLES: Mapping[str, str] = {
    "threshold": "confidence threshold",
    "ssrm_round": "self-training round",
}


def curves_section(surface: Surface, content: Content) -> Section:
    """Returns all curves of the study."""
    conditions = list(condition_order(surface))
    return Section(
        name="curves",
        title="Accuracy curves",
        label="Curves",
        blocks=[
            *_difficulty(content.difficulty, conditions),
            *_labels(content.label_curves, conditions, surface.level),
            *_losses(content.losses, conditions),
        ],
    )


def _difficulty(panels: Sequence[CurvePanel], conditions: Sequence[str]) -> Iterator[Block]:
    if not panels:
        yield "No condition has finished yet."
        return
    measures = dict.fromkeys(panel.x_title for panel in panels)
    yield curve_chart(
        "accuracy",
        panel_marks(panels),
        CurveAxes(
            x=next(iter(measures)) if len(measures) == 1 else "difficulty",
            y="accuracy %",
            is_ordinal=True,
        ),
        title="Accuracy by difficulty",
        quote=difficulty_quote(panels),
        reading=(
            "Accuracy of each condition by difficulty of the test items, a panel per model and "
            "method; bands are intervals."
            + (f" At most {MAX_CURVE_PANELS} panels." if len(panels) == MAX_CURVE_PANELS else "")
        ),
        table="points",
        curves=conditions,
    )


def difficulty_quote(panels: Sequence[CurvePanel]) -> str:
    """Returns the condition that is best on the hardest items, if its interval sets it apart."""
    panel = panels[0]
    ends = {c.name: (c.points[0], c.points[-1]) for c in panel.curves if c.points}
    best = max(ends, key=lambda name: ends[name][1].mean)
    first, last = ends[best]
    where = f"On the hardest items ({panel.x_title} {last.label}), {panel.column} ({panel.row})"
    known = f"{percent(last.mean)} % {_ends(last)}"
    rivals = [
        f"{name} {percent(point.mean)} % {_ends(point)}"
        for name, (_, point) in ends.items()
        if name != best and not _is_below(point, last)
    ]
    if rivals:
        others = "; ".join([known, *rivals[:NAMED_RIVALS]])
        more = f" and {len(rivals) - NAMED_RIVALS} more" * (len(rivals) > NAMED_RIVALS)
        return f"{where} has no condition that is clearly best: {best} {others}{more}."
    zero = ends.get("zero-shot")
    text = f"{where} is best after {best}: {known}"
    if zero is not None and best != "zero-shot":
        text += f", zero-shot {percent(zero[1].mean)} %"
    return f"{text}; on the easiest, {best} reaches {percent(first.mean)} %."


def _is_below(point: CurvePoint, other: CurvePoint) -> bool:
    """Returns whether the interval of a point ends below that of another one."""
    return point.high is not None and other.low is not None and point.high < other.low


def _ends(point: CurvePoint) -> str:
    return f"[{percent(point.low)}, {percent(point.high)}]"


def _labels(
    curves: Sequence[LabelCurves], conditions: Sequence[str], level: float
) -> Iterator[Block]:
    if not curves:
        return
    for axis, title in LABEL_AXES.items():
        entries = [entry for entry in curves if entry.axis == axis]
        if entries:
            yield _label_chart(axis, title, entries, conditions)
    yield (
        "Sources of one level form one curve, and the hard arm is a point on the curve of hard "
        "labels. Curves are interpolated linearly between measured points (numbers and costs on a "
        "log scale) and never extrapolated. The interval of a crossing has every position at which "
        "the two curves do not differ significantly."
    )
    yield make_table(
        "crossings",
        "Where the curves of easy and hard labels cross",
        (
            text_column("model", lambda entry: entry.panel.column),
            text_column("curves", lambda entry: entry.panel.row),
            text_column("against", lambda entry: entry.panel.x_title),
            text_column(f"crossing with its {100 * level:g} % interval", crossing_text),
        ),
        curves,
        lambda entry: _of_panel(entry.panel),
    )


def _of_panel(panel: CurvePanel) -> Filters:
    return Filters(model=panel.model, method=panel.method, task=panel.task, level=panel.level)


def _label_chart(
    axis: str, title: str, entries: Sequence[LabelCurves], conditions: Sequence[str]
) -> Chart:
    panels = [entry.panel for entry in entries]
    shown = next((e for e in entries if e.panel.crossing is not None), entries[0])
    return curve_chart(
        f"curves-{axis.replace('_', '-')}",
        panel_marks(panels),
        CurveAxes(x=title, y="accuracy %", is_log=panels[0].is_log),
        title=NAMES[axis],
        quote=f"{shown.panel.column}, {shown.panel.row}, over {title}: {crossing_text(shown)}.",
        reading=(
            f"Accuracy against {title}, a curve per level of labels, with intervals. The dotted "
            "line marks where the curves of easy and hard labels cross, the grey band its "
            "interval; a panel without a line shows no crossing."
        ),
        table="crossings",
        curves=conditions,
        crossings=[row for entry in entries for row in _crossing_rows(entry)],
    )


def _crossing_rows(entry: LabelCurves) -> Iterator[ChartRow]:
    panel, crossing = entry.panel, entry.panel.crossing
    if crossing is None or crossing.estimate is None:
        return
    yield ChartRow(
        filters=_of_panel(panel),
        values={
            "panel": f"{panel.column}: {panel.row}",
            "at": crossing.estimate,
            "from": crossing.start if crossing.low is None else crossing.low,
            "to": crossing.stop if crossing.high is None else crossing.high,
            "said": crossing_text(entry),
        },
    )


def _losses(panels: Sequence[CurvePanel], conditions: Sequence[str]) -> Iterator[Block]:
    if not panels:
        return
    yield curve_chart(
        "loss",
        panel_marks(panels, is_share=False),
        CurveAxes(x="optimizer step", y="loss", has_markers=False),
        title="Training loss",
        quote=loss_quote(panels),
        reading="Training loss against optimizer steps, averaged over seeds.",
        table="cell-rows",
        curves=conditions,
        is_folded=True,
    )


def loss_quote(panels: Sequence[CurvePanel]) -> str:
    """Returns the first and the last loss of the first curve."""
    curve = panels[0].curves[0]
    first, last = curve.points[0], curve.points[-1]
    return (
        f"{panels[0].column}, {panels[0].row}: the loss of {curve.name} goes from {first.mean:.2f} "
        f"to {last.mean:.2f} within {last.label} steps."
    )
