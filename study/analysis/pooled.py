"""Pooled SGR of a study: over its tasks, its models and its test levels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from study.analysis.names import recipe_labels
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.statistics.across_points.pooled_sgr import PooledSgr, pooled_sgr


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledRow:
    """SGR of one source, pooled along one axis."""

    axis: str
    """`tasks`, `models` or `test levels`."""
    where: str
    """What the points have in common."""
    members: tuple[tuple[str, SurfaceRow], ...]
    """Each point with its place on the axis."""
    result: PooledSgr


def pooled_rows(surface: Surface) -> tuple[PooledRow, ...]:
    """Returns the pooled SGR of every source along every axis with at least two places.

    Sources are those of the trends: no controls, and only points whose zero-shot can be the floor.
    Over tasks and models, points are those at the hardest training level; over test levels, those
    that do not overlap.
    """
    rows = [
        row
        for row in surface.rows
        if row.estimate is not None and row.has_floor and row.role != "control"
    ]
    labels = recipe_labels(row.point.recipe for row in rows)
    reader = ArmReader(surface.items, surface.scores)
    groups: dict[tuple[str, str], dict[str, SurfaceRow]] = {}
    for row in rows:
        for axis, place, where in _places(row, labels[recipe_text(row.point.recipe)]):
            groups.setdefault((axis, where), {}).setdefault(place, row)
    pooled = []
    for (axis, where), group in groups.items():
        members = tuple(_disjoint(group) if axis == "test levels" else group.items())
        if len(members) > 1:
            points = [reader.point_arms(row.point) for _, row in members]
            result = pooled_sgr(points, level=surface.level)
            pooled.append(PooledRow(axis=axis, where=where, members=members, result=result))
    return tuple(pooled)


def _places(row: SurfaceRow, method: str) -> Iterator[tuple[str, str, str]]:
    """Yields each axis with the row's place on it and what it shares with its group."""
    point = row.point
    task = f"{point.task} by {point.measure}"
    test = point.test_level.name
    if point.test_level == point.hard_level:
        yield "tasks", task, f"{point.model}, {method}, {point.source} -> {test}"
        yield "models", point.model, f"{method}, {point.source} -> {test}, {task}"
    yield "test levels", test, f"{point.model}, {method}, {point.source}, {task}"


def _disjoint(group: dict[str, SurfaceRow]) -> list[tuple[str, SurfaceRow]]:
    """The levels of a group in their order, without those that overlap with one before."""
    kept: list[tuple[str, SurfaceRow]] = []
    for place, row in group.items():
        level = row.point.test_level
        others = [other.point.test_level for _, other in kept]
        if all(level.high < other.low or other.high < level.low for other in others):
            kept.append((place, row))
    return kept
