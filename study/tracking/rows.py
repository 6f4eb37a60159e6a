"""Rows of plain values for W&B, and the bundle of a study's records; does not import W&B.

A row holds fields of a plan and a record only, so no path of the machine, environment variable or
address can reach W&B.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search_spaces.cell import Cell
from study.analysis.contrasts import ContrastResult
from study.analysis.label_curves import LabelCurves
from study.analysis.pooled import PooledRow
from study.analysis.preferences.rewardbench import SUBSETS
from study.analysis.surface import Surface
from study.analysis.surface_columns import SSRM_OPTIONS
from study.analysis.surface_rows import Interval, Scalar, recipe_factors, recipe_text
from study.analysis.trends import TrendRow
from study.formatting import GIB
from study.tracking.wandb_runs import statistics_disabled
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.storage.records import Record, parquet_bytes

REWARD_NUMBERS = (
    *("accuracy", "ceiling", "four_sections", "with_prior_sets"),
    *(f"{section}{end}" for section in SUBSETS for end in ("", " low", " high")),
)
"""Numbers of a reward model in the summary, if known."""

MAX_RESULTS = 500
"""Rows of one table in the summary; the table has all."""

SELECTION = {
    "num_pool": "num_pool",
    "num_selected": "num_selected",
    "threshold_in_force": "threshold",
}
"""Number of a round of self-training -> its name in the record."""


def arm_factors(planned: PlannedCell) -> dict[str, Scalar]:
    """Returns everything that the seeds of an arm have in common; W&B cannot group by tags."""
    cell = planned.cell
    level = planned.train_level
    return {
        "model": planned.model_name,
        "model_content": cell.model,
        "dtype": cell.dtype,
        "task": cell.task,
        "measure": planned.measure,
        "method": cell.recipe.method,
        "condition": planned.condition,
        "variant": planned.variant,
        "is_control": planned.is_control,
        "train_level": None if level is None else level.name,
        "label_kind": cell.labels.kind,
        "label_rate": cell.labels.rate,
        **_round_factors(cell),
        "study_seed": cell.study_seed,
        "recipe": recipe_text(cell.recipe),
        **recipe_factors(cell.recipe),
        "search_labels": getattr(cell.recipe, "search_labels", None),
        "data_hash": cell.data_hash,
        "split_hash": cell.split_hash,
    }


def cell_factors(planned: PlannedCell) -> dict[str, Scalar]:
    """Returns the factors of a cell: those of its arm, its seed and its ids."""
    cell = planned.cell
    return {
        **arm_factors(planned),
        "seed": cell.seed,
        "parent": cell.parent,
        "cell_id": planned.id,
    }


def cell_results(record: Record) -> dict[str, Scalar]:
    """Returns what a finished cell measured: its accuracy, times, peak memory and selection."""
    selection = record.selection
    return {
        "accuracy": record.accuracy,
        "unreadable": record.unreadable,
        "num_items": record.num_items,
        "updates": record.updates,
        **{f"seconds_{name}": value for name, value in record.seconds.items()},
        "peak_gib": None if record.peak_memory is None else record.peak_memory / GIB,
        "tokens": record.tokens,
        **({} if statistics_disabled() else {"gpu_utilisation": record.gpu_utilisation}),
        **({name: selection.get(key) for name, key in SELECTION.items()} if selection else {}),
        "host": str(record.execution.get("host", "")),
        "notes": "; ".join(record.notes),
    }


def _round_factors(cell: Cell) -> dict[str, Scalar]:
    """Options and number of a round of self-training; empty for other cells."""
    options = cell.self_training
    if options is None:
        return {}
    return {
        "targets": options.targets,
        "rule": options.rule,
        "threshold": options.threshold,
        **{column: getattr(options, name) for name, column in SSRM_OPTIONS.items()},
        "round": cell.round,
    }


def trend_row(trend: TrendRow) -> dict[str, Scalar]:
    """Returns one trend: its points, its slope (a fraction per unit of the axis) and interval."""
    slope = Interval.of(trend.result.slope)
    return {
        "task": trend.task,
        "method": trend.method,
        "sources": trend.sources,
        "axis": trend.axis,
        "quantity": trend.quantity,
        "num_points": trend.result.num_points,
        "slope": slope.estimate,
        "low": slope.low,
        "high": slope.high,
        "p_value": slope.p_value,
        "p_holm": trend.holm_p,
        "reason": trend.result.reason,
    }


def pooled_row(row: PooledRow) -> dict[str, Scalar]:
    """Returns one pooled SGR with its interval, or the reason why there is none."""
    return {
        "over": row.axis,
        "what": row.where,
        "points": ", ".join(place for place, _ in row.members),
        "num_points": row.result.num_points,
        "sgr": row.result.value,
        "low": row.result.low,
        "high": row.result.high,
        "sd_between_points": row.result.heterogeneity,
        "reason": row.result.reason,
    }


def contrast_row(result: ContrastResult) -> dict[str, Scalar]:
    """Returns one declared contrast with its interval, or the reason why there is none."""
    estimate = result.estimate
    return {
        "contrast": result.contrast.name,
        "where": result.where,
        "estimate": estimate.estimate,
        "low": estimate.low,
        "high": estimate.high,
        "p_value": estimate.p_value,
        "p_holm": result.holm_p,
        "reason": result.reason,
    }


def matrix_rows(surface: Surface) -> list[dict[str, Scalar]]:
    """Returns SGR by source and test level: a row per source, a column per test level.

    Sources are the training levels and other conditions; a point without an estimate is null.
    """
    levels = list(dict.fromkeys(row.point.test_level.name for row in surface.rows))
    rows: dict[tuple[str, ...], dict[str, Scalar]] = {}
    for row in surface.rows:
        point = row.point
        place = {
            "model": point.model,
            "task": point.task,
            "measure": point.measure,
            "recipe": row.recipe_text,
            "method": point.recipe.method,
            "trained on": point.source,
        }
        cells = rows.setdefault(
            tuple(place.values()), {**place, **{f"test {name}": None for name in levels}}
        )
        cells[f"test {point.test_level.name}"] = row.sgr.estimate
    return list(rows.values())


def label_curve_rows(curves: LabelCurves) -> list[dict[str, Scalar]]:
    """Returns a row for each point of each curve; accuracies are fractions."""
    return [
        {
            "model": curves.model,
            "task": curves.task,
            "measure": curves.measure,
            "method": curves.method,
            "test_level": curves.test_level.name,
            "panel": curves.panel.row,
            "axis": curves.axis,
            "x_title": curves.panel.x_title,
            "labels": curve.name,
            "x": point.x,
            "accuracy": point.mean,
            "low": point.low,
            "high": point.high,
            "num_items": point.num_items,
        }
        for curve in curves.panel.curves
        for point in curve.points
    ]


def results_summary(tables: Mapping[str, pa.Table]) -> dict[str, Scalar]:
    """Returns the numbers of reward models, policies and failure detectors for a run's summary.

    Args:
        tables: Those of `surface_run.TABLES` that the study has.
    """
    summary: dict[str, Scalar] = {}
    for row in _rows(tables, "reward models"):
        if row["subset"] is None and row["accuracy"] is not None:
            name = f"reward/{row['task']} {row['model']} {_method(row['recipe'])} {row['source']}"
            numbers = {column: row[column] for column in REWARD_NUMBERS}
            summary |= {f"{name}/{c}": value for c, value in numbers.items() if value is not None}
    for row in _rows(tables, "policies"):
        if row["win_rate"] is not None:
            name = f"wins/{row['model']} {row['source']}: {row['first']} over {row['second']}"
            summary |= {f"{name}/{c}": row[c] for c in ("win_rate", "low", "high", "p_value")}
    if "failure detectors" in tables:
        summary["num_warnings"] = sum(
            row["num_warned"] > 0 for row in tables["failure detectors"].to_pylist()
        )
    return summary


def _rows(tables: Mapping[str, pa.Table], name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables[name].to_pylist() if name in tables else []
    return rows[:MAX_RESULTS]


def _method(recipe: str) -> str:
    return recipe.partition("(")[0]


def zip_records(storage: Storage, cell_ids: Iterable[str]) -> bytes:
    """Returns the records and scores of these cells as one zip file, without generated texts.

    One file, because W&B limits the files of a run and a study can have 10,000 cells. A generated
    answer may repeat its question, and no question goes to W&B: such scores are without their text
    and so without the hash that their record names.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as bundle:
        for id_ in cell_ids:
            record, scores = layout.record(id_), layout.scores(id_)
            # A fixed date: equal records make an equal bundle.
            bundle.writestr(zipfile.ZipInfo(record), storage.read_bytes(record))
            bundle.writestr(zipfile.ZipInfo(scores), _without_texts(storage.read_bytes(scores)))
    return buffer.getvalue()


def _without_texts(scores: bytes) -> bytes:
    table = pq.read_table(io.BytesIO(scores))
    if table["text"].null_count == table.num_rows:
        return scores
    place = table.schema.get_field_index("text")
    nulls = pa.nulls(table.num_rows, pa.string())
    return parquet_bytes(table.set_column(place, table.schema.field(place), nulls))
