"""The pictures of docs/results/arc.md: series of means with intervals, in panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

Point = tuple[float, float, float | None, float | None]
"""Position, mean, and the interval's ends; None: the interval is not known."""

Panels = Mapping[str, Mapping[str, Sequence[Point]]]
"""Title of a panel -> name of a series -> its points."""

COLUMNS = 3


def draw_panels(
    path: Path, panels: Panels, *, x: str, y: str, log_x: bool = False, zero: bool = False
) -> None:
    """Draws the panels, up to three a row, as an SVG whose bytes depend on the numbers alone.

    Args:
        path: The file.
        panels: At least one.
        x: Name of the horizontal axis.
        y: Name of the vertical axis with its unit.
        log_x: Whether the horizontal axis is logarithmic.
        zero: Whether to draw a line at 0.
    """
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    names = sorted({name for series in panels.values() for name in series})
    with mpl.rc_context({"svg.hashsalt": path.stem, "font.size": 9}):
        figure = Figure(figsize=(3.4 * columns + 0.6, 2.9 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        at_all = [p[0] for series in panels.values() for of in series.values() for p in of]
        width = 0.015 * (max(at_all) - min(at_all))
        for axis, (title, series) in zip(axes, panels.items(), strict=False):
            for place, (name, points) in enumerate(sorted(series.items())):
                # A small shift keeps the intervals of series at one position apart.
                shift = place - (len(series) - 1) / 2
                at = [p[0] * 1.05**shift if log_x else p[0] + width * shift for p in points]
                means = [p[1] for p in points]
                ends = [
                    [0.0 if p[2] is None else p[1] - p[2] for p in points],
                    [0.0 if p[3] is None else p[3] - p[1] for p in points],
                ]
                style = {"color": f"C{names.index(name)}", "marker": "o", "markersize": 3}
                axis.errorbar(at, means, ends, capsize=2, label=name, **style)
            axis.set(title=title, xlabel=x)
            axis.grid(alpha=0.3)
            if log_x:
                axis.set_xscale("log", base=2)
                ticks = sorted({p[0] for points in series.values() for p in points})
                axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            if zero:
                axis.axhline(0.0, color="black", linewidth=0.8)
            if len(series) > 1:
                axis.legend(fontsize=7, frameon=False)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        for axis in axes[::columns]:
            axis.set_ylabel(y)
        figure.savefig(path, metadata={"Date": None})
