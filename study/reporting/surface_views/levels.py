"""The picture of a study: accuracy by difficulty, and SGR by training and test level.

One picture per method and task, with a column per base model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from search_spaces.explain import count
from study.analysis.accuracy_curves import CurvePanel
from study.analysis.names import recipe_labels
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.formatting import span
from study.reporting.figures.drawing import (
    MAX_PICTURES,
    PICTURE_WIDTH,
    Drawing,
    add_titled_key,
    draw_panel,
    finish,
    line_styles_of,
    panel_pairs,
)
from study.reporting.style import FIGURE_STYLE
from study.reporting.surface_views.scale import SHARE_RANGE, share_colours
from study.reporting.surface_views.tiles import LOOKS, draw_key, ink_on, status, tile_text

CURVES_HEIGHT, TILE_HEIGHT, HEAD_HEIGHT = 1.9, 0.42, 0.75

INTERVAL_WIDTH, HALF_WIDTH = 0.5, 0.28
"""Narrowest tiles that have room for an interval on one line, and on two, inches."""


def draw_levels(rows: Sequence[SurfaceRow], panels: Sequence[CurvePanel]) -> tuple[Drawing, ...]:
    """Draws the points of labels alone: a picture per method and task, at most `MAX_PICTURES`.

    Args:
        rows: The surface's rows.
        panels: Accuracy over difficulty (`difficulty_panels`).
    """
    labels = recipe_labels(row.point.recipe for row in rows)
    groups: dict[tuple[str, str, str], list[SurfaceRow]] = {}
    for row in rows:
        if row.role == "labels":
            point = row.point
            key = (point.task, point.measure, labels[recipe_text(point.recipe)])
            groups.setdefault(key, []).append(row)
    drawings = []
    for i, ((task, measure, method), members) in enumerate(list(groups.items())[:MAX_PICTURES]):
        curves = [p for p in panels if p.row == method and p.x_title == measure]
        name = "surface" if i == 0 else f"surface-{i + 1}"
        title = f"{method} on {task}"
        with mpl.rc_context(FIGURE_STYLE):
            drawings.append(_draw(name, title, _shown(members), task, curves))
    return tuple(drawings)


def _shown(rows: Sequence[SurfaceRow]) -> list[SurfaceRow]:
    """Returns the points on test levels that are training levels; all points if there are none."""
    bands = {row.point.hard_level for row in rows}
    return [row for row in rows if row.point.test_level in bands] or list(rows)


def _from_easy_to_hard(row: SurfaceRow) -> tuple[bool, float]:
    level = row.point.train_level
    return (level is None, 0.0 if level is None else level.low + level.high)


def _draw(
    name: str, title: str, rows: Sequence[SurfaceRow], task: str, panels: Sequence[CurvePanel]
) -> Drawing:
    models = list(dict.fromkeys(row.point.model for row in rows))
    sources = list(dict.fromkeys(row.point.source for row in sorted(rows, key=_from_easy_to_hard)))
    tests = list(dict.fromkeys(row.point.test_level.name for row in rows))
    looks = line_styles_of(curve.name for panel in panels for curve in panel.curves)
    heights = (CURVES_HEIGHT, HEAD_HEIGHT + TILE_HEIGHT * len(sources))
    figure, pairs = panel_pairs(models, heights, ("accuracy %", "trained on"), margin=1.5)
    tile_width = pairs[0][2].get_position().width * PICTURE_WIDTH / len(tests)
    for model, upper, lower in pairs:
        upper.set_title(model, loc="left", fontweight="bold")
        for panel in panels:
            if panel.column in (model, f"{model}, {task}"):
                draw_panel(upper, panel, looks)
                ticks = {p.x: p.label for curve in panel.curves for p in curve.points}
                upper.set_xticks(list(ticks), list(ticks.values()))
                upper.set_xlabel(panel.x_title)
        upper.grid(axis="y", alpha=0.3)
        members = [row for row in rows if row.point.model == model]
        _draw_tiles(lower, members, sources, tests, tile_width)
        lower.set_xlabel("tested on")
    for _, upper, _ in pairs:  # once all curves are drawn; intervals can exceed 100 %
        upper.set_ylim(top=min(upper.get_ylim()[1], 102.0))
    key = draw_key(rows)
    add_titled_key(figure, looks, "\n".join(filter(None, (title, key))), num_columns=6)
    _add_scale(figure, [lower for _, _, lower in pairs], rows)
    return finish(figure, name, _describe(title, rows))


def _add_scale(figure: Figure, places: Sequence[Axes], rows: Sequence[SurfaceRow]) -> None:
    """Adds the colour bar of SGR, and the patterns of points without a number."""
    figure.colorbar(
        ScalarMappable(Normalize(*SHARE_RANGE), share_colours()),
        ax=places,
        label="SGR",
        location="bottom",
        aspect=50,
        fraction=0.06,
        extend="both",
        ticks=[-0.5, 0.0, 0.5, 1.0, 1.5],
    )
    present = {status(row) for row in rows}
    handles = [
        Patch(facecolor=fill, hatch=4 * pattern, edgecolor="#444444", label=kind.value)
        for kind, (pattern, fill) in LOOKS.items()
        if kind in present
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def _draw_tiles(
    place: Axes,
    rows: Sequence[SurfaceRow],
    sources: Sequence[str],
    tests: Sequence[str],
    tile_width: float,
) -> None:
    """Draws SGR by source (from the top) and test level; unresolved tiles are hatched."""
    norm = Normalize(*SHARE_RANGE, clip=True)
    for row in rows:
        x, y = tests.index(row.point.test_level.name), sources.index(row.point.source)
        pattern, fill = LOOKS.get(status(row), ("", "#ffffff"))
        look: dict[str, Any] = {"hatch": 4 * pattern, "facecolor": fill}
        ink, text = "#111111", tile_text(row, "sgr")
        box: dict[str, Any] | None = {"facecolor": fill, "edgecolor": "none", "pad": 1.0}
        if row.sgr.estimate is not None:
            colour = share_colours()(norm(row.sgr.estimate))
            look, ink, box = {"facecolor": colour}, ink_on(colour), None
            text = _number_text(row, text.partition("\n")[0], tile_width)
        place.add_patch(
            Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, edgecolor="#444444", linewidth=0.6, **look)
        )
        place.text(x, y, text, ha="center", va="center", fontsize=6, color=ink, bbox=box)
    place.set(xlim=(-0.55, len(tests) - 0.45), ylim=(len(sources) - 0.45, -0.55))
    place.set_xticks(range(len(tests)), tests)
    place.set_yticks(range(len(sources)), sources)
    place.tick_params(length=0)


def _number_text(row: SurfaceRow, number: str, tile_width: float) -> str:
    """Returns the number of a tile, with its interval where there is room."""
    interval = span(row.sgr.low, row.sgr.high)
    if tile_width >= INTERVAL_WIDTH:
        return f"{number}\n{interval}"
    return f"{number}\n{interval.replace(' ', chr(10))}" if tile_width >= HALF_WIDTH else number


def _describe(title: str, rows: Sequence[SurfaceRow]) -> str:
    known = [row.sgr.estimate for row in rows if row.sgr.estimate is not None]
    text = (
        f"{title}, a column per base model. Above: accuracy by difficulty, a line per training "
        "level, with intervals as bands. Below: SGR by training level and test level; unresolved "
        f"points are hatched. {len(known)} of {count(len(rows), 'point')} have a number"
    )
    text += f", from {min(known):.2f} to {max(known):.2f}" if known else ""
    return f"{text}. The table of points has every number."
