"""Heat maps: a tile per point over any two axes, with its number or the reason why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from study.analysis.surface_rows import Scalar, SurfaceRow
from study.formatting import points_span, span
from study.reporting.charts.chart import Chart, ChartRow, Spec
from study.reporting.charts.filters import of_point
from study.reporting.style import MUTED
from study.reporting.surface_views.places import AXES
from study.reporting.surface_views.scale import STOPS
from study.reporting.surface_views.tiles import (
    is_share,
    tile_number,
)
from study.reporting.surface_views.views import VALUES, SurfacePanel, Tile, View

WIDE, NARROW = 72, 46
"""Width of a tile with its interval, and without it, pixels."""

MAX_WIDE_COLUMNS = 8
"""With more columns, tiles show no interval."""

_TWO_LINES = "split(replace(datum.label, ' (', '\\n('), '\\n')"
"""A model's name above its size: side by side they are wider than a tile, and would be left out."""

MISSING_FILL, MISSING_INK = "#dedede", "#333333"
_CUT = "datum.estimate < -0.2 || (datum.estimate > 0.55 && datum.estimate <= 1)"
"""Tiles dark enough for white text, by the scale of shares."""


def tile_chart(
    name: str,
    rows: Sequence[SurfaceRow],
    view: View,
    *,
    quote: str,
    table: str,
    title: str = "",
    is_folded: bool = False,
) -> Chart:
    """Returns a view of the surface as a heat map.

    Args:
        name: File name of exports.
        rows: The surface's rows.
        view: The axes and the value.
        quote: What it shows.
        table: Name of the table with its rows.
        title: Title; empty: that of the view.
        is_folded: Whether the reader unfolds it.
    """
    num_columns = max(len(panel.x_labels) for panel in view.panels)
    is_wide = num_columns <= MAX_WIDE_COLUMNS
    step = WIDE if is_wide else NARROW
    return Chart(
        name=name,
        title=title or view.title,
        quote=quote,
        reading=(
            f"{view.title}, a tile per point. A tile has a number only if the gap "
            "hard - zero-shot is resolved; otherwise a word on grey gives the reason. Shares: "
            "orange below 0, blue from 0 to 1, green above 1."
            if is_share(view.value)
            else f"{view.title}, a tile per point, in points."
        ),
        table=table,
        rows=[
            ChartRow(
                filters=of_point(rows[tile.row]),
                values=_values(rows[tile.row], view, panel, tile, is_wide=is_wide),
            )
            for panel in view.panels
            for tile in panel.tiles
        ],
        spec={
            "width": {"step": step},
            "height": {"step": 36 if is_wide else 26},
            "layer": _layers(view, is_wide=is_wide),
        },
        panel_width=step * num_columns,
        is_folded=is_folded,
    )


def _values(
    row: SurfaceRow, view: View, panel: SurfacePanel, tile: Tile, *, is_wide: bool
) -> dict[str, Scalar]:
    value = getattr(row, view.value)
    scale = 1.0 if is_share(view.value) else 100.0
    text = tile_number(row, view.value)
    if is_wide and value.low is not None and value.high is not None:
        share = is_share(view.value)
        text += "\n" + (span if share else points_span)(value.low, value.high)
    return {
        "panel": panel.label,
        "x": panel.x_labels[tile.x],
        "y": panel.y_labels[tile.y],
        "estimate": None if value.estimate is None else scale * value.estimate,
        "text": text,
        "point": tile.row,
    }


def _layers(view: View, *, is_wide: bool) -> list[Spec]:
    x_labels = dict.fromkeys(label for panel in view.panels for label in panel.x_labels)
    y_labels = dict.fromkeys(label for panel in view.panels for label in panel.y_labels)
    x: dict[str, Any] = {"field": "x", "type": "nominal", "title": AXES[view.x]}
    x_axis: dict[str, Any] = {"labelAngle": 0 if is_wide else -45, "domain": False, "ticks": False}
    if is_wide:
        x_axis["labelExpr"] = _TWO_LINES
    x |= {"sort": list(x_labels), "axis": x_axis}
    y: dict[str, Any] = {"field": "y", "type": "nominal", "title": AXES[view.y]}
    y |= {"sort": list(y_labels), "axis": {"domain": False, "ticks": False}}
    scale: dict[str, Any]
    if is_share(view.value):
        domain, colours = zip(*STOPS, strict=True)
        scale = {"domain": list(domain), "range": list(colours), "clamp": True}
        white = _CUT
    else:
        scale = {"scheme": "blueorange", "domainMid": 0, "reverse": True}
        white = "false"
    tile = {
        "type": "rect",
        "stroke": MUTED,
        "strokeWidth": 0.5,
        "tooltip": {"content": "data"},
    }
    return [
        {
            "transform": [{"filter": "!isValid(datum.estimate)"}],
            "mark": {**tile, "fill": MISSING_FILL},
            "encoding": {"x": x, "y": y},
        },
        {
            "transform": [{"filter": "isValid(datum.estimate)"}],
            "mark": tile,
            "encoding": {
                "x": x,
                "y": y,
                "fill": {
                    "field": "estimate",
                    "type": "quantitative",
                    "scale": scale,
                    "legend": {
                        "title": VALUES[view.value],
                        "orient": "bottom",
                        "direction": "horizontal",
                        "gradientLength": 220,
                    },
                },
            },
        },
        {
            "mark": {
                "type": "text",
                "fontSize": 10.5,
                "lineBreak": "\n",
                "lineHeight": 13,
                "baseline": "middle",
                "dy": {"expr": "indexof(datum.text, '\\n') < 0 ? 0 : -6.5"},
                "tooltip": None,
            },
            "encoding": {
                "x": x,
                "y": y,
                "text": {"field": "text"},
                "color": {
                    "condition": [
                        {"test": "!isValid(datum.estimate)", "value": MISSING_INK},
                        {"test": white, "value": "#ffffff"},
                    ],
                    "value": "#000000",
                },
            },
        },
    ]
