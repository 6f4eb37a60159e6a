"""Forest plots: the SGR of each point with its interval, and the pooled one below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.pooled import PooledRow
from study.reporting.figures.drawing import LETTER, MAX_PANELS, Drawing, capped, finish
from study.reporting.style import FIGURE_STYLE, INK, MUTED

_COLUMNS = 2


def draw_forest(rows: Sequence[PooledRow], level: float) -> Drawing | None:
    """Draws a panel for each pooled SGR that has a value; None if there is none.

    Args:
        rows: Pooled SGRs.
        level: Confidence of the intervals.
    """
    known = [row for row in rows if row.result.value is not None]
    if not known:
        return None
    shown = known[:MAX_PANELS]
    num_columns = min(len(shown), _COLUMNS)
    num_rows = math.ceil(len(shown) / num_columns)
    names = [place for row in shown for place, _ in row.members]
    lines = max(len(row.members) for row in shown) + 1
    with mpl.rc_context(FIGURE_STYLE):
        figure = Figure(
            figsize=(
                num_columns * (3.4 + LETTER * max(map(len, names))),
                num_rows * (0.24 * lines + 1.0) + 0.4,
            )
        )
        axes: Any = figure.subplots(num_rows, num_columns, squeeze=False)
        for place, row in zip(axes.ravel(), shown, strict=False):
            _draw_panel(place, row)
        for place in axes.ravel()[len(shown) :]:
            place.set_visible(False)
        alt = (
            f"SGR of each point with its {100 * level:g} % interval, and pooled over the points "
            "(diamond). Points without a resolved gap have no interval here, but enter the pooled "
            "value." + capped(known, "the table of pooled SGRs has all")
        )
        return finish(figure, "forest", alt)


def _draw_panel(place: Axes, row: PooledRow) -> None:
    for y, (_, member) in enumerate(row.members):
        share = member.sgr
        if share.estimate is None or share.low is None or share.high is None:
            place.text(0.0, y, "gap not resolved", va="center", fontsize=7, color=MUTED)
            continue
        place.hlines(y, share.low, share.high, linewidth=1.4, color=INK)
        place.plot([share.estimate], [y], "o", color=INK)
    y, result = len(row.members), row.result
    if result.value is not None and result.low is not None and result.high is not None:
        ends = [result.low, result.value, result.high, result.value]
        place.fill(ends, [y, y - 0.3, y, y + 0.3], color="#000000")
    place.axvline(0.0, color=MUTED, linewidth=0.8, dashes=(2, 2))
    place.axvline(1.0, color=MUTED, linewidth=0.8, dashes=(2, 2))
    place.set_yticks(range(y + 1), [*(name for name, _ in row.members), "pooled"])
    place.set_ylim(y + 0.6, -0.6)
    place.set_title(f"over {row.axis}\n{row.where}", loc="left", fontsize=8)
    place.set_xlabel("SGR")
    place.grid(axis="x", alpha=0.3)
