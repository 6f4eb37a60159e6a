"""Influence of single test items on SGR: how far it moves if the item is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_columns import (
    FLOAT,
    FRACTION,
    SHARE,
    TEXT,
    Column,
    declared_table,
)
from study.analysis.surface_rows import SurfaceRow
from study.statistics.arms import join_arms

MAX_ITEMS = 5
"""Items of a point, those of the largest influence."""

MAX_POINTS = 400
"""Points of a study, the first that have an SGR."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ItemInfluence:
    """One item of a point's test level."""

    row: SurfaceRow
    """The point, which has an SGR."""
    item_id: str
    change: float
    """SGR of the point without the item, minus SGR with it."""
    zero_shot: float
    """Share of the seeds of the zero-shot arm that were right on the item."""
    easy: float
    """Share of the source's seeds that were right on the item."""
    hard: float
    """Share of the hard arm's seeds that were right on the item."""


INFLUENCE_COLUMNS: tuple[Column, ...] = (
    Column("task", TEXT, "", "row.point.task", "task"),
    Column("measure", TEXT, "", "row.point.measure", "hardness measure of the levels"),
    Column("model", TEXT, "", "row.point.model", "base model"),
    Column("recipe", TEXT, "", "row.recipe_text", "recipe with all its factors"),
    Column("source", TEXT, "", "row.point.source", "source of supervision"),
    Column("test_level", TEXT, "", "row.point.test_level.name", "level of the test items"),
    Column("item_id", TEXT, "", "item_id", "test item"),
    Column("change", FLOAT, SHARE, "change", "SGR without the item minus SGR with it"),
    Column("sgr", FLOAT, SHARE, "row.sgr.estimate", "SGR with all items"),
    Column("zero_shot", FLOAT, FRACTION, "zero_shot", "zero-shot seeds right on the item"),
    Column("easy", FLOAT, FRACTION, "easy", "the source's seeds right on the item"),
    Column("hard", FLOAT, FRACTION, "hard", "the hard arm's seeds right on the item"),
)
"""Columns of influence.parquet, in their order."""


def item_influences(surface: Surface, *, max_items: int = MAX_ITEMS) -> tuple[ItemInfluence, ...]:
    """Returns the most influential items of the points that have an SGR, the largest first.

    Leaving item i out of N changes an arm's mean m to (N m - m_i) / (N - 1), with the item's mean
    over seeds m_i. That is exact if every seed scored every item.

    Args:
        surface: Its points.
        max_items: Items per point.
    """
    reader = ArmReader(surface.items, surface.scores)
    rows = [row for row in surface.rows if row.sgr.estimate is not None]
    return tuple(
        influence for row in rows[:MAX_POINTS] for influence in _of_point(reader, row, max_items)
    )


def influence_table(rows: Sequence[ItemInfluence]) -> pa.Table:
    """Returns influence.parquet: the most influential items of each point."""
    return declared_table(INFLUENCE_COLUMNS, rows)


def _of_point(reader: ArmReader, row: SurfaceRow, max_items: int) -> list[ItemInfluence]:
    point = row.point
    arms = {"zero_shot": point.zero_shot, "easy": point.easy, "hard": point.hard}
    joined = join_arms(
        {name: reader.arm(arm, *point.place) for name, arm in arms.items() if arm is not None}
    )
    number = joined.num_items
    if number < 2:
        return []
    items = {name: means.item_means for name, means in joined.means.items()}
    without = {
        name: (number * means.mean - items[name]) / (number - 1)
        for name, means in joined.means.items()
    }
    gap = without["hard"] - without["zero_shot"]
    usable = np.flatnonzero(gap != 0.0)
    changes = (without["easy"] - without["zero_shot"])[usable] / gap[usable]
    changes -= row.sgr.estimate or 0.0
    largest = np.argsort(-np.abs(changes), kind="stable")[:max_items]
    ids = reader.test_level(*point.place).ids
    return [
        ItemInfluence(
            row=row,
            item_id=ids[joined.positions[place]].removeprefix(f"{point.task}/"),
            change=float(change),
            **{name: float(means[place]) for name, means in items.items()},
        )
        for place, change in zip(usable[largest].tolist(), changes[largest].tolist(), strict=True)
    ]
