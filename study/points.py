"""Points: the rows of the surface, each with the cells that its three arms are made of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from search_spaces.recipes import PolicyDPO, Recipe, ZeroShot
from search_spaces.space import Level, TaskAxis
from search_spaces.supervision import Condition, SelfTraining
from search_spaces.values import Value
from trainables.task_data import SplitTask

NO_HARD_ARM = "no training level contains the test level"


class Arm(Value):
    """One arm of a point: its cells, one a seed, each with the id of its draw."""

    cells: tuple[str, ...]
    draws: tuple[str, ...] = ()
    """Empty for the zero-shot arm, which has no draw."""


class Point(Value):
    """One row of the surface: a source condition on one test level."""

    model: str
    num_params: int | None
    task: str
    measure: str
    recipe: Recipe
    condition: str
    """The source of supervision: a training level's name, `all`, or one of the space's own."""
    variant: str = ""
    """What tells the condition from others of its name, in words (`study.variants`)."""
    train_level: Level | None
    """None where the labels are not of exactly one level."""
    test_level: Level
    hard_level: Level | None
    """The training level that contains the test level."""
    difficulty_gap: float | None
    """Mean hardness of the test level minus that of the labelled levels, over the pools."""
    num_labels: int
    """Labelled items of one seed of the source, those that only calibrate counted."""
    label_cost: float = 1.0
    """Price of one label, in labels of the easiest level."""
    noise_rate: float | None = None
    """Where labels are noisy: for `noise` the share of labels that are wrong, the stated rate
    rounded to whole labels; for `paper noise` the stated rate, at which labels are redrawn, the
    right one among what is drawn from."""
    threshold: float | None = None
    """Of a self-trained source: what the confidence had to exceed."""
    ssrm_round: int | None = None
    """Of a self-trained source: its round, from 1."""
    self_training: SelfTraining | None = None
    """Of a self-trained source: all its options."""
    pool_overlap: float
    """Expected share of labelled items that two seeds' draws have in common: the larger of the
    two trained arms'."""
    zero_shot: Arm
    easy: Arm
    hard: Arm | None
    start: Arm | None = None
    """For a self-trained source: the arm it started from, and shares draws with."""
    reason: str | None = None
    """Why there can be no estimate, where that is known before anything runs."""

    @property
    def search_labels(self) -> int | None:
        """Labels that the search of its recipe used, beside `num_labels`; None: no search."""
        return None if isinstance(self.recipe, ZeroShot | PolicyDPO) else self.recipe.search_labels

    @property
    def source(self) -> str:
        """The condition with what tells it from others of its name."""
        parts = [self.condition, self.variant] if self.variant else [self.condition]
        if self.threshold is not None:
            parts.append(f"tau {self.threshold:g}")
        if self.ssrm_round is not None:
            parts.append(f"round {self.ssrm_round}")
        return " ".join(parts)


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
