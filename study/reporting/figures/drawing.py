"""Figures by matplotlib: copies in PNG and SVG that need no browser, and what the page prints.

Nothing rests on colour alone: conditions differ in marker and dash, verdicts in hatching and words.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analysis.accuracy_curves import CurvePanel
from study.analysis.calibration import CalibrationRow

MAX_PANELS = 24
"""Panels of one figure; more would be too small to read."""

DPI = 130

LETTER = 0.075
"""Inches that a letter of a label takes on average."""

MIN_WIDTH = 6.0
"""Inches of a figure with one panel: its legend needs them."""

LEGEND_LINE = 0.22
"""Inches that a line of a legend takes."""

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#AA3377", "#8C6D1F", "#56B4E9")
"""Okabe and Ito's, without those too pale for lines on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
    # Equal figures give equal bytes.
    "svg.hashsalt": "scarce-labels",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A finished figure."""

    name: str
    """File name without its ending."""
    alt: str
    """What it shows, for who cannot see it."""
    png: bytes
    svg: bytes


def draw_curves(
    name: str,
    panels: Sequence[CurvePanel],
    *,
    y_title: str,
    what: str,
    is_share: bool = True,
    conditions: Sequence[str] = (),
) -> Drawing:
    """Draws one small panel a model (across) and recipe (down), one curve a condition.

    Args:
        name: Of the file.
        panels: With their curves.
        y_title: Of the common vertical axis.
        what: Words for who cannot see it.
        is_share: Whether values are shares, shown in %.
        conditions: All that the report knows, so that each looks alike in all its figures.
    """
    drawn = dict.fromkeys(curve.name for panel in panels for curve in panel.curves)
    looks = {k: look for k, look in looks_of([*conditions, *drawn]).items() if k in drawn}
    limits = _limits(panels, is_share=is_share)
    with mpl.rc_context(STYLE):
        figure, places = grid([(panel.row, panel.column) for panel in panels])
        for panel, place in zip(panels, places, strict=True):
            for curve in panel.curves:
                _draw_curve(place, panel, curve.name, looks[curve.name], is_share=is_share)
            _draw_crossing(place, panel)
            labels = {p.x: p.label for curve in panel.curves for p in curve.points}
            if len(labels) <= 12:
                place.set_xticks(list(labels), list(labels.values()))
            if panel.is_log:
                place.set_xscale("log")
                place.set_xticks(list(labels), list(labels.values()))
                place.minorticks_off()  # whose own labels would stand among these
            place.set(xlabel=panel.x_title, ylabel=y_title)
            place.set_ylim(*limits)
            place.grid(axis="y", alpha=0.3)
        add_legend(figure, looks)
        return finish(figure, name, what)


def _limits(panels: Sequence[CurvePanel], *, is_share: bool) -> tuple[float, float]:
    """Returns the ends of the common vertical axis; curves that may cross are drawn close up."""
    points = [p for panel in panels for curve in panel.curves for p in curve.points]
    if not is_share:
        return 0.0, 1.05 * max(p.mean for p in points)
    if all(panel.crossing is None for panel in panels):
        return 0.0, 100.0
    low = min(p.mean if p.low is None else p.low for p in points)
    high = max(p.mean if p.high is None else p.high for p in points)
    return max(10.0 * math.floor(10.0 * low), 0.0), min(10.0 * math.ceil(10.0 * high), 100.0)


def _draw_crossing(place: Axes, panel: CurvePanel) -> None:
    """Marks where the curves cross: a line, and a band over its interval."""
    found = panel.crossing
    if found is None or found.estimate is None:
        return
    low = found.start if found.low is None else found.low
    high = found.stop if found.high is None else found.high
    place.axvspan(low, high, color="#777777", alpha=0.15, linewidth=0)
    place.axvline(found.estimate, color="#555555", linewidth=1, linestyle=":")


def draw_calibration(name: str, rows: Sequence[CalibrationRow]) -> Drawing:
    """Draws reliability diagrams: accuracy against confidence, one curve a condition."""
    looks = looks_of(row.condition for row in rows)
    keys = list(dict.fromkeys((row.method, row.model) for row in rows))
    shown = keys[:MAX_PANELS]
    with mpl.rc_context(STYLE):
        figure, places = grid(shown)
        for key, place in zip(shown, places, strict=True):
            place.plot([0, 100], [0, 100], color="#777777", linewidth=0.8, dashes=(2, 2))
            for row in rows:
                if (row.method, row.model) == key:
                    bins = row.calibration.bins
                    place.plot(
                        [100 * b.confidence for b in bins],
                        [100 * b.accuracy for b in bins],
                        **looks[row.condition],
                    )
            place.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence %", ylabel="right %")
            place.set_aspect("equal")
        add_legend(figure, looks)
        alt = (
            "Reliability diagrams, one panel a model and method: how often answers of a confidence "
            "are right, per condition. On the diagonal confidence and accuracy agree. The expected "
            "calibration errors are in the table below."
        ) + capped(keys, "the table has all")
        return finish(figure, name, alt)


def _draw_curve(
    place: Axes, panel: CurvePanel, name: str, look: Mapping[str, Any], *, is_share: bool
) -> None:
    (curve,) = [curve for curve in panel.curves if curve.name == name]
    scale = 100.0 if is_share else 1.0
    x = [p.x for p in curve.points]
    y = [scale * p.mean for p in curve.points]
    place.plot(x, y, **look)
    bounded = [p for p in curve.points if p.low is not None and p.high is not None]
    if bounded:
        place.vlines(
            [p.x for p in bounded],
            [scale * (p.low or 0.0) for p in bounded],
            [scale * (p.high or 0.0) for p in bounded],
            color=str(look["color"]),
            linewidth=1,
            alpha=0.7,
        )


def capped(panels: Sequence[object], elsewhere: str) -> str:
    """Returns what a caption says where there are more panels than a figure has.

    Args:
        panels: All of them; a figure has the first `MAX_PANELS`.
        elsewhere: Where the others are, as a clause.
    """
    if len(panels) <= MAX_PANELS:
        return ""
    return f" Shown are the first {MAX_PANELS} of {len(panels)} panels; {elsewhere}."


def filled(panels: Sequence[object], elsewhere: str) -> str:
    """Returns what a caption says of a full figure where nobody counted the panels left out."""
    if len(panels) < MAX_PANELS:
        return ""
    return f" A figure has no more than {MAX_PANELS} panels: {elsewhere} has all points."


def grid(keys: Sequence[tuple[str, str]]) -> tuple[Figure, list[Axes]]:
    """A grid of axes with one row a first key and one column a second; absent pairs are blank."""
    row_names = list(dict.fromkeys(row for row, _ in keys))
    column_names = list(dict.fromkeys(column for _, column in keys))
    letters = max(len(name) for name in (*row_names, *column_names))
    width = max(2.5, LETTER * letters * 1.1)  # titles are bold
    across = max(1.0 + width * len(column_names), MIN_WIDTH)
    figure = Figure(figsize=(across, 0.8 + 2.2 * len(row_names)))
    axes: Any = figure.subplots(len(row_names), len(column_names), squeeze=False)
    for i, j in np.ndindex(axes.shape):
        if (row_names[i], column_names[j]) not in keys:
            figure.delaxes(axes[i, j])
    places = []
    for row, column in keys:
        place = axes[row_names.index(row), column_names.index(column)]
        place.set_title(f"{column}\n{row}", loc="left", fontweight="bold")
        places.append(place)
    return figure, places


def looks_of(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Returns colour, marker and dash of each name: no two of 28 have all three in common."""
    return {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": DASHES[i % len(DASHES)],
            "markersize": 4,
            "linewidth": 1.3,
        }
        for i, name in enumerate(dict.fromkeys(names))
    }


def add_legend(figure: Figure, looks: Mapping[str, Mapping[str, Any]]) -> None:
    """One legend for all panels; axes inside a complete grid lose their repeated labels."""
    width, height = figure.get_size_inches()
    letters = max((len(label) for label in looks), default=0)
    ncols = max(min(len(looks), int(width / (LETTER * letters + 0.6))), 1)
    figure.set_size_inches(width, height + LEGEND_LINE * math.ceil(len(looks) / ncols))
    figure.legend(
        handles=[_line(label, look) for label, look in looks.items()],
        loc="outside lower center",
        ncols=ncols,
        frameon=False,
    )
    places: Any = figure.axes
    if len(places) == math.prod(places[0].get_subplotspec().get_gridspec().get_geometry()):
        for place in places:
            place.label_outer()


def _line(label: str, look: Mapping[str, Any]) -> Line2D:
    return Line2D([], [], label=label, **look)


def finish(figure: Figure, name: str, alt: str) -> Drawing:
    """Lays a figure out and returns its copies in PNG and SVG."""
    figure.set_dpi(DPI)
    # Laid out once and drawn once for each copy: `savefig` would do both several times.
    canvas: Any = FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    engine: Any = figure.get_layout_engine()
    engine.execute(figure)
    figure.set_layout_engine("none")
    png, svg = io.BytesIO(), io.BytesIO()
    canvas.print_png(png)
    canvas = FigureCanvasSVG(figure)
    canvas.print_svg(svg, metadata={"Date": None, "Title": name})
    return Drawing(name=name, alt=alt, png=png.getvalue(), svg=svg.getvalue())
