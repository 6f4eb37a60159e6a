"""The surface: the matrix of training and test levels, views over other axes, and every point."""

from __future__ import annotations

from markupsafe import Markup

from study.analysis.surface import Surface
from study.artifacts.plan import Plan
from study.reporting.charts.chart import Chart
from study.reporting.charts.tiles import tile_chart
from study.reporting.content import Content
from study.reporting.findings import findings
from study.reporting.sections.found import extremes_quote
from study.reporting.sections.section import Section
from study.reporting.sentences import sentence
from study.reporting.surface_views.downloads import DOWNLOADS
from study.reporting.surface_views.views import View
from study.reporting.tables import point_table

POINTS = "points"
"""Name of the table of points."""


def surface_section(plan: Plan, surface: Surface, content: Content) -> Section:
    """Returns the heat maps of the surface."""
    resolved, *_ = findings(plan, surface)
    is_any = any(row.sgr.estimate is not None for row in surface.rows)
    extremes = extremes_quote(surface.rows, content.labels) if is_any else resolved
    charts = [
        _chart(number, view, surface, quote=extremes if number == 0 else resolved)
        for number, view in enumerate(content.views)
    ]
    return Section(
        name="surface",
        title="The surface",
        label="Surface",
        blocks=[
            "SGR = (source - zero-shot) / (hard - zero-shot), all three on the same test items: 1 "
            "means that easier labels do as well as hard ones, 0 that they add nothing to "
            "zero-shot.",
            *charts,
        ],
    )


def _chart(number: int, view: View, surface: Surface, *, quote: str) -> Chart:
    name = "surface" if number == 0 else f"surface-{number + 1}"
    return tile_chart(name, surface.rows, view, quote=quote, table=POINTS, is_folded=number > 0)


def points_section(surface: Surface, content: Content) -> Section:
    """Returns the table of points with a sentence each."""
    sentences = [sentence(row, content.labels, surface.level) for row in surface.rows]
    return Section(
        name="every-point",
        title="Point by point",
        label="Points",
        blocks=[
            "Each point has a sentence to quote. Accuracies are in %, on the items of the test "
            "level; hard - source is a paired difference in points; q is its p-value adjusted for "
            "all points (false discovery rate), for exploration only.",
            _downloads(),
            point_table(surface, content.labels, sentences),
        ],
    )


def _downloads() -> Markup:
    """Returns links to the files of the table, which are next to the page."""
    link = Markup('<a href="{}" download>{}</a>')
    links = Markup(", ").join(link.format(file, name) for name, file in DOWNLOADS.items())
    return Markup("The same points as {}.").format(links)
