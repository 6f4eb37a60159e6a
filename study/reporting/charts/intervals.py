"""Forest plots: an estimate with its interval on each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from study.analysis.surface_rows import Scalar
from study.reporting.charts.chart import Chart, ChartRow, Spec, reference, tooltip
from study.reporting.charts.filters import Filters
from study.reporting.style import INK, MUTED

Kind = Literal["estimate", "imprecise", "control", "pooled", "none"]
"""How a line is drawn; `none` has no number."""

LINES_PER_PAGE = 40

_COLOURS: Mapping[Kind, str] = {
    "estimate": INK,
    "imprecise": MUTED,
    "control": MUTED,
    "pooled": "#000000",
    "none": MUTED,
}
_SHAPES: Mapping[Kind, str] = {
    "estimate": "circle",
    "imprecise": "triangle-down",
    "control": "square",
    "pooled": "diamond",
    "none": "cross",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class IntervalLine:
    """One line of a forest plot, in the unit of its axis."""

    filters: Filters
    label: str
    panel: str = ""
    estimate: float | None
    low: float | None
    high: float | None
    said: str
    """The numbers as a reader sees them, or why there are none."""
    kind: Kind = "estimate"
    more: Mapping[str, Scalar] = field(default_factory=dict)
    """Further columns of the hover text: title -> value."""


def interval_chart(
    name: str,
    lines: Sequence[IntervalLine],
    *,
    title: str,
    quote: str,
    reading: str,
    table: str,
    axis: str,
    references: Sequence[float] = (),
    limits: tuple[float, float] | None = None,
) -> Chart:
    """Returns a forest plot.

    Args:
        name: File name of exports.
        lines: Lines in the order from the top; those of one panel form one plot.
        title: Title of the figure.
        quote: What it shows.
        reading: How to read it.
        table: Name of the table with its rows.
        axis: Title of the horizontal axis.
        references: Where dashed lines are drawn.
        limits: Ends of the axis; intervals are cut there. None: those of the intervals.
    """
    has_panels = len({line.panel for line in lines}) > 1
    return Chart(
        name=name,
        title=title,
        quote=quote,
        reading=reading,
        table=table,
        rows=[ChartRow(filters=line.filters, values=_values(line)) for line in lines],
        spec={"height": {"step": 19}, "layer": list(_layers(lines, axis, references, limits))},
        panel_width=280,
        page_by="panel" if has_panels else "label",
        page_size=8 if has_panels else LINES_PER_PAGE,
    )


def _values(line: IntervalLine) -> dict[str, Scalar]:
    has_ends = line.low is not None and line.high is not None
    return {
        "panel": line.panel,
        "label": line.label,
        "estimate": line.estimate,
        "low": line.low if has_ends else None,
        "high": line.high if has_ends else None,
        "said": line.said,
        "kind": line.kind if line.estimate is not None else "none",
        **line.more,
    }


def _layers(
    lines: Sequence[IntervalLine],
    axis: str,
    references: Sequence[float],
    limits: tuple[float, float] | None,
) -> list[Spec]:
    more = dict.fromkeys(title for line in lines for title in line.more)
    hover = tooltip(label="", said="estimate", **{title: title for title in more})
    scale: dict[str, object] = {"zero": False, "nice": True}
    if limits is not None:
        scale = {"domain": list(limits), "clamp": True, "nice": False}
    x: dict[str, object] = {
        "field": "estimate",
        "type": "quantitative",
        "title": axis,
        "scale": scale,
    }
    x |= {"axis": {"tickCount": 7}}
    y = {"field": "label", "type": "nominal", "title": None, "sort": None}
    kinds = list(_COLOURS)
    color = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": kinds, "range": list(_COLOURS.values())},
        "legend": None,
    }
    shape = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": kinds, "range": list(_SHAPES.values())},
        "legend": None,
    }
    return [
        *([reference("x", *references, scale=scale)] if references else []),
        {
            "transform": [{"filter": "isValid(datum.low)"}],
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {
                "x": {**x, "field": "low"},
                "x2": {"field": "high"},
                "y": y,
                "color": color,
                "tooltip": hover,
            },
        },
        {
            "transform": [{"filter": "isValid(datum.estimate)"}],
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {"x": x, "y": y, "color": color, "shape": shape, "tooltip": hover},
        },
        {
            "transform": [{"filter": "!isValid(datum.estimate)"}],
            "mark": {"type": "text", "align": "left", "fontStyle": "italic", "limit": 260},
            "encoding": {
                "x": {"value": 4},
                "y": y,
                "text": {"field": "said"},
                "color": {"value": MUTED},
                "tooltip": hover,
            },
        },
    ]
