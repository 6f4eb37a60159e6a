"""Surfaces as Plotly figures: plain mappings, for W&B.

Tiles are bars of unit height, because Plotly can hatch only bars: unresolved points have a pattern
and a label, and so are recognisable without colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import wrap
from typing import Any

from matplotlib import colormaps

from study.analysis.surface_rows import SurfaceRow
from study.reporting.surface_views.places import AXES
from study.reporting.surface_views.scale import SHARE_COLOURS, SHARE_RANGE, SHARE_STOPS
from study.reporting.surface_views.tiles import (
    LOOKS,
    MAX_LABELLED_TILES,
    NUMBERED,
    Status,
    draw_key,
    hover_lines,
    ink_on,
    is_share,
    shown_status,
    tile_text,
)
from study.reporting.surface_views.views import VALUES, SurfacePanel, Tile, View

DIFFERENCE_SCALE = "PuOr"
"""A scale for colour-blind readers."""

_PATTERN = {"fgcolor": "#8c8c8c", "size": 9, "solidity": 0.15}

Figure = dict[str, Any]


def panel_figure(rows: Sequence[SurfaceRow], view: View, panel: SurfacePanel) -> Figure:
    """Returns one panel of a view as a Plotly figure.

    Args:
        rows: The surface's rows.
        view: The view that the panel is of.
        panel: The panel.
    """
    groups: dict[Status, list[Tile]] = {}
    for tile in panel.tiles:
        groups.setdefault(shown_status(rows[tile.row], view.value), []).append(tile)
    order = sorted(groups, key=list(Status).index)
    traces = [_trace(rows, view, groups[kind], kind, len(panel.tiles)) for kind in order]
    return {"data": traces, "layout": _layout(rows, view, panel)}


def _trace(
    rows: Sequence[SurfaceRow],
    view: View,
    tiles: Sequence[Tile],
    kind: Status,
    num_tiles: int,
) -> Figure:
    pattern, fill = LOOKS.get(kind, ("", ""))
    trace: Figure = {
        "type": "bar",
        "name": kind.value,
        "x": [tile.x for tile in tiles],
        "base": [tile.y - 0.48 for tile in tiles],
        "y": [0.96] * len(tiles),
        "width": [0.96] * len(tiles),
        "customdata": [tile.row for tile in tiles],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "hovertext": [_hover(rows[tile.row]) for tile in tiles],
        "showlegend": kind not in NUMBERED,
        "marker": {
            "line": {"color": "#333333", "width": 1},
            "pattern": _PATTERN | {"shape": pattern},
        },
    }
    if num_tiles <= MAX_LABELLED_TILES:
        trace |= {
            "text": [tile_text(rows[tile.row], view.value).replace("\n", "<br>") for tile in tiles],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
        }
    if kind in NUMBERED:
        trace["marker"] |= _coloured(rows, view, tiles)
    else:
        trace["marker"]["color"] = fill
    ink = _inks(trace["marker"]) if kind in NUMBERED else "#000000"
    return trace | {"textfont": {"size": 13, "color": ink}}


def _hover(row: SurfaceRow) -> str:
    """Everything known about a point as HTML lines."""
    return "<br>".join(part for line in hover_lines(row) for part in wrap(escape(line), width=60))


def _coloured(rows: Sequence[SurfaceRow], view: View, tiles: Sequence[Tile]) -> Figure:
    values = [getattr(rows[tile.row], view.value).estimate for tile in tiles]
    if is_share(view.value):
        return {
            "color": values,
            "colorscale": SHARE_STOPS,
            "cmin": SHARE_RANGE[0],
            "cmax": SHARE_RANGE[1],
            "colorbar": {"title": {"text": VALUES[view.value]}, "thickness": 14},
        }
    points = [100.0 * value for value in values]
    limit = max(abs(value) for value in points) or 1.0
    return {
        "color": points,
        "colorscale": DIFFERENCE_SCALE,
        "cmin": -limit,
        "cmax": limit,
        "colorbar": {"title": {"text": "points"}, "thickness": 14},
    }


def _inks(marker: Figure) -> list[str]:
    """The text's colour on each tile; matplotlib knows the same colour scales."""
    has_shares = marker["colorscale"] is SHARE_STOPS
    scale = SHARE_COLOURS if has_shares else colormaps[DIFFERENCE_SCALE]
    low, high = marker["cmin"], marker["cmax"]
    return [ink_on(scale((value - low) / (high - low))) for value in marker["color"]]


def _layout(rows: Sequence[SurfaceRow], view: View, panel: SurfacePanel) -> Figure:
    def axis(name: str, labels: Sequence[str]) -> Figure:
        return {
            "title": {"text": AXES[name], "standoff": 8},
            "tickvals": list(range(len(labels))),
            "ticktext": list(labels),
            "range": [-0.55, len(labels) - 0.45],
            "zeroline": False,
            "showgrid": False,
            "automargin": True,
        }

    title = f"{VALUES[view.value]}: {panel.label}" if panel.label else VALUES[view.value]
    key = draw_key(rows[tile.row] for tile in panel.tiles)
    title = f"{title} ({key})" if key else title
    return {
        "title": {"text": title, "x": 0, "xref": "paper", "font": {"size": 15}},
        "barmode": "overlay",
        "bargap": 0,
        "plot_bgcolor": "#ffffff",
        "paper_bgcolor": "#ffffff",
        "font": {"family": "system-ui, sans-serif", "color": "#111111"},
        "height": 170 + 34 * max(len(panel.y_labels), 3),
        "margin": {"l": 20, "r": 20, "t": 50, "b": 40},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1.0},
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": {"color": "#111111"}},
        "xaxis": axis(view.x, panel.x_labels),
        "yaxis": axis(view.y, panel.y_labels),
    }
