"""Logs finished studies to W&B: the aggregation run, and the replay of every cell."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.analysis.calibration import CALIBRATION_COLUMNS
from study.analysis.contrasts import declared_contrasts
from study.analysis.label_curves import label_curves
from study.analysis.pooled import pooled_rows
from study.analysis.surface import Surface
from study.analysis.surface_columns import COLUMNS
from study.analysis.surface_rows import FLOOR_AT_CHANCE, Interval, Scalar
from study.analysis.trends import trend_rows
from study.artifacts.plan import Plan
from study.reporting.content import ViewChoice, choose_views
from study.reporting.sentences import crossing_text
from study.reporting.surface_views.plotly import panel_figure
from study.statistics.across_points.crossing import Crossing
from study.statistics.recovery import ONE_SEED
from study.tracking.rows import (
    cell_factors,
    cell_results,
    label_curve_rows,
    pooled_row,
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
"""Gains of self-training in the summary; the table of the surface has all."""

MAX_ROWS = 10_000
"""Rows of one W&B table; the parquet files in the artifact have all."""

TABLES: Mapping[str, Callable[[str], str]] = {
    "surface": layout.surface,
    "self-training audit": layout.audit,
    "failure detectors": layout.detectors,
    "reliability": layout.reliability,
    "selective accuracy": layout.selective,
    "calibration": layout.calibration,
    "reward models": layout.reward_models,
    "policies": layout.alignment,
}
"""Table in W&B -> its file in the run folder, which a study without such results lacks."""


def log_aggregation(runs: WandbRuns, storage: Storage, plan: Plan, surface: Surface) -> None:
    """Logs the study's tables, figures, contrasts and files; its tables have been written.

    The files are an artifact: plan, items, records and tables.
    """
    wandb = runs.module()
    space = plan.space.name
    run = runs.open(
        "aggregate",
        job_type="aggregate",
        config={"space": space, "level": surface.level, "num_points": len(surface.rows)},
    )
    keys = {name: key(space) for name, key in TABLES.items() if storage.exists(key(space))}
    contents = {name: storage.read_bytes(key) for name, key in keys.items()}
    tables = {name: pq.read_table(io.BytesIO(content)) for name, content in contents.items()}
    tables |= {
        name: pa.Table.from_pylist(rows) for name, rows in _row_tables(surface).items() if rows
    }
    run.log({name: _wandb_table(wandb, table) for name, table in tables.items()})
    run.log(_figures(wandb, storage, plan, surface))
    run.summary.update(summarize(plan, surface))
    run.summary.update(results_summary(tables))
    files = {
        "plan.json": storage.read_bytes(layout.plan(space)),
        "items.parquet": storage.read_bytes(layout.items(space)),
        "records.zip": zip_records(storage, sorted(surface.scores.records)),
        **{keys[name].rpartition("/")[2]: content for name, content in contents.items()},
    }
    meanings = {column.name: column.help for column in (*COLUMNS, *CALIBRATION_COLUMNS)}
    artifact = wandb.Artifact(f"study-{space}", type="study", metadata={"columns": meanings})
    for name, content in files.items():
        with artifact.new_file(name, mode="wb") as stream:
            stream.write(content)
    run.log_artifact(artifact)
    run.finish()


def replay_cells(runs: WandbRuns, storage: Storage, plan: Plan, surface: Surface) -> None:
    """Logs every finished cell as a run: its factors as the config, its results, its loss curve.

    The ids of study and cell make up the run's id, so a second replay updates the runs instead of
    adding new ones.
    """
    finished = [cell for cell in plan.cells if cell.id in surface.scores.records]
    for number, planned in enumerate(finished, start=1):
        run = runs.open(
            planned.label,
            job_type=planned.condition,
            config=cell_factors(planned),
            run_id=f"{plan.space.name}-{planned.id}",
        )
        run.define_metric("loss", step_metric="optimizer_step")
        for index, step in enumerate(read_curve(storage, planned.id)):
            run.log({"optimizer_step": step.get("step", index), "loss": step.get("loss")})
        run.summary.update(cell_results(surface.scores.records[planned.id]))
        run.finish()
        if number % 20 == 0 or number == len(finished):
            print(f"W&B: {number} of {len(finished)} cells")


def _figures(wandb: Any, storage: Storage, plan: Plan, surface: Surface) -> dict[str, Any]:
    """The page's interactive surfaces, and the report's figures as PNG where it was written."""
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


def _row_tables(surface: Surface) -> dict[str, list[dict[str, Scalar]]]:
    """Tables without a file in the run folder."""
    return {
        "trends": [trend_row(row) for row in trend_rows(surface)],
        "pooled SGR": [pooled_row(row) for row in pooled_rows(surface)],
        "label curves": [
            row for curves in label_curves(surface) for row in label_curve_rows(curves)
        ],
    }


def _wandb_table(wandb: Any, table: pa.Table) -> Any:
    """A table for W&B, which has no lists: a list (a histogram) becomes a text."""
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
    caveats = {
        ONE_SEED: sum(bool(row.draw_note) for row in surface.rows),
        FLOOR_AT_CHANCE: sum(FLOOR_AT_CHANCE in row.caveats for row in surface.rows),
    }
    num_points = len(surface.rows)
    notes = [f"{text} ({n} of {num_points} points)" for text, n in caveats.items() if n]
    if notes:
        summary["note"] = "; ".join(notes)
    gains = [row for row in surface.rows if row.gain_over_start is not None]
    for row in gains[:MAX_GAINS]:
        point = row.point
        name = f"gain/{point.model} {point.recipe.method} {point.source} {point.test_level.name}"
        summary |= _interval(name, row.ssrm_gain)
    for entry in label_curves(surface):
        if entry.panel.crossing is not None:
            name = f"crossing/{entry.panel.column} {entry.panel.row} {entry.panel.x_title}"
            summary |= {name: crossing_text(entry), **_interval(name, entry.panel.crossing)}
    for pooled in pooled_rows(surface):
        name = f"pooled/{pooled.where}, over {pooled.axis}"
        summary |= {f"{name}/{e}": getattr(pooled.result, e) for e in ("value", "low", "high")}
    for result in declared_contrasts(plan, surface):
        name = f"contrast/{result.contrast.name}, {result.where}"
        p_values = {f"{name}/p": result.estimate.p_value, f"{name}/p_holm": result.holm_p}
        summary |= {**_interval(name, result.estimate), **p_values}
    return summary


def _interval(name: str, interval: Interval | Crossing) -> dict[str, float | None]:
    return {f"{name}/{end}": getattr(interval, end) for end in ("estimate", "low", "high")}
