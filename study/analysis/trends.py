"""Trend tests over the points of a study: does a gain change with size, gap, noise or labels?

`study.statistics.across_points.trend` estimates the slopes of the numerator contrast, with the
joint covariance of points that share items and draws. SGR values are never regressed.

A trend compares sources of one kind. Clean labels of single levels, with equal numbers of labels,
have trends over model size and difficulty gap. Noise rate and number of labels have trends within
one level. A self-trained source is compared only with itself. Labels of several levels have no
trend, because their gap is that of a mixture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from search_spaces.explain import count
from study.analysis.names import LABEL_COUNTS, recipe_labels
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.statistics.across_points.multiplicity import holm
from study.statistics.across_points.trend import EASY_GAIN, Trend, sgr_trend, trend

_Member = TypeVar("_Member")
_Key = TypeVar("_Key")

NOISE_KINDS = ("noise", "paper noise")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrendRow:
    """Slope of one quantity along one axis, over the points of one task, recipe and source kind."""

    task: str
    method: str
    sources: str
    """What the points have in common, as text."""
    axis: str
    quantity: str
    result: Trend
    holm_p: float | None = None
    """p-value adjusted over all trends of the report; None without a slope."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _TrendGroup:
    """Points that may share a slope, each with its x and its stratum."""

    method: str
    sources: str
    points: Sequence[tuple[SurfaceRow, float, str]]


def trend_rows(surface: Surface) -> tuple[TrendRow, ...]:
    """Returns the slopes of gain and SGR along every axis that the study varies."""
    reader = ArmReader(surface.items, surface.scores)
    estimated = [
        row
        for row in surface.rows
        if row.estimate is not None and row.has_floor and row.role != "control"
    ]
    rows = [
        TrendRow(
            task=task,
            method=group.method,
            sources=group.sources,
            axis=axis,
            quantity=quantity,
            result=result,
        )
        for task, members in _grouped(estimated, _task).items()
        for axis, groups in _AXES.items()
        for group in groups(members)
        for quantity, result in _slopes(reader, group, axis, surface.level)
    ]
    slopes = [row.result.slope for row in rows]
    adjusted = holm([None if slope is None else slope.p_value for slope in slopes])
    return tuple(replace(row, holm_p=p) for row, p in zip(rows, adjusted, strict=True))


def _slopes(
    reader: ArmReader, group: _TrendGroup, axis: str, level: float
) -> Iterator[tuple[str, Trend]]:
    """Yields each quantity with its slope; nothing if no stratum has two different x."""
    strata = _grouped(group.points, lambda point: point[2])
    compared = [
        reader.point_arms(row.point, place=place, stratum=stratum)
        for members in strata.values()
        if len({place for _, place, _ in members}) > 1
        for row, place, stratum in members
    ]
    if not compared:
        return
    yield "gain over zero-shot", trend(compared, EASY_GAIN, level=level)
    if axis in (SIZE, GAP):
        # Along the other axes the gap is constant, so the slope of SGR is that of the gain over it.
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
    """Clean labels have the rate 0 of every kind of noise."""
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
                method=method, sources=f"{count(number, 'label')} of {level}, {kind}", points=placed
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
    """Yields recipe, kind of source and points that may share a slope over size or gap."""
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
