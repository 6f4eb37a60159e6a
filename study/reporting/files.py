"""Writes a report: the page, its figures, and its tables as parquet files."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from study.analysis.calibration import bins_table, calibration_table
from study.analysis.items.accuracy import group_table
from study.analysis.items.influence import influence_table
from study.analysis.preferences.policies import WinRate
from study.analysis.preferences.reward_models import Ceiling, RewardRow
from study.analysis.preferences.rewardbench import SUBSETS
from study.analysis.self_training.detectors import DetectorRow
from study.analysis.self_training.tables import audit_table
from study.analysis.surface import Surface, write_surface
from study.analysis.surface_rows import recipe_text
from study.artifacts.plan import Plan
from study.reporting.content import Content, gather
from study.reporting.page import render_page
from study.reporting.sentences import source_of
from study.reporting.style import Format
from study.reporting.surface_views.downloads import surface_downloads
from trainables.storage import layout
from trainables.storage.filesystem import Storage, written_together

if TYPE_CHECKING:
    from study.reporting.figures.drawing import Drawing

REWARD_SCHEMA = pa.schema(
    {
        "task": pa.string(),
        "model": pa.string(),
        "recipe": pa.string(),
        "source": pa.string(),
        "orders": pa.string(),
        "subset": pa.string(),
        "num_pairs": pa.int64(),
        "num_seeds": pa.int64(),
        "accuracy": pa.float64(),
        "tie_share": pa.float64(),
        **{f"{section}{end}": pa.float64() for section in SUBSETS for end in ("", " low", " high")},
        "Safety (old weights)": pa.float64(),
        "four_sections": pa.float64(),
        "with_prior_sets": pa.float64(),
        "prior_sets": pa.string(),
        "ceiling": pa.float64(),
        "reason": pa.string(),
    }
)
"""Columns of rewards.parquet. `subset` is null in the row of all pairs; rows of subsets have
accuracies only. `low` and `high` are the ends of a section's interval. `ceiling`: accuracy of one
annotator against the others, null if unknown."""


def write_tables(storage: Storage, space: str, content: Content) -> None:
    """Writes a parquet file for each table that the report has."""
    for key, table in _tables(space, content):
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        storage.write_bytes(key, buffer.getvalue())


def _tables(space: str, content: Content) -> Iterator[tuple[str, pa.Table]]:
    if content.calibration:
        yield layout.calibration(space), calibration_table(content.calibration)
        yield layout.calibration_bins(space), bins_table(content.calibration)
    if content.item_accuracy:
        yield layout.item_accuracy(space), group_table(content.item_accuracy)
    if content.influences:
        yield layout.influence(space), influence_table(content.influences)
    if content.rewards:
        yield layout.reward_models(space), reward_table(content.rewards, content.ceilings)
    if content.alignment:
        rows = [_win_rate_columns(row) for row in content.alignment]
        yield layout.alignment(space), pa.Table.from_pylist(rows)
    section = content.self_training
    if section is not None:
        yield layout.audit(space), audit_table(section.audit)
        yield layout.reliability(space), section.reliability
        yield layout.selective(space), section.selective
        names = DetectorRow.__slots__
        columns = {name: [getattr(row, name) for row in section.detectors] for name in names}
        yield layout.detectors(space), pa.table(columns)


def reward_table(rows: Sequence[RewardRow], ceilings: Sequence[Ceiling]) -> pa.Table:
    """Returns rewards.parquet: each row's accuracy over all pairs, then over each subset."""
    ceiling_of = {ceiling.task: ceiling for ceiling in ceilings}
    return pa.Table.from_pylist(
        [line for row in rows for line in _reward_lines(row, ceiling_of.get(row.task))],
        schema=REWARD_SCHEMA,
    )


def _reward_lines(row: RewardRow, ceiling: Ceiling | None) -> Iterator[Mapping[str, object]]:
    names = {name: getattr(row, name) for name in ("task", "model", "recipe", "source", "orders")}
    agreement = None if ceiling is None else ceiling.agreement
    yield {
        **names,
        "num_pairs": row.num_pairs,
        "num_seeds": row.num_seeds,
        "accuracy": row.accuracy,
        "tie_share": row.tie_share,
        **{str(section): mean for section, mean in row.sections.items()},
        **{
            f"{section} {end}": getattr(interval, end)
            for section, interval in row.intervals.items()
            for end in ("low", "high")
        },
        "Safety (old weights)": row.sections_old.get("Safety"),
        "four_sections": row.overall,
        "with_prior_sets": row.overall_with_prior,
        "prior_sets": ", ".join(row.prior_sets) or None,
        "ceiling": None if agreement is None else agreement.accuracy,
        "reason": row.reason,
    }
    for subset, accuracy in row.subsets.items():
        yield {**names, "subset": subset, "num_seeds": row.num_seeds, "accuracy": accuracy}


def _win_rate_columns(row: WinRate) -> dict[str, str | float | int | None]:
    comparison = row.comparison
    return {
        "model": comparison.model,
        "task": comparison.task,
        "reward_recipe": recipe_text(comparison.recipe),
        "source": source_of(comparison),
        "condition": comparison.condition,
        "variant": comparison.variant,
        "threshold": comparison.threshold,
        "ssrm_round": comparison.ssrm_round,
        "first": row.first,
        "second": row.second,
        "win_rate": row.rate.estimate,
        "low": row.rate.low,
        "high": row.rate.high,
        "p_value": row.rate.p_value,
        "first_reward": row.first_reward,
        "second_reward": row.second_reward,
        "label_accuracy": row.label_accuracy,
        "num_questions": row.num_questions,
        "num_samples": row.num_samples,
        "num_seeds": row.num_seeds,
        "reason": row.reason,
    }


def write_report(
    storage: Storage,
    plan: Plan,
    surface: Surface,
    content: Content | None = None,
    *,
    figure_formats: Collection[Format] = (),
) -> str:
    """Writes the page, its tables and surface.parquet; returns the path of the page.

    All files appear together: if one cannot be written, the previous report stays unchanged.

    Args:
        storage: The run folder.
        plan: The study.
        surface: Its surface.
        content: Content of the report; None: gathered here.
        figure_formats: Formats in which the figures for papers are drawn too.
    """
    content = content or gather(storage, plan, surface)
    name = plan.space.name
    page = layout.report(name, "index.html")
    drawings = _draw_figures(plan, surface, content) if figure_formats else ()
    with written_together(storage, last=page) as staged:
        write_surface(staged, plan, surface)
        for drawing in drawings:
            for ending in figure_formats:
                key = layout.report(name, f"{drawing.name}.{ending}")
                staged.write_bytes(key, getattr(drawing, ending))
        write_tables(staged, name, content)
        for file, table in surface_downloads(surface).items():
            staged.write_bytes(layout.report(name, file), table)
        staged.write_bytes(page, render_page(plan, surface, content).encode())
    return storage.path(page)


def _draw_figures(plan: Plan, surface: Surface, content: Content) -> Sequence[Drawing]:
    from study.reporting.paper_figures import draw_figures  # imports Matplotlib

    return draw_figures(plan, surface, content)
