"""Accuracy by item hardness and by topic: zero-shot, easiest and hardest labels of each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.analysis.names import recipe_labels
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_columns import (
    FLOAT,
    FRACTION,
    INTEGER,
    TEXT,
    Column,
    declared_table,
    interval_columns,
)
from study.analysis.surface_rows import Interval, recipe_text
from study.artifacts.items import MEASURE
from study.artifacts.plan import Plan
from study.artifacts.points import PlannedArm
from study.formatting import band
from study.statistics.arms import ArmScores
from study.statistics.differences import estimate_contrast

MAX_BINS = 8
"""Groups of a measure: its values if they are as few, else quantiles."""

MIN_ITEMS = 5
"""Fewest test items of a group."""

MAX_TOPICS = 20
"""Topics of a task, the largest first."""

MAX_ARMS = 60
"""Arms of a task, in the order of the plan; `study.items --export` has all."""

TOPIC = "topic"


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupAccuracy:
    """Accuracy of one arm on one group of a task's test items."""

    task: str
    by: str
    """A measure, or `topic`."""
    group: str
    """Range of the measure, or the topic."""
    low: float | None
    """Least value of the measure in the group; None for a topic."""
    high: float | None
    """Largest value of the measure in the group; None for a topic."""
    model: str
    method: str
    condition: str
    num_items: int
    accuracy: Interval


GROUP_COLUMNS: tuple[Column, ...] = (
    Column("task", TEXT, "", "task", "task"),
    Column("by", TEXT, "", "by", "measure that groups the items, or topic"),
    Column("group", TEXT, "", "group", "range of the measure, or the topic"),
    Column("low", FLOAT, "", "low", "least value of the measure in the group"),
    Column("high", FLOAT, "", "high", "largest value of the measure in the group"),
    Column("model", TEXT, "", "model", "base model"),
    Column("method", TEXT, "", "method", "recipe, with the factors that vary"),
    Column("condition", TEXT, "", "condition", "source of supervision"),
    Column("num_items", INTEGER, "items", "num_items", "test items of the group"),
    *interval_columns("accuracy", FRACTION, "mean over items and seeds", has_p_value=False),
)
"""Columns of item_accuracy.parquet, in their order."""


def group_accuracies(plan: Plan, surface: Surface) -> tuple[GroupAccuracy, ...]:
    """Returns the accuracies of finished arms by every measure, and by topic where there are any.

    Arms are zero-shot and the easiest and the hardest training level of each model and method.
    """
    reader = ArmReader(surface.items, surface.scores)
    return tuple(
        row
        for task, arms in _arms(plan, surface, reader).items()
        for by, groups in _groups(plan, surface, task).items()
        for group in groups
        for names, arm in list(arms.items())[:MAX_ARMS]
        if (row := _accuracy(surface, reader, task, by, group, names, arm)) is not None
    )


def group_table(rows: Sequence[GroupAccuracy]) -> pa.Table:
    """Returns item_accuracy.parquet: a row for each arm and group."""
    return declared_table(GROUP_COLUMNS, rows)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _ItemGroup:
    name: str
    low: float | None
    high: float | None
    members: NDArray[np.bool_]
    """[items] which test items of the task are in it."""


_Names = tuple[str, str, str]
"""Model, method and condition of an arm."""


def _arms(
    plan: Plan, surface: Surface, reader: ArmReader
) -> Mapping[str, dict[_Names, PlannedArm]]:
    """Returns the finished arms of each task."""
    ends = {
        (axis.task, axis.measure): (axis.train_levels[0], axis.train_levels[-1])
        for axis in plan.space.tasks
    }
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    arms: dict[str, dict[_Names, PlannedArm]] = {axis.task: {} for axis in plan.space.tasks}
    for row in surface.rows:
        point = row.point
        easiest, hardest = ends[point.task, point.measure]
        method = labels[recipe_text(point.recipe)]
        own = {"zero-shot": point.zero_shot}
        if point.train_level == easiest and point.condition == easiest.name and not point.variant:
            own[easiest.name] = point.easy
        if point.hard_level == hardest and point.hard is not None:
            own[hardest.name] = point.hard
        for condition, arm in own.items():
            if reader.is_finished(arm):
                arms[point.task].setdefault((point.model, method, condition), arm)
    return arms


def _groups(plan: Plan, surface: Surface, task: str) -> Mapping[str, list[_ItemGroup]]:
    """Returns the groups by each measure, those of the axes first, and by topic."""
    table = surface.items.test[task].table
    leading = {MEASURE + axis.measure for axis in plan.space.tasks if axis.task == task}
    names = [name for name in table.column_names if name.startswith(MEASURE)]
    groups = {
        name.removeprefix(MEASURE): list(_bins(table[name].to_numpy().astype(np.float64)))
        for name in sorted(names, key=lambda name: name not in leading)
    }
    groups[TOPIC] = list(_topics(table["topic"].to_pylist()))
    return {
        by: [group for group in found if np.count_nonzero(group.members) >= MIN_ITEMS]
        for by, found in groups.items()
    }


def _bins(values: NDArray[np.float64]) -> Iterator[_ItemGroup]:
    """Yields one group per value if they are few, else groups of about equally many items."""
    known = values[~np.isnan(values)]
    distinct = np.unique(known)
    if len(distinct) < 2:
        return
    starts = distinct
    if len(distinct) > MAX_BINS:
        shares = np.arange(MAX_BINS) / MAX_BINS
        starts = np.unique(np.quantile(known, shares, method="inverted_cdf"))
    for start, end in zip(starts, [*starts[1:], np.inf], strict=True):
        members = (values >= start) & (values < end)
        low, high = float(values[members].min()), float(values[members].max())
        yield _ItemGroup(name=band(low, high), low=low, high=high, members=members)


def _topics(topics: Sequence[str | None]) -> Iterator[_ItemGroup]:
    counts = Counter(topic for topic in topics if topic)
    for topic, _ in counts.most_common(MAX_TOPICS):
        members = np.array([each == topic for each in topics])
        yield _ItemGroup(name=topic, low=None, high=None, members=members)


def _accuracy(
    surface: Surface,
    reader: ArmReader,
    task: str,
    by: str,
    group: _ItemGroup,
    names: _Names,
    arm: PlannedArm,
) -> GroupAccuracy | None:
    """Returns the accuracy of an arm on a group; None if it was not scored on enough of it."""
    whole = reader.arm(arm, task, None, None)
    members = np.flatnonzero(group.members & ~np.isnan(whole.scores).all(axis=1))
    if len(members) < MIN_ITEMS:
        return None
    clusters = reader.test_level(task, None, None).clusters
    scores = ArmScores(scores=whole.scores[members], draw_ids=whole.draw_ids)
    estimate = estimate_contrast(
        {"arm": scores},
        {"arm": 1.0},
        level=surface.level,
        clusters=None if clusters is None else [clusters[row] for row in members.tolist()],
    )
    model, method, condition = names
    return GroupAccuracy(
        task=task,
        by=by,
        group=group.name,
        low=group.low,
        high=group.high,
        model=model,
        method=method,
        condition=condition,
        num_items=len(members),
        accuracy=Interval.of(estimate),
    )
