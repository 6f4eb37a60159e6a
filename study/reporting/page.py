"""The page: everything a study found, in one HTML file that opens from disk without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from study.analysis.calibration import CalibrationRow
from study.analysis.contrasts import MEANINGS
from study.analysis.names import outcome, point_label, recipe_labels
from study.analysis.preferences.rewardbench import SUBSETS
from study.analysis.published.comparison import comparison_row
from study.analysis.surface import Surface
from study.analysis.surface_rows import recipe_text
from study.artifacts.plan import Plan
from study.formatting import DASH, number, percent, span
from study.reporting.content import Content
from study.reporting.crossings import crossing_text
from study.reporting.figures.drawing import Drawing
from study.reporting.figures.sensitivity import search_text
from study.reporting.legacy import paper_text
from study.reporting.policy_table import labels_text, source_of
from study.reporting.reward_table import ceiling_text, prior_text
from study.reporting.sentences import question, sentence, verdict
from study.reporting.surface_views.plotly import panel_figure
from study.reporting.surface_views.tiles import hover_text
from study.reporting.surface_views.views import View
from study.reporting.tables import audit_table, cell_table, missing_table, point_table
from study.reporting.terminal import gain_text, residual_text, summary


def render_page(plan: Plan, surface: Surface, content: Content) -> str:
    """Returns index.html."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "data_uri": _data_uri}
    template = environment.from_string(_template("page.html"))
    return template.render(
        plan=plan,
        surface=surface,
        content=content,
        question=question(plan),
        verdict=verdict(surface),
        summary=summary(surface.rows, surface.counts),
        data=Markup(_script_json(_page_data(plan, surface, content))),
        dash=DASH,
        css=Markup(_template("page.css")),
        script=Markup(_template("page.js")),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        ece=_ece_table(content.calibration),
        meanings=MEANINGS,
        p_text=_p_text,
        recipe_text=recipe_text,
        bench_sections=tuple(SUBSETS),
        prior_text=prior_text,
        ceiling_text=ceiling_text,
        labels_text=labels_text,
        paper_text=paper_text,
        comparison_row=comparison_row,
        outcome=outcome,
        source_of=source_of,
        search_text=search_text,
        point_label=point_label,
        percent=percent,
        span=span,
        gain_text=gain_text,
        crossing_text=crossing_text,
        residual_text=residual_text,
    )


def _page_data(plan: Plan, surface: Surface, content: Content) -> dict[str, Any]:
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    return {
        "points": point_table(surface, labels),
        "sentences": [sentence(row, labels, surface.level) for row in surface.rows],
        "hover": [hover_text(row) for row in surface.rows],
        "cells": cell_table(plan, surface),
        "missing": missing_table(plan, surface),
        "audit": audit_table(() if content.self_training is None else content.self_training.lines),
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


def _ece_table(rows: Sequence[CalibrationRow]) -> Mapping[str, Any]:
    """ECE by method and model (down) and condition (across)."""
    conditions = list(dict.fromkeys(row.condition for row in rows))
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        line = lines.setdefault((row.task, row.method, row.model), {})
        line[row.condition] = percent(row.calibration.ece)
    return {"conditions": conditions, "lines": lines}


def _p_text(p_value: float | None) -> str:
    if p_value is None:
        return DASH
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _data_uri(drawing: Drawing) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.svg).decode()}"


def _script_json(value: Any) -> str:
    """JSON that can stand in a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _template(name: str) -> str:
    return files("study.reporting").joinpath("templates", name).read_text(encoding="utf-8")
