"""The W&B run of a study's surface: tables, forest plots, figures, and the artifact of records."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search_spaces.frozen import digest
from study.analysis.calibration import CALIBRATION_COLUMNS
from study.analysis.contrasts import declared_contrasts
from study.analysis.label_curves import label_curves
from study.analysis.names import brief, point_label, recipe_labels
from study.analysis.pooled import pooled_rows
from study.analysis.surface import Surface
from study.analysis.surface_columns import COLUMNS
from study.analysis.surface_rows import FLOOR_AT_CHANCE, Interval, Scalar, SurfaceRow
from study.analysis.trends import trend_rows
from study.artifacts.plan import Plan
from study.reporting.sentences import crossing_text
from study.statistics.across_points.crossing import Crossing
from study.statistics.across_points.pooled_sgr import PooledSgr
from study.statistics.recovery import ONE_SEED
from study.tracking.cell_groups import RUN_ID_LENGTH
from study.tracking.ledger import RunLedger
from study.tracking.rows import (
    contrast_row,
    label_curve_rows,
    matrix_rows,
    pooled_row,
    results_summary,
    trend_row,
    zip_records,
)
from study.tracking.wandb_runs import WandbRuns
from trainables.storage import layout
from trainables.storage.filesystem import Storage

MAX_INTERVALS = 40
"""Intervals of one forest plot; the tables have all."""

INTERVAL_CHARTS = {"forest": "SGR", "contrasts plot": "first - second"}
"""Chart of intervals -> the title of its x axis."""

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


def log_surface_run(runs: WandbRuns, storage: Storage, plan: Plan, surface: Surface) -> None:
    """Logs the study's tables, charts, figures and files, unless W&B has the same ones.

    The report has been written. The files are an artifact: plan, items, records and tables.
    """
    space = plan.space.name
    keys = {name: key(space) for name, key in TABLES.items() if storage.exists(key(space))}
    contents = {name: storage.read_bytes(key) for name, key in keys.items()}
    entry = digest([hashlib.sha256(content).hexdigest() for content in contents.values()])
    run_id = digest([space, "surface"], length=RUN_ID_LENGTH)
    ledger = RunLedger(storage, space, run_id)
    if entry in ledger and not runs.is_online:
        return
    config = {"space": space, "level": surface.level, "num_points": len(surface.rows)}
    run = runs.open("surface", job_type="surface", config=config, run_id=run_id)
    num_rows = ledger.num_rows
    if runs.is_online:
        num_rows = run.starting_step
        ledger.drop_lost(num_rows)
    if entry not in ledger:
        ledger.add(entry, num_rows + 1)
        files = {keys[name].rpartition("/")[2]: content for name, content in contents.items()}
        tables = {name: pq.read_table(io.BytesIO(content)) for name, content in contents.items()}
        _log(runs.module(), run, tables, storage, plan, surface)
        run.log_artifact(_artifact(runs.module(), files, storage, plan, surface))
    run.finish()


def _log(
    wandb: Any,
    run: Any,
    tables: Mapping[str, pa.Table],
    storage: Storage,
    plan: Plan,
    surface: Surface,
) -> None:
    rows = _row_tables(plan, surface)
    tables = {**tables, **{name: pa.Table.from_pylist(table) for name, table in rows.items()}}
    run.log(
        {
            **{name: _wandb_table(wandb, table) for name, table in tables.items()},
            **_interval_charts(wandb, plan, surface),
            **_figures(wandb, storage, plan),
        }
    )
    run.summary.update(summarize(plan, surface))
    run.summary.update(results_summary(tables))


def _artifact(
    wandb: Any, tables: Mapping[str, bytes], storage: Storage, plan: Plan, surface: Surface
) -> Any:
    space = plan.space.name
    files = {
        "plan.json": storage.read_bytes(layout.plan(space)),
        "items.parquet": storage.read_bytes(layout.items(space)),
        "records.zip": zip_records(storage, sorted(surface.scores.records)),
        **tables,
    }
    meanings = {column.name: column.help for column in (*COLUMNS, *CALIBRATION_COLUMNS)}
    artifact = wandb.Artifact(f"study-{space}", type="study", metadata={"columns": meanings})
    for name, content in files.items():
        with artifact.new_file(name, mode="wb") as stream:
            stream.write(content)
    return artifact


def _interval_charts(wandb: Any, plan: Plan, surface: Surface) -> dict[str, Any]:
    """Forest plots: a horizontal line per interval, from its lower to its upper end."""
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    points = [(point_name(row, labels), row.sgr) for row in surface.rows]
    pooled = [
        (f"pooled over {row.axis}: {row.where}", _pooled(row.result))
        for row in pooled_rows(surface)
    ]
    contrasts = [
        (f"{result.contrast.name}, {result.where}", result.estimate)
        for result in declared_contrasts(plan, surface)
    ]
    intervals = {"forest": [*pooled, *points], "contrasts plot": contrasts}
    return {
        name: chart
        for name, rows in intervals.items()
        if (chart := _interval_chart(wandb, rows, INTERVAL_CHARTS[name])) is not None
    }


def point_name(row: SurfaceRow, labels: Mapping[str, str]) -> str:
    """Returns a point's label with everything that must accompany its SGR."""
    notes = (*map(brief, row.caveats), row.draw_note)
    return "; ".join(filter(None, (point_label(row, labels), *notes)))


def _pooled(result: PooledSgr) -> Interval:
    return Interval(estimate=result.value, low=result.low, high=result.high)


def _interval_chart(wandb: Any, rows: Sequence[tuple[str, Interval]], title: str) -> Any:
    known = [(name, row) for name, row in rows if row.low is not None and row.high is not None]
    data = [
        [value, -number, name]
        for number, (name, row) in enumerate(known[:MAX_INTERVALS], start=1)
        for value in (row.low, row.estimate, row.high)
    ]
    if not data:
        return None
    table = wandb.Table(columns=[title, "place", "name"], data=data)
    return wandb.plot.line(table, x=title, y="place", stroke="name", title=f"{title}, intervals")


def _figures(wandb: Any, storage: Storage, plan: Plan) -> dict[str, Any]:
    """The report's figures as images."""
    folder = layout.report(plan.space.name, "").rstrip("/")
    figures = {}
    for name in sorted(storage.list(folder)):
        if name.endswith(".png"):
            content = storage.read_bytes(layout.report(plan.space.name, name))
            figures[f"figures/{name.removesuffix('.png')}"] = _image(wandb, content)
    return figures


def _row_tables(plan: Plan, surface: Surface) -> dict[str, list[dict[str, Scalar]]]:
    """Tables without a file in the run folder; a table without rows is left out."""
    tables = {
        "matrix": matrix_rows(surface),
        "contrasts": [contrast_row(result) for result in declared_contrasts(plan, surface)],
        "trends": [trend_row(row) for row in trend_rows(surface)],
        "pooled SGR": [pooled_row(row) for row in pooled_rows(surface)],
        "label curves": [
            row for curves in label_curves(surface) for row in label_curve_rows(curves)
        ],
    }
    return {name: rows for name, rows in tables.items() if rows}


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
    """Returns the summary of the surface run: counts, gains and declared contrasts."""
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
