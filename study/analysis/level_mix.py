"""Level mix: do levels differ in length, answer position or topic, not only in difficulty?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from search_spaces.levels import Level
from search_spaces.supervision import ALL
from study.analysis.surface import Surface
from study.artifacts.items import TaskItems
from study.artifacts.plan import Plan

MAX_TOPICS = 5
"""Topics that are listed; the rest is summed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelMix:
    """Statistics of the items of one level."""

    task: str
    measure: str
    level: str
    part: str
    """`train` (the pool of labelled items) or `test`."""
    num_items: int
    question_words: float
    """Median."""
    answer_chars: float
    """Median."""
    positions: tuple[float, ...]
    """Share of items whose correct choice is the first, the second, ..."""
    topics: tuple[tuple[str, float], ...]
    """Topics with their shares, largest first; empty if the data has no topics."""


def level_mixes(plan: Plan, surface: Surface) -> tuple[LevelMix, ...]:
    """Returns the mix of every training level's pool and of every test level."""
    mixes = []
    for axis in plan.space.tasks:
        pool, test = surface.items.pool[axis.task], surface.items.test[axis.task]
        train_levels: list[Level | None] = list(axis.train_levels)
        train_levels += [None] * axis.train_on_all
        parts: list[tuple[str, TaskItems, list[Level | None]]] = [
            ("train", pool, train_levels),
            ("test", test, list(axis.test_levels)),
        ]
        for part, items, levels in parts:
            for level in levels:
                rows = items.rows_of(axis.measure, level)
                if len(rows):
                    members = items.table.take(pa.array(rows))
                    name = ALL if level is None else level.name
                    mixes.append(_mix(axis.task, axis.measure, name, part, members))
    return tuple(mixes)


def _mix(task: str, measure: str, level: str, part: str, items: pa.Table) -> LevelMix:
    gold = items["gold"].to_numpy()
    return LevelMix(
        task=task,
        measure=measure,
        level=level,
        part=part,
        num_items=items.num_rows,
        question_words=float(np.median(items["question_words"].to_numpy())),
        answer_chars=float(np.median(items["answer_chars"].to_numpy())),
        positions=tuple((np.bincount(gold) / len(gold)).tolist()),
        topics=tuple(_topics(items["topic"])),
    )


def _topics(column: pa.ChunkedArray) -> Iterator[tuple[str, float]]:
    counts = column.drop_null().value_counts().to_pylist()
    ranked = sorted(counts, key=lambda entry: (-entry["counts"], entry["values"]))
    for entry in ranked[:MAX_TOPICS]:
        yield entry["values"], entry["counts"] / len(column)
    rest = sum(entry["counts"] for entry in ranked[MAX_TOPICS:])
    if rest:
        yield f"{len(ranked) - MAX_TOPICS} others", rest / len(column)
