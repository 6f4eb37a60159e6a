"""The pictures of docs/results/arc.md: series of means with intervals, in panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Point = tuple[float, float, float | None, float | None]
"""Position, mean, and the interval's ends; None: the interval is not known."""

Panels = Mapping[str, Mapping[str, Sequence[Point]]]
"""Title of a panel -> name of a series -> its points."""

COLUMNS = 3

NO_LINES: Mapping[str, Mapping[str, float]] = {}


def draw_panels(
    path: Path,
    panels: Panels,
    *,
    x: str,
    y: str,
    log_x: bool = False,
    lines: Mapping[str, Mapping[str, float]] = NO_LINES,
) -> None:
    """Draws the panels, up to three a row, as an SVG whose bytes depend on the numbers alone.

    Args:
        path: The file.
        panels: At least one.
        x: Name of the horizontal axis.
        y: Name of the vertical axis with its unit.
        log_x: Whether the horizontal axis is logarithmic.
        lines: Title of a panel -> name of a dashed horizontal line -> its height; a line without
            a name is not in the legend.
    """
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    at_all = _positions(panels.values())
    step = 1.05 if log_x else 0.015 * (at_all[-1] - at_all[0])
    with mpl.rc_context({"svg.hashsalt": path.stem, "font.size": 9}):
        figure = Figure(figsize=(3.4 * columns + 0.6, 2.9 * rows), layout="constrained")
        # On a logarithmic axis, the ticks of all panels together may overlap.
        axes = figure.subplots(rows, columns, sharex=not log_x, sharey=True, squeeze=False).ravel()
        for axis, (title, series) in zip(axes, panels.items(), strict=False):
            axis.set(title=title, xlabel=x)
            if log_x:
                axis.set_xscale("log", base=2)
            ticks = _positions([series]) if log_x else at_all
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.tick_params(labelbottom=True)
            axis.grid(alpha=0.3)
            _draw_series(axis, series, names, step, log_x=log_x)
            for name, height in lines.get(title, {}).items():
                axis.axhline(height, color="black", linewidth=0.8, linestyle="--", label=name)
            if len(series) > 1:
                axis.legend(fontsize=7, edgecolor="none", framealpha=0.8)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        for axis in axes[::columns]:
            axis.set_ylabel(y)
        figure.savefig(path, metadata={"Date": None})


def _positions(panels: Iterable[Mapping[str, Sequence[Point]]]) -> list[float]:
    return sorted({p[0] for series in panels for points in series.values() for p in points})


def _draw_series(
    axis: Axes,
    series: Mapping[str, Sequence[Point]],
    names: Sequence[str],
    step: float,
    *,
    log_x: bool,
) -> None:
    """Draws the series of a panel, each a small step further right: their intervals stay apart."""
    for place, (name, points) in enumerate(series.items()):
        shift = place - (len(series) - 1) / 2
        at = [p[0] * step**shift if log_x else p[0] + step * shift for p in points]
        means = [p[1] for p in points]
        ends = [
            [0.0 if p[2] is None else p[1] - p[2] for p in points],
            [0.0 if p[3] is None else p[3] - p[1] for p in points],
        ]
        colour = f"C{names.index(name)}"
        axis.errorbar(
            at, means, ends, capsize=2, label=name, color=colour, marker="o", markersize=3
        )
