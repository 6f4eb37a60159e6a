"""The levels that a task's split is stratified by, so that each has a pool and a test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from search_spaces.levels import Level
from trainables.data.level_cuts import single_levels
from trainables.data.measures import MADE_OF_GOLD
from trainables.data.task import TaskData


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitColumn:
    """A level for the split."""

    name: str
    measure: str
    level: Level
    is_band: bool
    is_easiest: bool
    is_guarded: bool = True
    """Whether the pool keeps items for it; False: test and pool have the same share of it."""


def columns_of(task: TaskData, bands: Mapping[str, tuple[Level, ...]]) -> Iterator[SplitColumn]:
    """Yields the standard levels, then the custom bands of a space, in a fixed order.

    For a shipped task all of them are guarded, so that its split is the same for all spaces that
    train on standard levels. A user's own data is often too small for that, so its split guards
    only the levels that the space trains on. A space whose levels are all cut by models has no such
    level yet, so its split guards all of them.

    Args:
        task: The loaded task.
        bands: Measure -> the space's training levels.
    """
    columns = [*_standard_columns(task, bands), *_own_columns(task, bands)]
    guarded = [column for column in columns if _is_trained_on(column, bands)]
    if not task.is_own_data or not guarded:
        yield from columns
        return
    for column in guarded:
        lowest = _lowest(bands[column.measure])
        yield replace(column, is_easiest=column.level.low == lowest)
    # After the guarded ones, whose pools are then exact: the draw rounds along the last columns.
    for column in columns:
        if column not in guarded:
            yield replace(column, is_guarded=False)


def _is_trained_on(column: SplitColumn, bands: Mapping[str, tuple[Level, ...]]) -> bool:
    bounds = _bounds(bands.get(column.measure, ()))
    return (column.level.low, column.level.high) in bounds


def _standard_columns(
    task: TaskData, bands: Mapping[str, tuple[Level, ...]]
) -> Iterable[SplitColumn]:
    """Yields each measure's standard levels, then its other single values.

    A single value that the space trains on is a band and keeps its place, so that the order of the
    columns, which the draw depends on, is the same with and without it.
    """
    for measure, cut in sorted(task.cuts.items()):
        custom = bands.get(measure, ())
        if measure in MADE_OF_GOLD and not custom:
            continue  # the pool must not depend on its gold answers
        for level in cut:
            yield SplitColumn(
                name=f"{measure} {level.name}",
                measure=measure,
                level=level,
                is_band=True,
                is_easiest=level == cut[0],
            )
        bounds = _bounds(cut)
        for level in single_levels(task.measures[measure].values()):
            if (level.low, level.high) not in bounds:
                is_band = (level.low, level.high) in _bounds(custom)
                yield SplitColumn(
                    name=f"{measure} {level.name}",
                    measure=measure,
                    level=level,
                    is_band=is_band,
                    is_easiest=is_band and level.low == _lowest(custom),
                )


def _own_columns(task: TaskData, bands: Mapping[str, tuple[Level, ...]]) -> Iterable[SplitColumn]:
    """Yields the bands that are neither standard levels nor single values, each once."""
    for measure in sorted(bands.keys() & task.measures.keys()):
        custom = bands[measure]
        singles = single_levels(task.measures[measure].values()) if measure in task.cuts else ()
        known = _bounds((*task.cuts.get(measure, ()), *singles))
        by_bounds = {(level.low, level.high): level for level in custom}
        for (low, high), level in sorted(by_bounds.items(), key=lambda pair: pair[0]):
            if (low, high) not in known:
                yield SplitColumn(
                    name=f"{measure} {low:g} to {high:g}",
                    measure=measure,
                    level=level,
                    is_band=True,
                    is_easiest=low == _lowest(custom),
                )


def _bounds(levels: Iterable[Level]) -> set[tuple[float, float]]:
    return {(level.low, level.high) for level in levels}


def _lowest(levels: Iterable[Level]) -> float:
    return min(level.low for level in levels)
