"""The report page: one HTML file that opens from disk without a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from study.analysis.surface import Surface
from study.analysis.surface_rows import Scalar
from study.artifacts.plan import Plan
from study.reporting.charts import vega
from study.reporting.charts.chart import Chart
from study.reporting.charts.filters import Filters
from study.reporting.content import Content
from study.reporting.html import render, script_json
from study.reporting.sections.page_sections import page_sections
from study.reporting.sections.section import Bullets, Heading, Section
from study.reporting.sentences import question
from study.reporting.style import DARK_COLOURS
from study.reporting.surface_views.tiles import hover_lines
from study.reporting.tables import PageTable
from study.reporting.terminal import summary

MAX_ENCODED_SHARE = 0.5
"""Share of distinct texts of a column up to which they are stored once."""


def render_page(plan: Plan, surface: Surface, content: Content) -> str:
    """Returns index.html: a template, one JSON of all rows, and one script."""
    sections = page_sections(plan, surface, content)
    return render(
        "page.html",
        name=plan.space.name,
        question=question(plan),
        findings=content.findings,
        summary=summary(surface.rows, surface.counts),
        sections=sections,
        kind_of=_kind_of,
        data=Markup(script_json(_page_data(surface, sections))),
        vega=Markup(vega.scripts()),
    )


def _kind_of(block: object) -> str:
    """Returns which part of the template shows a block."""
    names = {Chart: "chart", PageTable: "table", Bullets: "bullets", Heading: "heading"}
    return names.get(type(block), "text")


def _page_data(surface: Surface, sections: Sequence[Section]) -> dict[str, Any]:
    hover = [hover_lines(row) for row in surface.rows]
    tables = [table for section in sections for table in section.tables]
    charts = [chart for section in sections for chart in section.charts]
    return {
        "filters": Filters._fields,
        "tables": {table.name: _table_data(table) for table in tables},
        "charts": {chart.name: _chart_data(chart) for chart in charts},
        "hover": [lines for *lines, _ in hover],
        "recipes": _encoded([recipe for *_, recipe in hover]),
        "dark": DARK_COLOURS,
    }


def _table_data(table: PageTable) -> dict[str, Any]:
    return {
        "caption": table.caption,
        "columns": [
            {"name": column.name, "kind": column.kind, "help": column.help or None}
            for column in table.columns
        ],
        "values": [_encoded(values) for values in _transposed(table.rows, len(table.columns))],
        "filters": [
            _encoded(values) for values in _transposed(table.filters, len(Filters._fields))
        ],
        "sentences": list(table.sentences),
    }


def _chart_data(chart: Chart) -> dict[str, Any]:
    names = list(dict.fromkeys(name for row in chart.rows for name in row.values))
    values = [[row.values.get(name) for name in names] for row in chart.rows]
    filters = [row.filters for row in chart.rows]
    return {
        "title": chart.title,
        "reading": chart.reading,
        "columns": names,
        "values": [_encoded(column) for column in _transposed(values, len(names))],
        "filters": [_encoded(column) for column in _transposed(filters, len(Filters._fields))],
        "spec": chart.spec,
        "width": chart.panel_width,
        "pageBy": chart.page_by,
        "pageSize": chart.page_size,
    }


def _transposed(rows: Sequence[Sequence[Scalar]], width: int) -> Iterable[list[Scalar]]:
    return ([row[i] for row in rows] for i in range(width))


def _encoded(values: list[Scalar]) -> list[Scalar] | Mapping[str, list[Any]]:
    """Returns a column as its values, or as distinct texts and their numbers if many repeat."""
    distinct = list(dict.fromkeys(values))
    is_text = any(isinstance(value, str) for value in distinct)
    if not (is_text or distinct == [None]) or len(distinct) > MAX_ENCODED_SHARE * len(values):
        return values
    number_of = {value: number for number, value in enumerate(distinct)}
    return {"of": distinct, "at": [number_of[value] for value in values]}
