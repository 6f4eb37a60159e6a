"""Surfaces as matplotlib figures: a tile per point, hatched and labelled if it has no number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from search_spaces.explain import count
from study.analysis.surface_rows import SurfaceRow
from study.reporting.figures.drawing import LETTER, MAX_PANELS, Drawing, finish
from study.reporting.style import FIGURE_STYLE
from study.reporting.surface_views.places import AXES
from study.reporting.surface_views.scale import SHARE_RANGE, share_colours
from study.reporting.surface_views.tiles import (
    LOOKS,
    MAX_LABELLED_TILES,
    draw_key,
    ink_on,
    is_share,
    shown_status,
    tile_text,
)
from study.reporting.surface_views.views import VALUES, SurfacePanel, View

MAX_TILES = 600
"""Tiles per figure; the page and surface.parquet have all points."""

MAX_WIDTH = 16.0
"""Width of a figure with several columns, inches; wider ones are unreadable on a page."""


def draw_view(name: str, rows: Sequence[SurfaceRow], view: View) -> Drawing:
    """Draws a surface: a tile per point, unresolved ones hatched; at most `MAX_PANELS` panels."""
    panels = _drawable(view.panels)
    # Sizes in inches; the labels need space in addition to the tiles.
    letters = max(len(label) for panel in panels for label in panel.y_labels)
    height = max(len(panel.y_labels) for panel in panels) * 0.3 + 1.2
    width = max(0.8 + 0.95 * len(panel.x_labels) for panel in panels) + LETTER * letters
    num_columns = max(min(len(panels), 3, int(MAX_WIDTH / width)), 1)
    num_rows = math.ceil(len(panels) / num_columns)
    with mpl.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(num_columns * width + 1.2, num_rows * height + 0.7))
        axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
        norm = _norm(
            [getattr(rows[t.row], view.value).estimate for p in panels for t in p.tiles], view
        )
        for place, panel in zip(axes, panels, strict=False):
            _draw_panel(place, rows, view, panel, norm)
        for place in axes[len(panels) :]:
            place.set_visible(False)
        key = draw_key(rows[tile.row] for panel in panels for tile in panel.tiles)
        figure.suptitle("\n".join(filter(None, (view.title, key))), fontweight="bold")
        figure.colorbar(
            ScalarMappable(norm, _scale(view)),
            ax=axes.tolist(),
            label=VALUES[view.value],
            aspect=40,
            format=_tick(view),
        )
        figure.legend(
            handles=_legend(rows, view, panels), loc="outside lower center", ncols=3, frameon=False
        )
        return finish(figure, name, _describe_view(rows, view, panels))


def _drawable(panels: Sequence[SurfacePanel]) -> Sequence[SurfacePanel]:
    """Returns the first panels that fit on one figure, at least one."""
    count = 0
    for number, panel in enumerate(panels[:MAX_PANELS]):
        count += len(panel.tiles)
        if count > MAX_TILES and number:
            return panels[:number]
    return panels[:MAX_PANELS]


def _draw_panel(
    place: Axes, rows: Sequence[SurfaceRow], view: View, panel: SurfacePanel, norm: Normalize
) -> None:
    scale = _scale(view)
    for tile in panel.tiles:
        row = rows[tile.row]
        estimate = getattr(row, view.value).estimate
        pattern, fill = LOOKS.get(shown_status(row, view.value), ("", "#ffffff"))
        look: dict[str, Any] = {"hatch": 4 * pattern, "facecolor": fill}
        ink = "#111111"
        if estimate is not None:
            colour = scale(norm(estimate))
            look = {"facecolor": colour}
            ink = ink_on(colour)
        corner = (tile.x - 0.47, tile.y - 0.47)
        place.add_patch(Rectangle(corner, 0.94, 0.94, edgecolor="#444444", linewidth=0.6, **look))
        box = None if estimate is not None else {"facecolor": fill, "edgecolor": "none", "pad": 1.2}
        text = tile_text(row, view.value)
        if len(panel.tiles) <= MAX_LABELLED_TILES:
            place.text(
                tile.x, tile.y, text, ha="center", va="center", fontsize=8, color=ink, bbox=box
            )
    place.set(xlim=(-0.55, len(panel.x_labels) - 0.45), ylim=(-0.55, len(panel.y_labels) - 0.45))
    x_labels = [label.replace(" (", "\n(") for label in panel.x_labels]
    place.set_xticks(range(len(x_labels)), x_labels)
    place.set_yticks(range(len(panel.y_labels)), panel.y_labels)
    place.tick_params(length=0)
    place.set(xlabel=AXES[view.x], ylabel=AXES[view.y])
    place.set_title(panel.label or VALUES[view.value], loc="left", fontweight="bold")


def _legend(rows: Sequence[SurfaceRow], view: View, panels: Sequence[SurfacePanel]) -> list[Patch]:
    present = {shown_status(rows[tile.row], view.value) for panel in panels for tile in panel.tiles}
    return [
        Patch(facecolor=fill, hatch=4 * pattern, edgecolor="#444444", label=kind.value)
        for kind, (pattern, fill) in LOOKS.items()
        if kind in present
    ]


def _tick(view: View) -> Callable[[float, float], str]:
    """Returns the labels of the colour bar: shares as fractions, differences in points."""
    if is_share(view.value):
        return lambda value, _: f"{value:.1f}"
    return lambda value, _: f"{100 * value:+.0f}"


def _scale(view: View) -> Colormap:
    return share_colours() if is_share(view.value) else mpl.colormaps["PuOr"]


def _norm(values: Iterable[float | None], view: View) -> Normalize:
    if is_share(view.value):
        return Normalize(*SHARE_RANGE, clip=True)
    limit = max((abs(value) for value in values if value is not None), default=1.0) or 1.0
    return TwoSlopeNorm(vmin=-limit, vcenter=0.0, vmax=limit)


def _describe_view(rows: Sequence[SurfaceRow], view: View, panels: Sequence[SurfacePanel]) -> str:
    tiles = [tile.row for panel in panels for tile in panel.tiles]
    numbers = [getattr(rows[i], view.value).estimate for i in tiles]
    known = [value for value in numbers if value is not None]
    shown = f"{len(panels)} of {count(len(view.panels), 'panel')}"
    text = f"{view.title}: {count(len(tiles), 'point')} in {shown}"
    if known:
        text += f"; {len(known)} have a number, from {min(known):.2f} to {max(known):.2f}"
    return f"{text}. Unresolved points are hatched. The table of points has every number."
