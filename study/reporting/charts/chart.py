"""A chart of the page: its rows, its Vega-Lite spec, and a sentence to quote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.analysis.surface_rows import Scalar
from study.reporting.charts.filters import Filters
from study.reporting.style import MUTED

Spec = Mapping[str, Any]
"""A part of a Vega-Lite spec."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChartRow:
    """One mark of a chart."""

    filters: Filters
    values: Mapping[str, Scalar]
    """Columns of the spec. `panel`: the facet that shows the row; `said`: its number with the
    interval, as a reader sees it on hover."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A figure of the page."""

    name: str
    """Name of an exported file, without its ending."""
    title: str
    quote: str
    """What it shows, in a sentence with numbers."""
    reading: str
    """How to read it; also the text for those who cannot see it."""
    table: str
    """Name of the page's table that has its rows."""
    rows: Sequence[ChartRow]
    spec: Spec
    """A view or layers without data, facets and theme, which the page adds."""
    panel_width: int
    """Pixels of a panel without its labels; the page widens panels whose spec has no width."""
    page_by: str = "panel"
    """Column whose values are shown in portions of `page_size`."""
    page_size: int = 12
    is_folded: bool = False
    """Shown only when the reader unfolds it."""


def tooltip(**titles: str) -> list[Spec]:
    """Returns the tooltip of columns, with their titles."""
    return [{"field": field, "title": title} for field, title in titles.items()]


def reference(axis: str, *values: float, scale: Spec | None = None) -> Spec:
    """Returns a layer of dashed lines at some values of an axis, with the scale of the others."""
    return {
        "data": {"values": [{"at": value} for value in values]},
        "mark": {"type": "rule", "strokeDash": [3, 3], "color": MUTED},
        "encoding": {axis: {"field": "at", "type": "quantitative", "scale": scale or {}}},
    }
