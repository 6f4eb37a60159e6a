"""Builds a W&B Report of a study: panels over its runs, and the sentences of the study's report.

wandb-workspaces is optional; without it, or without a key, the result names what is missing.
"""

from __future__ import annotations

import os
from typing import Any

from search_spaces.tuning import RANGES
from study.analysis.names import recipe_labels
from study.analysis.pooled import pooled_rows
from study.analysis.surface import Surface
from study.artifacts.plan import Plan
from study.reporting.findings import findings
from study.reporting.sentences import question, sentence
from study.tracking.surface_run import INTERVAL_CHARTS
from study.tracking.trial_runs import METRIC
from study.tracking.wandb_runs import PROJECT, tracking_mode

MAX_SENTENCES = 40
"""Sentences in the report; the table of the surface run has all points."""

TABLES = ("matrix", "contrasts", "surface")
"""Tables of the surface run that the report shows."""


def save_wandb_report(plan: Plan, surface: Surface) -> str:
    """Saves the report as a draft and returns its address, or what is missing."""
    try:
        import wandb_workspaces.reports.v2 as wr
    except ImportError:
        return "not made: the package wandb-workspaces is missing (pip install wandb-workspaces)"
    report = build_report(wr, plan, surface)
    if tracking_mode() != "online":
        return (
            f"built with {len(report.blocks)} blocks, but not saved without a W&B key (set "
            "WANDB_API_KEY or run `wandb login`)"
        )
    try:
        report.save(draft=True)
    except Exception as error:
        # The service may refuse for many reasons; the study's report does not depend on it.
        return f"not saved: {type(error).__name__}: {error}"
    return f"draft saved: {report.url}"


def build_report(wr: Any, plan: Plan, surface: Surface) -> Any:
    """Returns the report as an object of the given wandb_workspaces.reports.v2."""
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    cells, surface_run, trials = (
        _runset(wr, plan, project, job_type) for job_type in ("cells", "surface", "tuning")
    )
    cells.groupby = ["config.method", "config.condition"]
    found = " ".join(findings(plan, surface))
    loss = wr.CustomChart(
        query={"history": {"keys": ["optimizer_step", "loss", "seed"]}},
        chart_name="wandb/line/v0",
        chart_fields={"x": "optimizer_step", "y": "loss", "stroke": "seed"},
    )
    blocks = [
        wr.H1(text=question(plan)),
        wr.P(text=found),
        wr.H2(text="Surface"),
        wr.PanelGrid(
            runsets=[surface_run],
            panels=[
                wr.MediaBrowser(media_keys=_figures(surface), num_columns=1),
                *(wr.WeavePanelSummaryTable(table_name=name) for name in TABLES),
                *(_interval_chart(wr, name, title) for name, title in INTERVAL_CHARTS.items()),
            ],
        ),
        wr.H2(text="Cells"),
        wr.PanelGrid(
            runsets=[cells],
            panels=[
                wr.BarPlot(title="accuracy", metrics=["accuracy"], groupby="config.condition"),
                loss,
            ],
        ),
        wr.H2(text="Recipe searches"),
        wr.PanelGrid(
            runsets=[trials],
            panels=[
                wr.ParameterImportancePlot(with_respect_to=METRIC),
                wr.ParallelCoordinatesPlot(columns=_columns(wr, surface)),
                wr.LinePlot(title="validation accuracy", x="epoch", y=[METRIC]),
            ],
        ),
        wr.H2(text="Points"),
        wr.UnorderedList(items=_sentences(surface)),
    ]
    # Without a key the package cannot look up the user, and fails without an entity.
    entity = os.environ.get("WANDB_ENTITY", "")
    known = {"entity": entity} if entity or tracking_mode() != "online" else {}
    return wr.Report(
        project=project,
        **known,
        title=f"{plan.space.name}: supervision gap recovered",
        description=found,
        blocks=blocks,
    )


def _interval_chart(wr: Any, name: str, title: str) -> Any:
    """A chart that the surface run logged, with a line per interval."""
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": f"{name}_table"}},
        chart_name="wandb/line/v0",
        chart_fields={"x": title, "y": "place", "stroke": "name"},
        chart_strings={"title": title},
    )


def _columns(wr: Any, surface: Surface) -> list[Any]:
    """Returns the searched parameters of the study's methods, and the validation accuracy."""
    methods = {row.point.recipe.method for row in surface.rows}
    names = dict.fromkeys(name for method in methods for name in RANGES.get(method, ()))
    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(name)) for name in sorted(names)]
    return [*columns, wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(METRIC))]


def _figures(surface: Surface) -> list[str]:
    """The surface, and the forest plot if a pooled SGR has a value."""
    has_forest = any(row.result.value is not None for row in pooled_rows(surface))
    return ["figures/surface", *["figures/forest"] * has_forest]


def _sentences(surface: Surface) -> list[str]:
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    return [sentence(row, labels, surface.level) for row in surface.rows[:MAX_SENTENCES]]


def _runset(wr: Any, plan: Plan, project: str, job_type: str) -> Any:
    filters = f"Group = '{plan.space.name}' and JobType = '{job_type}'"
    return wr.Runset(project=project, name=job_type, filters=filters)
