"""Trend tests over all points of a study, resolved or not: does SGR change with size or gap?

The statistics are `study.statistics.across_points.trend`'s: slopes of the numerator contrast with
the joint covariance of points that share items and draws. Nothing is regressed on SGR values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from study.analysis.names import recipe_labels
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.statistics.across_points.pooling import PointArms
from study.statistics.across_points.trend import EASY_GAIN, Trend, sgr_trend, trend
from study.statistics.arms import ArmScores


@dataclass(frozen=True, kw_only=True, slots=True)
class TrendRow:
    """One axis against one quantity, over all estimated points of a task and recipe."""

    task: str
    method: str
    axis: str
    quantity: str
    result: Trend


def _log_size(row: SurfaceRow) -> float | None:
    count = row.point.num_params
    return None if not count else math.log10(count)


COVARIATES: Mapping[str, Callable[[SurfaceRow], float | None]] = {
    "log10 of model size": _log_size,
    "difficulty gap": lambda row: row.point.difficulty_gap,
}


def trend_rows(surface: Surface) -> tuple[TrendRow, ...]:
    """Returns the slopes of gain and SGR against model size and difficulty gap."""
    builder = _PointBuilder(surface)
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    groups: dict[tuple[str, str], list[SurfaceRow]] = {}
    for row in surface.rows:
        if row.verdict is not None and row.role != "control":
            task = f"{row.point.task} by {row.point.measure}"
            method = labels[recipe_text(row.point.recipe)]
            # Labels alone and self-training are different lines, each with its own slope.
            method += ", self-training" if row.role == "self-training" else ""
            groups.setdefault((task, method), []).append(row)
    found = []
    for (task, method), rows in groups.items():
        for axis, covariate in COVARIATES.items():
            points = builder.points(rows, covariate)
            if len({point.covariate for point in points}) < 2:
                continue
            slopes = {
                "gain over zero-shot": trend(points, EASY_GAIN, level=surface.level),
                "SGR": sgr_trend(points, level=surface.level),
            }
            found += [
                TrendRow(task=task, method=method, axis=axis, quantity=name, result=result)
                for name, result in slopes.items()
            ]
    return tuple(found)


class _PointBuilder:
    """Arms with item ids, so that points on the same items are known to share them."""

    def __init__(self, surface: Surface) -> None:
        self._reader = ArmReader(surface.items, surface.scores)
        self._ids = {task: np.array(items.ids) for task, items in surface.items.test.items()}

    def points(
        self, rows: list[SurfaceRow], covariate: Callable[[SurfaceRow], float | None]
    ) -> list[PointArms]:
        """Returns the points of these rows that have the covariate."""
        placed = [(row, covariate(row)) for row in rows]
        return [self._point(row, place) for row, place in placed if place is not None]

    def _point(self, row: SurfaceRow, place: float) -> PointArms:
        point = row.point
        where = (point.task, point.measure, point.test_level)
        level = self._reader.test_level(*where)
        ids = tuple(f"{point.task}/{id_}" for id_ in self._ids[point.task][level.columns])
        arms = {"zero_shot": point.zero_shot, "easy": point.easy, "hard": point.hard}
        return PointArms(
            arms={
                name: ArmScores(
                    scores=self._reader.arm(arm, *where).scores,
                    draw_ids=arm.draws,
                    item_ids=ids,
                )
                for name, arm in arms.items()
                if arm is not None
            },
            covariate=place,
            clusters=None
            if level.clusters is None
            else dict(zip(ids, level.clusters, strict=True)),
        )
