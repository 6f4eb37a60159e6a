"""The paper's block bootstrap (`--legacy-bootstrap`), for comparing tables with the paper.

Do not quote its "mean +/- half-width": for small gaps the interval is far too narrow or too wide
(see `study.statistics.resampling.legacy_bootstrap`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from study.analysis.names import point_label, recipe_labels
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import SurfaceRow
from study.artifacts.plan import Plan
from study.statistics.resampling.legacy_bootstrap import LegacyEstimate, legacy_bootstrap_sgr
from trainables.data.seeding import seed_of

NUM_RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyRow:
    """The paper's estimate of a point, and ours."""

    where: str
    row: SurfaceRow
    paper: LegacyEstimate


def legacy_rows(
    plan: Plan, surface: Surface, *, num_resamples: int = NUM_RESAMPLES
) -> tuple[LegacyRow, ...]:
    """Returns every estimated point with the paper's mean and half-width.

    Each point has its own generator, seeded by the study's seed and the point, so its numbers do
    not depend on the other points.
    """
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    reader = ArmReader(surface.items, surface.scores)
    rows = []
    for row in surface.rows:
        point = row.point
        if row.verdict is None or point.hard is None:
            continue
        where = (point.task, point.measure, point.test_level)
        names = (*point.easy.cells, *point.hard.cells, point.test_level.name)
        seed = seed_of(plan.space.study_seed, "legacy bootstrap", *names)
        paper = legacy_bootstrap_sgr(
            reader.arm(point.zero_shot, *where).scores[:, 0],
            reader.arm(point.easy, *where).scores,
            reader.arm(point.hard, *where).scores,
            rng=np.random.default_rng(seed),
            num_resamples=num_resamples,
        )
        rows.append(LegacyRow(where=point_label(row, labels), row=row, paper=paper))
    return tuple(rows)


def paper_text(paper: LegacyEstimate) -> str:
    """Returns the estimate as the paper prints it."""
    if paper.mean is None or paper.half_width is None:
        return "no finite ratio"
    return f"{paper.mean:.2f} +/- {paper.half_width:.2f}"
