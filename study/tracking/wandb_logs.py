"""What finished studies look like in W&B: the aggregation run, and the replay of every cell."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.analysis.contrasts import declared_contrasts
from study.analysis.label_curves import label_curves
from study.analysis.surface import Surface
from study.analysis.surface_rows import Scalar, surface_table
from study.analysis.trends import trend_rows
from study.artifacts.plan import Plan
from study.reporting.content import ViewChoice, choose_views
from study.reporting.sentences import crossing_text
from study.reporting.surface_views.plotly import panel_figure
from study.statistics.recovery import ONE_SEED
from study.tracking.rows import (
    cell_factors,
    cell_row,
    label_curve_rows,
    results_summary,
    trend_row,
    zip_records,
)
from study.tracking.wandb_runs import WandbRuns
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.storage.records import read_curve

MAX_FIGURES = 12
"""Interactive figures of one run; all points are in the table."""

MAX_GAINS = 100
"""Gains of self-training in the summary; the surface's table has all."""

MAX_ROWS = 10_000
"""Rows of one W&B table; the parquet files in the artifact have all."""

TABLES: Mapping[str, Callable[[str], str]] = {
    "self-training audit": layout.audit,
    "failure detectors": layout.detectors,
    "reliability": layout.reliability,
    "selective accuracy": layout.selective,
    "reward models": layout.reward_models,
    "policies": layout.alignment,
}
"""Table in W&B -> the file that the report leaves of it, where the study has such results."""


def log_aggregation(runs: WandbRuns, storage: Storage, plan: Plan, surface: Surface) -> None:
    """Logs the surface as a tidy table, the figures, the contrasts, and the study's files.

    The files are an artifact of plan, items, records and surface: all that the surface is made of.
    """
    wandb = runs.module()
    space = plan.space.name
    run = runs.open(
        "aggregate",
        job_type="aggregate",
        config={"space": space, "level": surface.level, "num_points": len(surface.rows)},
    )
    table = surface_table(surface.rows[:MAX_ROWS])
    data = [list(row.values()) for row in table.to_pylist()]
    run.log({"surface": wandb.Table(columns=table.column_names, data=data)})
    found = _tables(storage, space)
    if found:
        run.log({name: _wandb_table(wandb, table) for name, table in found.items()})
    for name, rows in _row_tables(surface).items():
        if rows:
            run.log({name: _wandb_table(wandb, pa.Table.from_pylist(rows))})
    run.log(_figures(wandb, storage, plan, surface))
    run.summary.update(summarize(plan, surface))
    run.summary.update(results_summary(found))
    artifact = wandb.Artifact(f"study-{space}", type="study")
    files = {
        "plan.json": storage.read_bytes(layout.plan(space)),
        "items.parquet": storage.read_bytes(layout.items(space)),
        "surface.parquet": storage.read_bytes(layout.surface(space)),
        "records.zip": zip_records(storage, sorted(surface.scores.records)),
    }
    for name in found:
        key = TABLES[name](space)
        files[key.rpartition("/")[2]] = storage.read_bytes(key)
    for name, content in files.items():
        with artifact.new_file(name, mode="wb") as stream:
            stream.write(content)
    run.log_artifact(artifact)
    run.finish()


def replay_cells(
    runs: WandbRuns,
    storage: Storage,
    plan: Plan,
    surface: Surface,
    *,
    say: Callable[[str], None],
) -> int:
    """Logs every finished cell as a run of its own, all factors in its config, and its curve.

    A run's id is made of the study's and the cell's, so that a second replay renews the runs
    instead of doubling them. Returns how many cells were logged.
    """
    finished = [cell for cell in plan.cells if cell.id in surface.scores.records]
    for number, planned in enumerate(finished, start=1):
        record = surface.scores.records[planned.id]
        run = runs.open(
            planned.label,
            job_type=planned.condition,
            config=cell_factors(planned),
            run_id=f"{plan.space.name}-{planned.id}",
        )
        run.define_metric("loss", step_metric="optimizer_step")
        for index, step in enumerate(read_curve(storage, planned.id)):
            run.log({"optimizer_step": step.get("step", index), "loss": step.get("loss")})
        row = cell_row(planned, record)
        run.summary.update({name: row[name] for name in row.keys() - cell_factors(planned).keys()})
        run.finish()
        if number % 20 == 0 or number == len(finished):
            say(f"W&B: {number} of {len(finished)} cells")
    return len(finished)


def _figures(wandb: Any, storage: Storage, plan: Plan, surface: Surface) -> dict[str, Any]:
    """The page's interactive surfaces, and the report's PNG copies where they are there."""
    from plotly.graph_objects import Figure  # slow to import, and needed for W&B only

    figures: dict[str, Any] = {}
    for number, view in enumerate(choose_views(surface.rows, ViewChoice())):
        folder = f"surface over {view.x}" if number else "surface"
        for panel in view.panels[: MAX_FIGURES - len(figures)]:
            figure = panel_figure(surface.rows, view, panel)
            figures[f"{folder}/{panel.label or 'all'}"] = wandb.Plotly(Figure(figure))
    folder = layout.report(plan.space.name, "")
    for name in storage.list(folder.rstrip("/")):
        if name.endswith(".png"):
            content = storage.read_bytes(layout.report(plan.space.name, name))
            figures[f"figures/{name.removesuffix('.png')}"] = _image(wandb, content)
    return figures


def _tables(storage: Storage, space: str) -> dict[str, pa.Table]:
    """The report's tables, those that there are."""
    keys = {name: key(space) for name, key in TABLES.items()}
    return {
        name: pq.read_table(io.BytesIO(storage.read_bytes(key)))
        for name, key in keys.items()
        if storage.exists(key)
    }


def _row_tables(surface: Surface) -> dict[str, list[dict[str, Scalar]]]:
    """Tables of which the report leaves no file."""
    return {
        "trends": [trend_row(row) for row in trend_rows(surface)],
        "label curves": [
            row for curves in label_curves(surface) for row in label_curve_rows(curves)
        ],
    }


def _wandb_table(wandb: Any, table: pa.Table) -> Any:
    """A table for W&B; a list (a histogram) is one text, for W&B has no lists."""
    data = [
        [" ".join(map(str, v)) if isinstance(v, list) else v for v in row.values()]
        for row in table.slice(0, MAX_ROWS).to_pylist()
    ]
    return wandb.Table(columns=table.column_names, data=data)


def _image(wandb: Any, content: bytes) -> Any:
    from PIL import Image  # comes with matplotlib

    return wandb.Image(Image.open(io.BytesIO(content)))


def summarize(plan: Plan, surface: Surface) -> dict[str, Any]:
    """Returns the summary of the aggregation run: counts, gains and declared contrasts."""
    counts = surface.counts
    summary: dict[str, Any] = {
        "num_resolved": sum(row.verdict == "resolved" for row in surface.rows),
        "num_points": len(surface.rows),
        "cells_finished": counts.finished,
        "cells_failed": counts.failed,
        "cells_missing": counts.planned - counts.finished,
    }
    one_seed = sum(bool(row.draw_note) for row in surface.rows)
    if one_seed:
        summary["note"] = f"{ONE_SEED} ({one_seed} of {len(surface.rows)} points)"
    gains = [row for row in surface.rows if row.ssrm_gain.estimate is not None]
    for row in gains[:MAX_GAINS]:
        point = row.point
        name = f"gain/{point.model} {point.recipe.method} {point.source} {point.test_level.name}"
        summary[f"{name}/estimate"] = row.ssrm_gain.estimate
        summary[f"{name}/low"] = row.ssrm_gain.low
        summary[f"{name}/high"] = row.ssrm_gain.high
    for entry in label_curves(surface):
        if entry.panel.crossing is not None:
            name = f"crossing/{entry.panel.column} {entry.panel.row} {entry.panel.x_title}"
            summary[name] = crossing_text(entry)
            for end in ("estimate", "low", "high"):
                summary[f"{name}/{end}"] = getattr(entry.panel.crossing, end)
    for result in declared_contrasts(plan, surface):
        name = f"contrast/{result.null} {result.where}"
        summary[f"{name}/estimate"] = result.estimate.estimate
        summary[f"{name}/low"] = result.estimate.low
        summary[f"{name}/high"] = result.estimate.high
        summary[f"{name}/p_holm"] = result.holm_p
    return summary
