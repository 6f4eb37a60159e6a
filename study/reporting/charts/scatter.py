"""Trials of a recipe search: validation accuracy against each hyper-parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.analysis.surface_rows import Scalar
from study.reporting.charts.chart import Chart, ChartRow, tooltip
from study.reporting.charts.filters import Filters

_STATES: Mapping[str, tuple[str, str]] = {
    "completed": ("#0072B2", "circle"),
    "stopped early": ("#D55E00", "cross"),
    "found": ("#009E73", "diamond"),
}
"""State of a trial -> its colour and shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScatterMark:
    """One trial on one hyper-parameter."""

    filters: Filters
    panel: str
    value: Scalar
    """Of the hyper-parameter."""
    right: float
    """Validation items that were right, %."""
    state: str


def trial_chart(
    name: str, marks: Sequence[ScatterMark], *, title: str, quote: str, reading: str, table: str
) -> Chart:
    """Returns the trials, a panel per hyper-parameter, whose values are categories in order."""
    states = {state: look for state, look in _STATES.items() if state in {m.state for m in marks}}
    colours, shapes = zip(*states.values(), strict=True)
    domain = list(states)
    legend = {"title": None, "orient": "bottom"}
    ordered = sorted(marks, key=lambda m: (isinstance(m.value, str), m.value))
    return Chart(
        name=name,
        title=title,
        quote=quote,
        reading=reading,
        table=table,
        rows=[
            ChartRow(
                filters=mark.filters,
                values={
                    "panel": mark.panel,
                    "x": mark.value if isinstance(mark.value, str) else f"{mark.value:.3g}",
                    "y": mark.right,
                    "state": mark.state,
                },
            )
            for mark in ordered
        ],
        spec={
            "height": 170,
            "mark": {"type": "point", "filled": True, "size": 60},
            "encoding": {
                "x": {"field": "x", "type": "ordinal", "title": None, "sort": None},
                "y": {
                    "field": "y",
                    "type": "quantitative",
                    "title": "validation items right %",
                    "scale": {"zero": False},
                },
                "color": {
                    "field": "state",
                    "type": "nominal",
                    "scale": {"domain": domain, "range": list(colours)},
                    "legend": legend,
                },
                "shape": {
                    "field": "state",
                    "type": "nominal",
                    "scale": {"domain": domain, "range": list(shapes)},
                    "legend": legend,
                },
                "tooltip": tooltip(state="", x="value", y="right %"),
            },
        },
        panel_width=220,
    )
