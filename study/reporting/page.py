"""The report page: one HTML file that opens from disk without a network."""

from __future__ import annotations

import base64
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from study.analysis.names import outcome, point_label, recipe_labels
from study.analysis.preferences.rewardbench import SUBSETS
from study.analysis.published.comparison import comparison_row
from study.analysis.surface import Surface
from study.analysis.surface_rows import recipe_text
from study.artifacts.plan import Plan
from study.formatting import DASH, number, percent, span
from study.reporting.content import Content
from study.reporting.figures.drawing import Drawing
from study.reporting.figures.sensitivity import search_text
from study.reporting.html import render, script_json
from study.reporting.legacy import paper_text
from study.reporting.sentences import (
    ceiling_text,
    crossing_text,
    labels_text,
    prior_text,
    question,
    sentence,
    source_of,
)
from study.reporting.surface_views.plotly import panel_figure
from study.reporting.surface_views.tiles import hover_text
from study.reporting.surface_views.views import View
from study.reporting.tables import (
    audit_table,
    calibration_page,
    cell_table,
    missing_table,
    point_table,
)
from study.reporting.terminal import gain_text, residual_text, summary


def render_page(plan: Plan, surface: Surface, content: Content) -> str:
    """Returns index.html."""
    return render(
        "page.html",
        plan=plan,
        surface=surface,
        content=content,
        question=question(plan),
        summary=summary(surface.rows, surface.counts),
        data=Markup(script_json(_page_data(plan, surface, content))),
        dash=DASH,
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        bench_sections=tuple(SUBSETS),
        **{function.__name__.lstrip("_"): function for function in _FUNCTIONS},
    )


def _page_data(plan: Plan, surface: Surface, content: Content) -> dict[str, Any]:
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    return {
        "points": point_table(surface, labels),
        "sentences": [sentence(row, labels, surface.level) for row in surface.rows],
        "hover": [hover_text(row) for row in surface.rows],
        "calibration": calibration_page(content.calibration),
        "cells": cell_table(plan, surface),
        "missing": missing_table(plan, surface),
        "audit": audit_table(content.self_training.lines if content.self_training else ()),
        "views": [_view_data(surface, view) for view in content.views],
    }


def _view_data(surface: Surface, view: View) -> dict[str, Any]:
    return {
        "title": view.title,
        "panels": [
            {
                "label": panel.label or "all points",
                "figure": panel_figure(surface.rows, view, panel, with_hover=False),
            }
            for panel in view.panels
        ],
    }


def _p_text(p_value: float | None) -> str:
    if p_value is None:
        return DASH
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _data_uri(drawing: Drawing) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.svg).decode()}"


_FUNCTIONS = (
    *(ceiling_text, comparison_row, crossing_text, gain_text, labels_text, number, outcome),
    *(paper_text, percent, point_label, prior_text, recipe_text, residual_text, search_text),
    *(source_of, span, _data_uri, _p_text),
)
"""Functions that the template calls, by these names."""
