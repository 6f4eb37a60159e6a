"""Colours, markers and dashes of all charts and figures, safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#AA3377", "#8C6D1F", "#56B4E9")
"""The palette of Okabe and Ito, without colours too pale for lines on white."""

DARK_COLOURS: Mapping[str, str] = {
    "#000000": "#f0f0f0",
    "#0072B2": "#5fb3e8",
    "#D55E00": "#f08a45",
    "#009E73": "#3cc79c",
    "#AA3377": "#e07fb4",
    "#8C6D1F": "#cdaa4d",
    "#56B4E9": "#9bd3f5",
}
"""Colour on white -> the same hue on a dark page."""

MARKERS = (
    ("o", "circle"),
    ("s", "square"),
    ("^", "triangle-up"),
    ("D", "diamond"),
    ("v", "triangle-down"),
    ("P", "cross"),
    ("X", "triangle-right"),
)
"""Names of each marker in matplotlib and in Vega."""

DASHES = (("-", (1, 0)), ("--", (6, 3)), ("-.", (6, 2, 1, 2)), (":", (2, 2)))
"""Each dash in matplotlib and in Vega."""

MUTED = "#777777"
"""Reference lines; visible on white and on dark paper."""


INK = "#0072B2"
"""Estimates of a single kind."""

Format = Literal["png", "svg", "pdf"]
"""Of a figure for papers."""

FORMATS: tuple[Format, ...] = get_args(Format)

FIGURE_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
    # Fonts are part of every file: outlines in SVG, TrueType in PDF, as journals ask.
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    # Makes the bytes of a figure reproducible.
    "svg.hashsalt": "scarce-labels",
}
"""Settings of matplotlib for every figure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a curve is drawn; without colour it is told by its marker and dash."""

    colour: str
    marker: str
    line: str
    shape: str
    """The marker's name in Vega."""
    dash: tuple[int, ...]
    """The line's dash in Vega."""


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """Returns the look of each name; up to 28 names differ in colour, marker or dash."""
    looks = {}
    for i, name in enumerate(dict.fromkeys(names)):
        marker, shape = MARKERS[i % len(MARKERS)]
        line, dash = DASHES[i % len(DASHES)]
        looks[name] = Look(
            colour=COLOURS[i % len(COLOURS)], marker=marker, line=line, shape=shape, dash=dash
        )
    return looks
