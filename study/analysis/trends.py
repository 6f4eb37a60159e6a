"""Trend tests over the points of a study: does a gain change with size, gap, noise or labels?

The statistics are `study.statistics.across_points.trend`'s: slopes of the numerator contrast with
the joint covariance of points that share items and draws. Nothing is regressed on SGR values.

A trend compares sources of one kind. Clean labels of single levels, all of one number, have trends
over model size and difficulty gap. Noise rate and number of labels are axes of their own, for one
level each. A self-trained source is compared with itself alone. Labels of several levels have no
trend: their gap is that of a mixture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from study.analysis.names import LABEL_COUNTS, recipe_labels
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.statistics.across_points.multiplicity import holm
from study.statistics.across_points.pooling import PointArms
from study.statistics.across_points.trend import EASY_GAIN, Trend, sgr_trend, trend
from study.statistics.arms import ArmScores

_Member = TypeVar("_Member")
_Key = TypeVar("_Key")

NOISE_KINDS = ("noise", "paper noise")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrendRow:
    """One axis against one quantity, over estimated points of one task, recipe and source kind."""

    task: str
    method: str
    sources: str
    """What the points have in common, in words."""
    axis: str
    quantity: str
    result: Trend
    holm_p: float | None = None
    """p-value adjusted over all trends of the report; None where there is no slope."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _TrendGroup:
    """Points that may share a slope, each with its place on the axis and its stratum."""

    method: str
    sources: str
    points: Sequence[tuple[SurfaceRow, float, str]]


def trend_rows(surface: Surface) -> tuple[TrendRow, ...]:
    """Returns the slopes of gain and SGR against every axis that the study varies."""
    builder = _PointBuilder(surface)
    rows = [
        row
        for row in surface.rows
        if row.verdict is not None and row.has_floor and row.role != "control"
    ]
    found = [
        TrendRow(
            task=task,
            method=group.method,
            sources=group.sources,
            axis=axis,
            quantity=quantity,
            result=result,
        )
        for task, members in _grouped(rows, _task).items()
        for axis, groups in _AXES.items()
        for group in groups(members)
        for quantity, result in _slopes(builder, group, axis, surface.level)
    ]
    slopes = [row.result.slope for row in found]
    adjusted = holm({str(i): None if s is None else s.p_value for i, s in enumerate(slopes)})
    return tuple(replace(row, holm_p=adjusted[str(i)]) for i, row in enumerate(found))


def _slopes(
    builder: _PointBuilder, group: _TrendGroup, axis: str, level: float
) -> Iterator[tuple[str, Trend]]:
    """Yields each quantity with its slope; none where no stratum has two places on the axis."""
    strata = _grouped(group.points, lambda point: point[2])
    compared = [
        builder.point(*point)
        for members in strata.values()
        if len({place for _, place, _ in members}) > 1
        for point in members
    ]
    if not compared:
        return
    yield "gain over zero-shot", trend(compared, EASY_GAIN, level=level)
    if axis in (SIZE, GAP):
        # Along the other axes the gap is the same everywhere: SGR's slope is the gain's over it.
        yield "SGR", sgr_trend(compared, level=level)


def _over_size(rows: Sequence[SurfaceRow]) -> Iterator[_TrendGroup]:
    for method, sources, members in _comparable(rows):
        placed = [
            (row, math.log10(count), f"{row.point.source} -> {row.point.test_level.name}")
            for row in members
            if (count := row.point.num_params)
        ]
        yield _TrendGroup(method=method, sources=sources, points=placed)


def _over_gap(rows: Sequence[SurfaceRow]) -> Iterator[_TrendGroup]:
    for method, sources, members in _comparable(rows):
        placed = [
            (row, gap, row.point.model)
            for row in members
            if (gap := row.point.difficulty_gap) is not None
        ]
        yield _TrendGroup(method=method, sources=sources, points=placed)


def _over_noise(rows: Sequence[SurfaceRow]) -> Iterator[_TrendGroup]:
    """Clean labels are the rate 0 of every kind of noise."""
    labels = recipe_labels(row.point.recipe for row in rows)
    for (method, level, number), members in _grouped(
        _of_one_level(rows),
        lambda row: (labels[recipe_text(row.point.recipe)], _level(row), row.point.num_labels),
    ).items():
        for kind in NOISE_KINDS:
            placed = [
                (row, row.point.noise_rate or 0.0, _where(row))
                for row in members
                if row.label_kind in (kind, "gold")
            ]
            yield _TrendGroup(
                method=method, sources=f"{number} labels of {level}, {kind}", points=placed
            )


def _over_labels(rows: Sequence[SurfaceRow]) -> Iterator[_TrendGroup]:
    labels = recipe_labels((row.point.recipe for row in rows), without=LABEL_COUNTS)
    for (method, level), members in _grouped(
        (row for row in _of_one_level(rows) if row.label_kind == "gold"),
        lambda row: (labels[recipe_text(row.point.recipe)], _level(row)),
    ).items():
        placed = [(row, math.log2(row.point.num_labels), _where(row)) for row in members]
        yield _TrendGroup(method=method, sources=f"clean labels of {level}", points=placed)


SIZE, GAP = "log10 of model size", "difficulty gap"

_AXES: dict[str, Callable[[Sequence[SurfaceRow]], Iterator[_TrendGroup]]] = {
    SIZE: _over_size,
    GAP: _over_gap,
    "noise rate": _over_noise,
    "log2 of labels": _over_labels,
}


def _comparable(rows: Sequence[SurfaceRow]) -> Iterator[tuple[str, str, list[SurfaceRow]]]:
    """Yields recipe, kind of source and points: what may share a slope over size or gap."""
    labels = recipe_labels(row.point.recipe for row in rows)
    clean = (row for row in _of_one_level(rows) if row.label_kind == "gold")
    trained = (row for row in rows if row.role == "self-training")
    for (method, number), members in _grouped(
        clean, lambda row: (labels[recipe_text(row.point.recipe)], row.point.num_labels)
    ).items():
        yield method, f"{number} clean labels of one level", members
    for (method, source), members in _grouped(
        trained, lambda row: (labels[recipe_text(row.point.recipe)], row.point.source)
    ).items():
        yield f"{method}, self-training", source, members


def _of_one_level(rows: Iterable[SurfaceRow]) -> Iterator[SurfaceRow]:
    return (row for row in rows if row.role == "labels" and row.point.train_level is not None)


def _level(row: SurfaceRow) -> str:
    return "" if row.point.train_level is None else row.point.train_level.name


def _where(row: SurfaceRow) -> str:
    return f"{row.point.model} on {row.point.test_level.name}"


def _task(row: SurfaceRow) -> str:
    return f"{row.point.task} by {row.point.measure}"


def _grouped(
    members: Iterable[_Member], key: Callable[[_Member], _Key]
) -> dict[_Key, list[_Member]]:
    """Returns the members by key, in the order of their first member."""
    groups: dict[_Key, list[_Member]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return groups


class _PointBuilder:
    """Arms with item ids, so that points on the same items are known to share them."""

    def __init__(self, surface: Surface) -> None:
        self._reader = ArmReader(surface.items, surface.scores)
        self._ids = {task: np.array(items.ids) for task, items in surface.items.test.items()}

    def point(self, row: SurfaceRow, place: float, stratum: str) -> PointArms:
        """Returns the point at its place on the axis."""
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
            stratum=stratum,
            clusters=None
            if level.clusters is None
            else dict(zip(ids, level.clusters, strict=True)),
        )
