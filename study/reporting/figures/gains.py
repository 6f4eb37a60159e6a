"""Gains of self-training over its start: a dot and an interval per source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search_spaces.explain import count
from study.analysis.names import hidden_rounds, source_label
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.reporting.figures.drawing import LETTER, MAX_PANELS, Drawing, finish
from study.reporting.style import FIGURE_STYLE, INK, MUTED


def draw_gains(
    rows: Sequence[SurfaceRow], labels: Mapping[str, str], level: float
) -> Drawing | None:
    """Draws source - start for every self-trained source; None if no gain is known yet.

    Args:
        rows: Self-trained points.
        labels: Recipe text -> label.
        level: Confidence of the intervals.
    """
    known = [row for row in rows if row.ssrm_gain.estimate is not None]
    if not known:
        return None
    hidden = hidden_rounds(rows)
    names = [source_label(row.point, hidden) for row in sorted(known, key=_is_control)]
    sources = list(dict.fromkeys(names))
    panels: dict[str, list[SurfaceRow]] = {}
    several = len({(row.point.task, row.point.measure) for row in known}) > 1
    for row in known:
        point = row.point
        method = labels[recipe_text(point.recipe)]
        task = f"{point.task} by {point.measure}" if several else point.task
        title = f"{point.model} {method}\n{task}: {point.test_level.name}"
        panels.setdefault(title, []).append(row)
    shown = dict(list(panels.items())[:MAX_PANELS])
    num_columns = min(len(shown), 3)
    num_rows = math.ceil(len(shown) / num_columns)
    label_width = LETTER * max(len(name) for name in sources)
    with mpl.rc_context(FIGURE_STYLE):
        figure = Figure(
            figsize=(
                label_width + 2.6 * num_columns + 0.5,
                num_rows * (0.24 * len(sources) + 1.0) + 0.5,
            )
        )
        axes: Any = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True)
        for place, (title, members) in zip(axes.ravel(), shown.items(), strict=False):
            _draw_panel(place, members, sources, hidden)
            place.set_title(title, loc="left", fontweight="bold")
        for place in axes.ravel()[len(shown) :]:
            place.set_visible(False)
        for place in axes[-1]:
            place.set_xlabel("self-trained - start (points)")
        alt = (
            f"Gain of self-training over its start on each test level, in points, with "
            f"{100 * level:g} % intervals; hollow: controls. {count(len(known), 'point')} in "
            f"{len(shown)} of {count(len(panels), 'panel')}. The table above has the numbers."
        )
        return finish(figure, "ssrm-gain", alt)


def _draw_panel(
    place: Axes, rows: Sequence[SurfaceRow], sources: Sequence[str], hidden: frozenset[str]
) -> None:
    place.axvline(0.0, color=MUTED, linewidth=0.8, dashes=(2, 2))
    for row in rows:
        gain = row.ssrm_gain
        y = sources.index(source_label(row.point, hidden))
        colour = MUTED if _is_control(row) else INK
        if gain.low is not None and gain.high is not None:
            place.hlines(y, 100 * gain.low, 100 * gain.high, linewidth=1.4, color=colour)
        fill = "white" if _is_control(row) else colour
        place.plot([100 * (gain.estimate or 0.0)], [y], "o", markerfacecolor=fill, color=colour)
    place.set_yticks(range(len(sources)), sources)
    place.set_ylim(len(sources) - 0.5, -0.5)
    place.grid(axis="x", alpha=0.3)


def _is_control(row: SurfaceRow) -> bool:
    return row.role == "control"
