"""The colours of shares: blue from 0 to 1, another colour below and another above."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the page needs no matplotlib
    from matplotlib.colors import Colormap

SHARE_RANGE = (-0.5, 1.5)
"""Shares at the ends of the scale; those beyond have the colour of the end."""

STOPS = (
    (-0.5, "#a63603"),
    (0.0, "#fdd0a2"),
    (0.0, "#f1f5fb"),
    (1.0, "#2166ac"),
    (1.0, "#a6dba0"),
    (1.5, "#1b7837"),
)
"""Share -> colour. It jumps at 0 (easier labels lower accuracy) and at 1 (they beat hard ones)."""

_LOW, _HIGH = SHARE_RANGE

SHARE_STOPS = tuple(((value - _LOW) / (_HIGH - _LOW), colour) for value, colour in STOPS)
"""Place on the scale in [0, 1] -> colour."""


@functools.cache
def share_colours() -> Colormap:
    """Returns the colours as matplotlib has them."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares", list(SHARE_STOPS), N=400)
