"""Matplotlib figures in PNG, SVG and PDF, for papers and for use without a browser.

They need no colour: conditions differ in marker and dash, verdicts in hatching and text.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analysis.accuracy_curves import Curve, CurvePanel
from study.analysis.calibration import CalibrationRow
from study.reporting.style import FIGURE_STYLE, MUTED, looks_of
from study.statistics.resampling.calibration_intervals import BinAccuracy

MAX_PANELS = 24
"""Panels per figure; more would be too small to read."""

MAX_PICTURES = 6
"""Pictures of one kind, one per method and task; the tables have all points."""

MAX_COLUMNS = 4
"""Base models side by side in a picture; more continue below."""

DPI = 130

PICTURE_WIDTH = 900 / DPI
"""Width of a picture, inches."""

LETTER = 0.075
"""Average width of a letter in a label, inches."""

MIN_WIDTH = 6.0
"""Width of a figure with one panel, inches; its legend needs it."""

LEGEND_LINE = 0.22
"""Height of a line in a legend, inches."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A laid-out figure, drawn in a format when it is asked for: PDF takes longest."""

    name: str
    """File name without its ending."""
    alt: str
    """Alternative text."""
    figure: Figure

    @cached_property
    def png(self) -> bytes:
        """The figure as PNG."""
        return self._drawn(FigureCanvasAgg(self.figure).print_png)

    @cached_property
    def svg(self) -> bytes:
        """The figure as SVG, with its fonts as outlines."""
        canvas: Any = FigureCanvasSVG(self.figure)
        return self._drawn(canvas.print_svg, metadata={"Date": None, "Title": self.name})

    @cached_property
    def pdf(self) -> bytes:
        """The figure as PDF, with its fonts embedded."""
        canvas: Any = FigureCanvasPdf(self.figure)
        return self._drawn(canvas.print_pdf, metadata={"CreationDate": None, "Title": self.name})

    def _drawn(self, draw: Callable[..., object], **options: object) -> bytes:
        file = io.BytesIO()
        self.figure.set_dpi(DPI)  # SVG and PDF leave 72 behind
        with mpl.rc_context(FIGURE_STYLE):
            draw(file, **options)
        return file.getvalue()


def draw_curves(
    name: str,
    panels: Sequence[CurvePanel],
    *,
    y_title: str,
    what: str,
    is_share: bool = True,
    conditions: Sequence[str] = (),
) -> Drawing:
    """Draws one panel per model (columns) and recipe (rows), one curve per condition.

    Args:
        name: Name of the file.
        panels: Panels with their curves.
        y_title: Title of the common vertical axis.
        what: Alternative text.
        is_share: Whether values are shares, shown in %.
        conditions: All conditions of the report, so that each has one look in all figures.
    """
    drawn = dict.fromkeys(curve.name for panel in panels for curve in panel.curves)
    looks = {k: look for k, look in line_styles_of([*conditions, *drawn]).items() if k in drawn}
    limits = _limits(panels, is_share=is_share)
    with mpl.rc_context(FIGURE_STYLE):
        figure, places = grid([(panel.row, panel.column) for panel in panels])
        for panel, place in zip(panels, places, strict=True):
            draw_panel(place, panel, looks, is_share=is_share)
            _draw_crossing(place, panel)
            labels = {p.x: p.label for curve in panel.curves for p in curve.points}
            if len(labels) <= 12:
                place.set_xticks(list(labels), list(labels.values()))
            if panel.is_log:
                place.set_xscale("log")
                place.set_xticks(list(labels), list(labels.values()))
                place.minorticks_off()  # their labels would collide with these
            place.set(xlabel=panel.x_title, ylabel=y_title)
            place.set_ylim(*limits)
            place.grid(axis="y", alpha=0.3)
        add_legend(figure, looks)
        return finish(figure, name, what)


def _limits(panels: Sequence[CurvePanel], *, is_share: bool) -> tuple[float, float]:
    """Returns the limits of the common vertical axis; curves that may cross fill the height."""
    points = [p for panel in panels for curve in panel.curves for p in curve.points]
    if not is_share:
        return 0.0, 1.05 * max(p.mean for p in points)
    if all(panel.crossing is None for panel in panels):
        return 0.0, 100.0
    low = min(p.mean if p.low is None else p.low for p in points)
    high = max(p.mean if p.high is None else p.high for p in points)
    return max(10.0 * math.floor(10.0 * low), 0.0), min(10.0 * math.ceil(10.0 * high), 100.0)


def _draw_crossing(place: Axes, panel: CurvePanel) -> None:
    """Marks the crossing of the curves with a line, and its interval with a band."""
    crossing = panel.crossing
    if crossing is None or crossing.estimate is None:
        return
    low = crossing.start if crossing.low is None else crossing.low
    high = crossing.stop if crossing.high is None else crossing.high
    place.axvspan(low, high, color=MUTED, alpha=0.15, linewidth=0)
    place.axvline(crossing.estimate, color=MUTED, linewidth=1, linestyle=":")


def draw_calibration(name: str, rows: Sequence[CalibrationRow]) -> Drawing:
    """Draws reliability diagrams: accuracy against confidence, one curve per condition."""
    looks = line_styles_of(row.condition for row in rows)
    keys = list(dict.fromkeys((row.method, row.model) for row in rows))
    shown = keys[:MAX_PANELS]
    with mpl.rc_context(FIGURE_STYLE):
        figure, places = grid(shown)
        for key, place in zip(shown, places, strict=True):
            place.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8, dashes=(2, 2))
            for row in rows:
                if (row.method, row.model) == key:
                    _draw_bins(place, row.bins, looks[row.condition])
            place.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence %", ylabel="right %")
            place.set_aspect("equal")
        add_legend(figure, looks)
        alt = (
            "Reliability diagrams, one panel per model and method: accuracy of the answers against "
            "their confidence, per condition, with intervals. On the diagonal, confidence and "
            "accuracy agree. The expected calibration errors are in the table below."
        ) + capped(keys, "the table has all")
        return finish(figure, name, alt)


def _draw_bins(place: Axes, bins: Sequence[BinAccuracy], look: Mapping[str, Any]) -> None:
    x = [100 * b.confidence for b in bins]
    place.plot(x, [100 * b.accuracy for b in bins], **look)
    ends = [100 * b.low for b in bins], [100 * b.high for b in bins]
    place.fill_between(x, *ends, color=str(look["color"]), linewidth=0, alpha=0.12)


def draw_panel(
    place: Axes, panel: CurvePanel, looks: Mapping[str, Mapping[str, Any]], *, is_share: bool = True
) -> None:
    """Draws the curves of a panel, with their intervals as bands."""
    for curve in panel.curves:
        _draw_curve(place, curve, looks[curve.name], is_share=is_share)


def _draw_curve(place: Axes, curve: Curve, look: Mapping[str, Any], *, is_share: bool) -> None:
    scale = 100.0 if is_share else 1.0
    x = [p.x for p in curve.points]
    y = [scale * p.mean for p in curve.points]
    place.plot(x, y, **look)
    bounded = [p for p in curve.points if p.low is not None and p.high is not None]
    place.fill_between(
        [p.x for p in bounded],
        [scale * (p.low or 0.0) for p in bounded],
        [scale * (p.high or 0.0) for p in bounded],
        color=str(look["color"]),
        linewidth=0,
        alpha=0.12,
    )


def capped(panels: Sequence[object], elsewhere: str) -> str:
    """Returns a caption's note on omitted panels; empty if all are shown.

    Args:
        panels: All panels; a figure shows the first `MAX_PANELS`.
        elsewhere: A clause that names where the others are.
    """
    if len(panels) <= MAX_PANELS:
        return ""
    return f" Only the first {MAX_PANELS} of {len(panels)} panels are shown; {elsewhere}."


def filled(panels: Sequence[object], elsewhere: str) -> str:
    """Returns a caption's note on a full figure, whose omitted panels were not counted."""
    if len(panels) < MAX_PANELS:
        return ""
    return f" A figure has at most {MAX_PANELS} panels: {elsewhere} has all points."


def grid(keys: Sequence[tuple[str, str]]) -> tuple[Figure, list[Axes]]:
    """Returns a grid of axes: a row per first key, a column per second; absent pairs stay blank."""
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


def add_titled_key(
    figure: Figure, looks: Mapping[str, Mapping[str, Any]], title: str, *, num_columns: int
) -> None:
    """Adds the title of a picture and the key of its lines above the panels."""
    figure.legend(
        handles=line_handles(looks),
        title=title,
        title_fontproperties={"weight": "bold"},
        loc="outside upper center",
        ncols=num_columns,
        frameon=False,
    )


def panel_pairs(
    models: Sequence[str],
    heights: tuple[float, float],
    y_titles: tuple[str, str],
    margin: float,
    **subplots: Any,
) -> tuple[Figure, list[tuple[str, Axes, Axes]]]:
    """Returns a figure with two panels per base model, one above the other.

    Args:
        models: Names of the base models.
        heights: Of the upper and the lower panel, inches.
        y_titles: Of the upper and the lower panel, on the left.
        margin: Height of legends and colour bars together, inches.
        subplots: Further arguments of `Figure.subplots`.

    Returns:
        The figure, and each model's name with its upper and its lower panel.
    """
    num_bands = math.ceil(len(models) / MAX_COLUMNS)
    num_columns = math.ceil(len(models) / num_bands)
    figure = Figure(figsize=(PICTURE_WIDTH, num_bands * sum(heights) + margin))
    axes: Any = figure.subplots(
        2 * num_bands,
        num_columns,
        squeeze=False,
        height_ratios=heights * num_bands,
        sharey="row",
        **subplots,
    )
    for i, place in enumerate(axes[:, 0]):
        place.set_ylabel(y_titles[i % 2])
    uppers, lowers = axes[::2].ravel(), axes[1::2].ravel()
    for place in (*uppers[len(models) :], *lowers[len(models) :]):
        place.set_visible(False)
    return figure, list(zip(models, uppers, lowers, strict=False))


def line_styles_of(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Returns the colour, marker and dash of each name as arguments of `Axes.plot`."""
    return {
        name: {
            "color": look.colour,
            "marker": look.marker,
            "linestyle": look.line,
            "markersize": 4,
            "linewidth": 1.3,
        }
        for name, look in looks_of(names).items()
    }


def add_legend(figure: Figure, looks: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds one legend for all panels; axes inside a complete grid lose their repeated labels."""
    width, height = figure.get_size_inches()
    letters = max((len(label) for label in looks), default=0)
    ncols = max(min(len(looks), int(width / (LETTER * letters + 0.6))), 1)
    figure.set_size_inches(width, height + LEGEND_LINE * math.ceil(len(looks) / ncols))
    figure.legend(
        handles=line_handles(looks),
        loc="outside lower center",
        ncols=ncols,
        frameon=False,
    )
    places: Any = figure.axes
    if len(places) == math.prod(places[0].get_subplotspec().get_gridspec().get_geometry()):
        for place in places:
            place.label_outer()


def line_handles(looks: Mapping[str, Mapping[str, Any]]) -> list[Line2D]:
    """Returns the entries of a legend."""
    return [Line2D([], [], label=label, **look) for label, look in looks.items()]


def finish(figure: Figure, name: str, alt: str) -> Drawing:
    """Lays a figure out."""
    figure.set_dpi(DPI)
    # One layout for all formats: `savefig` would repeat it.
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    engine: Any = figure.get_layout_engine()
    engine.execute(figure)
    figure.set_layout_engine("none")
    return Drawing(name=name, alt=alt, figure=figure)
