"""Which levels label, which test, and which is hard for whom."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from search_spaces.levels import Level
from search_spaces.space import TaskAxis
from search_spaces.supervision import Condition
from trainables.data.task import SplitTask


def sources(axis: TaskAxis, test_level: Level) -> tuple[Condition, ...]:
    """Returns the source conditions of a test level.

    Neither the hardest training level nor the one that contains the test level is a source: the
    first is no easy supervision, the second is the ceiling itself.
    """
    ceiling = hard_level(axis, test_level)
    left_out = {axis.train_levels[-1].name} | ({ceiling.name} if ceiling else set())
    plain = [condition for condition in axis.plain_conditions if condition.name not in left_out]
    return (*plain, *axis.conditions)


def hard_level(axis: TaskAxis, test_level: Level) -> Level | None:
    """Returns the narrowest training level that contains the test level, if there is one."""
    containing = [level for level in axis.train_levels if level.contains(test_level)]
    return min(containing, key=lambda level: level.high - level.low, default=None)


class Hardness:
    """Mean hardness of levels over a task's pool, in the unit of the axis."""

    def __init__(self, task: SplitTask, axis: TaskAxis) -> None:
        values = task.data.measures[axis.measure]
        self._task, self._axis = task, axis
        self._values: Mapping[str, float] = values
        self._means: dict[Level | None, float | None] = {}
        if axis.scale == "quantiles":
            ids = [id_ for id_ in task.split.pool if id_ in values]
            held = np.array([values[id_] for id_ in ids])
            # Mean ranks as `scipy.stats.rankdata` gives them; importing it costs every command 1 s.
            ordered = np.sort(held)
            below = np.searchsorted(ordered, held, side="left")
            ranks = (below + np.searchsorted(ordered, held, side="right") + 1) / 2
            percentiles = (ranks - 0.5) / max(len(ids), 1) * 100.0
            self._values = dict(zip(ids, percentiles.tolist(), strict=True))

    def mean(self, level: Level | None) -> float | None:
        """Returns the mean over the level's pool; None where the pool holds no such item."""
        if level not in self._means:
            ids = self._task.pool_ids(self._axis.measure, level)
            values = [self._values[id_] for id_ in ids]
            self._means[level] = float(np.mean(values)) if values else None
        return self._means[level]

    def gap(self, condition: Condition, test: Level) -> float | None:
        """Returns the difficulty gap from the condition's labelled levels to the test level."""
        easy = [self.mean(level) for level in labelled_levels(self._axis, condition)]
        hard = self.mean(test)
        known = [value for value in easy if value is not None]
        if hard is None or len(known) < len(easy):
            return None
        return hard - float(np.mean(known))


def labelled_levels(axis: TaskAxis, condition: Condition) -> tuple[Level | None, ...]:
    """Returns the levels that a condition's labels are drawn from, None standing for the pool."""
    return tuple(axis.train_level(name) for name in condition.levels) or (None,)
