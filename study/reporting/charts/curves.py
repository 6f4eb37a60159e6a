"""Line charts: a panel per model and recipe, a curve per condition, intervals as bands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.analysis.accuracy_curves import CurvePanel
from study.analysis.surface_rows import Scalar
from study.formatting import percent
from study.reporting.charts.chart import Chart, ChartRow, Spec, reference, tooltip
from study.reporting.charts.filters import Filters
from study.reporting.style import MUTED, looks_of

MAX_TICKS = 6
"""Values of x up to which each is a tick."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveMark:
    """One point of a curve, in the units of its axes."""

    filters: Filters
    panel: str
    curve: str
    x: float
    x_label: str
    y: float
    low: float | None = None
    high: float | None = None
    said: str
    more: Mapping[str, Scalar] = field(default_factory=dict)
    """Further columns of the hover text: title -> value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveAxes:
    """Axes of a line chart."""

    x: str
    y: str
    """Titles."""
    is_ordinal: bool = False
    """Categories with `x_label`, in the order of x."""
    is_log: bool = False
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    at: Sequence[float] = ()
    """Heights of horizontal reference lines."""
    has_diagonal: bool = False
    has_markers: bool = True
    has_bars: bool = False
    """Of an ordinal axis: curves side by side, with intervals as bars instead of bands."""


def panel_marks(panels: Sequence[CurvePanel], *, is_share: bool = True) -> list[CurveMark]:
    """Returns the points of accuracy curves in %, or of other curves as they are."""
    scale = 100.0 if is_share else 1.0
    return [
        CurveMark(
            filters=Filters(
                model=panel.model, method=panel.method, task=panel.task, level=panel.level
            ),
            panel=f"{panel.column}: {panel.row}",
            curve=curve.name,
            x=point.x,
            x_label=point.label,
            y=scale * point.mean,
            low=None if point.low is None else scale * point.low,
            high=None if point.high is None else scale * point.high,
            said=_said(point.mean, point.low, point.high) if is_share else f"{point.mean:.3f}",
            more={"items": point.num_items} if is_share else {},
        )
        for panel in panels
        for curve in panel.curves
        for point in curve.points
    ]


def _said(mean: float, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" [{percent(low)}, {percent(high)}]"
    return f"{percent(mean)} %{ends}"


def curve_chart(
    name: str,
    marks: Sequence[CurveMark],
    axes: CurveAxes,
    *,
    title: str,
    quote: str,
    reading: str,
    table: str,
    curves: Sequence[str] = (),
    crossings: Sequence[ChartRow] = (),
    is_folded: bool = False,
) -> Chart:
    """Returns a line chart.

    Args:
        name: File name of exports.
        marks: Points of all curves.
        axes: Its axes.
        title: Title of the figure.
        quote: What it shows.
        reading: How to read it.
        table: Name of the table with its rows.
        curves: All curves of the page, so that each has one look in all charts.
        crossings: Places where two curves cross: `panel`, `at`, `from` and `to`.
        is_folded: Whether the reader unfolds it.
    """
    panels = {name: number for number, name in enumerate(dict.fromkeys(m.panel for m in marks))}
    ordered = sorted(marks, key=lambda mark: (panels[mark.panel], mark.x))
    shown = dict.fromkeys(mark.curve for mark in marks)
    known = [*dict.fromkeys([*curves, *shown])]
    return Chart(
        name=name,
        title=title,
        quote=quote,
        reading=reading,
        table=table,
        rows=[
            *(ChartRow(filters=mark.filters, values=_values(mark)) for mark in ordered),
            *crossings,
        ],
        spec={"height": 170, "layer": list(_layers(marks, axes, known, bool(crossings)))},
        panel_width=240,
        is_folded=is_folded,
    )


def _values(mark: CurveMark) -> dict[str, Scalar]:
    return {
        "panel": mark.panel,
        "curve": mark.curve,
        "x": mark.x,
        "x_label": mark.x_label,
        "y": mark.y,
        "low": mark.low if mark.high is not None else None,
        "high": mark.high if mark.low is not None else None,
        "said": mark.said,
        **mark.more,
    }


def _layers(
    marks: Sequence[CurveMark], axes: CurveAxes, curves: Sequence[str], has_crossings: bool
) -> Iterator[Spec]:
    looks = looks_of(curves)
    scale: dict[str, Any] = {"type": "log"} if axes.is_log else {"zero": False, "nice": False}
    scale |= {"padding": 12}
    if axes.x_limits is not None:
        scale = {"domain": list(axes.x_limits)}
    x: dict[str, Any] = {"field": "x", "type": "quantitative", "title": axes.x, "scale": scale}
    places = sorted({mark.x for mark in marks})
    if axes.is_ordinal:
        labels = dict.fromkeys(m.x_label for m in sorted(marks, key=lambda m: m.x))
        x = {"field": "x_label", "type": "ordinal", "title": axes.x, "sort": list(labels)}
        x |= {"axis": {"labelAngle": 0}}
        x |= {
            "scale": {"paddingInner": 0.4} if axes.has_bars else {"type": "point", "padding": 0.5}
        }
    elif len(places) <= MAX_TICKS and axes.x_limits is None:
        x |= {"axis": {"values": places, "grid": False, "format": ".6~g"}}
    else:
        x |= {"axis": {"tickCount": MAX_TICKS, "grid": False}}
    heights: dict[str, Any] = {"zero": False, "nice": True}
    if axes.y_limits is not None:
        heights = {"domain": list(axes.y_limits)}
    y = {"field": "y", "type": "quantitative", "title": axes.y, "scale": heights}

    def by_curve(values: Sequence[Any]) -> Spec:
        legend = {"title": None, "orient": "bottom", "labelLimit": 0, "symbolOpacity": 1}
        return {
            "field": "curve",
            "type": "nominal",
            "scale": {"domain": list(looks), "range": list(values)},
            "legend": legend,
        }

    color = by_curve([look.colour for look in looks.values()])
    dash = by_curve([look.dash for look in looks.values()])
    shape = by_curve([look.shape for look in looks.values()])
    across: dict[str, Any] = {"x": x}
    if axes.has_bars:
        across["xOffset"] = {"field": "curve", "type": "nominal"}
    more = dict.fromkeys(title for mark in marks for title in mark.more)
    hover = tooltip(curve="", x_label=axes.x, said=axes.y, **{title: title for title in more})
    if axes.at:
        yield reference("y", *axes.at, scale=heights)
    if axes.has_diagonal:
        yield {
            "data": {"values": [{"a": 0, "b": 0}, {"a": 100, "b": 100}]},
            "mark": {"type": "line", "strokeDash": [3, 3], "color": MUTED, "strokeWidth": 1},
            "encoding": {
                "x": {"field": "a", "type": "quantitative"},
                "y": {"field": "b", "type": "quantitative"},
            },
        }
    if has_crossings:
        yield {
            "transform": [{"filter": "isValid(datum.from)"}],
            "mark": {"type": "rect", "color": MUTED, "opacity": 0.15},
            "encoding": {"x": {"field": "from", "type": "quantitative"}, "x2": {"field": "to"}},
        }
        yield {
            "transform": [{"filter": "isValid(datum.at)"}],
            "mark": {"type": "rule", "strokeDash": [2, 2], "color": MUTED},
            "encoding": {
                "x": {"field": "at", "type": "quantitative"},
                "tooltip": tooltip(said="crossing"),
            },
        }
    filter_marks = [{"filter": "isValid(datum.y)"}]
    if any(mark.low is not None for mark in marks):
        yield {
            "transform": [{"filter": "isValid(datum.low)"}],
            "mark": {"type": "rule"} if axes.has_bars else {"type": "area", "opacity": 0.13},
            "encoding": {
                **across,
                "y": {**y, "field": "low"},
                "y2": {"field": "high"},
                "color": color,
            },
        }
    yield {
        "transform": filter_marks,
        "mark": {"type": "line", "strokeWidth": 1.6},
        "encoding": {
            **across,
            "y": y,
            "color": color,
            "strokeDash": dash,
            "order": {"field": "x", "type": "quantitative"},
        },
    }
    if axes.has_markers:
        yield {
            "transform": filter_marks,
            "mark": {"type": "point", "filled": True, "size": 40, "opacity": 1},
            "encoding": {**across, "y": y, "color": color, "shape": shape, "tooltip": hover},
        }
    else:
        yield {
            "transform": filter_marks,
            "mark": {"type": "point", "size": 60, "opacity": 0, "filled": True},
            "encoding": {"x": x, "y": y, "tooltip": hover},
        }
