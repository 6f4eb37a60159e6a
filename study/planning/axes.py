"""Axes of a space with their data: loaded, cut, split and checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from search_spaces.explain import count
from search_spaces.levels import Level
from search_spaces.recipes import TrainedRecipe
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import ALL, Condition
from study.artifacts.condition_kinds import condition_label
from study.artifacts.plan import LevelSize, PlannedTask
from study.cost.flops import TaskSize, task_size
from study.planning.axis_checks import check_floor, check_pools
from study.planning.cells import CellFactory, ScoredTask
from study.planning.conditions import ResolvedCondition, resolve_conditions, split_draw
from study.planning.hardness.files import with_hardness
from trainables.data.draws import axis_test_draw
from trainables.data.level_cuts import quantile_cut
from trainables.data.measures import check_axis as check_levels
from trainables.data.measures import find_measure
from trainables.data.prompts.formats import get_prompt
from trainables.data.splits import make_split, paper_split
from trainables.data.task import Split, SplitTask, TaskData
from trainables.data.tasks.registry import load_task
from trainables.models.chat_templates import plain_name
from trainables.storage.filesystem import Storage

MAX_VALUES = 3
"""Values that a note lists; of more it gives the ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedAxis(ScoredTask):
    """One task axis with its task, and its conditions resolved for each of its recipes."""

    axis: TaskAxis
    conditions: Mapping[TrainedRecipe, Mapping[Condition, ResolvedCondition]]
    hardness: Hardness


def load_tasks(
    space: Space,
    data_root: Path | None,
    storage: Storage | None = None,
    *,
    skip_bad_rows: bool = False,
) -> tuple[Space, dict[str, SplitTask]]:
    """Returns the space with every level as values of its measure, and its loaded tasks.

    Model-based measures only cut levels; the split is made without them.

    Args:
        space: The study.
        data_root: Folder with local copies of data sets; None: the Hub.
        storage: The run folder, which model-based measures are read from.
        skip_bad_rows: Leave out rows that cannot be used, instead of stopping at the first.

    Raises:
        ValueError: If a task is unknown or its data cannot be used, or a level is empty.
    """
    names = dict.fromkeys(axis.task for axis in space.tasks)
    data = {
        name: load_task(name, data_root, skip_bad_rows, space.source_of(name)) for name in names
    }
    measured = {name: with_hardness(space, task, storage) for name, task in data.items()}
    space = with_values(space, measured)
    return space, {
        name: SplitTask(data=measured[name], split=_split(space, task))
        for name, task in data.items()
    }


def with_values(space: Space, tasks: Mapping[str, TaskData]) -> Space:
    """Returns the space with every level's bounds as values of its measure.

    Args:
        space: Its levels are values, or quantiles over all items of the task.
        tasks: Task name -> loaded task.

    Raises:
        ValueError: If a task lacks the measure, or ties leave no value for a level.
    """
    axes = tuple(_with_values(axis, tasks[axis.task]) for axis in space.tasks)
    return space if axes == space.tasks else space.model_copy(update={"tasks": axes})


def _with_values(axis: TaskAxis, task: TaskData) -> TaskAxis:
    if axis.bounds == "values":
        return axis
    values = find_measure(task, axis.measure).values()
    levels = quantile_cut(
        values,
        [level.high for level in axis.train_levels[:-1]],
        [level.name for level in axis.train_levels],
    )
    by_name = {level.name: level for level in levels}
    for level in axis.train_levels:
        if level.name not in by_name:
            raise ValueError(
                f"{axis.task} by {axis.measure}: level {level.name!r}, quantiles {level.low:g} to "
                f"{level.high:g}, is empty: too many items have one value; give it its own "
                "bounds"
            )
    return axis.model_copy(
        update={
            "bounds": "values",
            "train_levels": tuple(by_name[level.name] for level in axis.train_levels),
            "test_levels": tuple(by_name[level.name] for level in axis.test_levels),
        }
    )


def _split(space: Space, data: TaskData) -> Split:
    if space.split == "paper":
        return paper_split(data)
    axes = [axis for axis in space.tasks if axis.task == data.name]
    bands = {axis.measure: axis.train_levels for axis in axes}
    largest = split_draw(space, data.name)
    return make_split(data, n_train=largest, study_seed=space.study_seed, bands=bands)


def check_axis(space: Space, axis: TaskAxis, task: SplitTask) -> None:
    """Checks that a task can serve an axis.

    Raises:
        ValueError: If the task lacks the measure, the prompt or items, or has answers of another
            kind than the methods.
    """
    recipes = space.recipes(axis)
    choosing = [recipe for recipe in recipes if recipe.reasoning is None]
    if task.data.free_form and choosing:
        raise ValueError(
            f"task {axis.task} has free answers, and {choosing[0].method} without reasoning needs "
            "choices: give its axis methods=(...) with reasoning=Reasoning()"
        )
    check_levels(task.data, axis)
    check_pools(space, axis, task)
    for recipe in recipes:
        _check_prompt(axis, recipe)
    check_floor(axis, recipes, free_form=task.data.free_form)


def prepare_axis(
    space: Space, axis: TaskAxis, task: SplitTask, size: TaskSize | None = None
) -> PreparedAxis:
    """Returns an axis with what its cells are made of.

    Args:
        space: The study.
        axis: With levels as values of the measure.
        task: Its task.
        size: Of the task; None: counted on its items.
    """
    drawn = axis_test_draw(space, axis)
    if drawn is not None and len(task.tested_ids(drawn)) == len(task.split.test):
        drawn = None  # the whole test: the cells are the same without a draw
    return PreparedAxis(
        axis=axis,
        task=task,
        size=size or task_size(task, task.tested_ids(drawn)),
        test_draw=drawn,
        conditions={recipe: resolve_conditions(axis, recipe) for recipe in space.recipes(axis)},
        hardness=Hardness(task, axis),
    )


class Hardness:
    """Mean hardness of levels over a task's pool, in the unit of the axis."""

    def __init__(self, task: SplitTask, axis: TaskAxis) -> None:
        values = task.data.measures[axis.measure]
        self._task, self._axis = task, axis
        self._values: Mapping[str, float] = values
        self._means: dict[Level | None, float | None] = {}
        if axis.scale == "quantiles":
            ids = [id_ for id_ in task.split.pool if id_ in values]
            in_pool = np.array([values[id_] for id_ in ids])
            # Mean ranks as `scipy.stats.rankdata` gives them; importing it costs every command 1 s.
            ordered = np.sort(in_pool)
            below = np.searchsorted(ordered, in_pool, side="left")
            ranks = (below + np.searchsorted(ordered, in_pool, side="right") + 1) / 2
            percentiles = (ranks - 0.5) / max(len(ids), 1) * 100.0
            self._values = dict(zip(ids, percentiles.tolist(), strict=True))

    def mean(self, level: Level | None) -> float | None:
        """Returns the mean over the level's pool; None if the pool has no item of the level."""
        if level not in self._means:
            ids = self._task.pool_ids(self._axis.measure, level)
            values = [self._values[id_] for id_ in ids]
            self._means[level] = float(np.mean(values)) if values else None
        return self._means[level]

    def gap(self, levels: Iterable[Level | None], test: Level | None) -> float | None:
        """Returns the difficulty gap from labelled levels to a test level; None: to all items."""
        easy, hard = [self.mean(level) for level in levels], self.mean(test)
        known = [value for value in easy if value is not None]
        if hard is None or len(known) < len(easy):
            return None
        return hard - float(np.mean(known))


def _check_prompt(axis: TaskAxis, recipe: TrainedRecipe) -> None:
    name = axis.prompt_of(recipe)
    prompt = get_prompt(axis.task, plain_name(name))
    if recipe.reasoning is not None and not prompt.generates:
        raise ValueError(
            f"prompt {name!r} of {axis.task} has no reasoning in its answer; set "
            "reasoning_prompt to a format that has"
        )


def _unmeasured(axis: PreparedAxis) -> tuple[str, ...]:
    """Returns a sentence on items without a value of the measure, if there are any."""
    number, measure = len(axis.task.data.items), axis.axis.measure
    without = number - len(find_measure(axis.task.data, measure))
    if not without or measure in axis.task.data.measured_by:  # which have another note
        return ()
    return (f"{without} of {count(number, 'item')} have no {measure}: they are in no level.",)


def _overlaps(axis: PreparedAxis) -> Iterator[str]:
    """Yields a sentence for each two levels that share items.

    A test level inside another level is a part of it on purpose.
    """
    measure, trained = axis.axis.measure, set(axis.axis.train_levels)
    values = set(find_measure(axis.task.data, measure).values())
    levels = dict.fromkeys((*axis.axis.train_levels, *axis.axis.test_levels))
    for first, second in combinations(levels, 2):
        is_part = first.contains(second) or second.contains(first)
        shared = sorted(value for value in values if first.holds(value) and second.holds(value))
        if shared and (not is_part or {first, second} <= trained):
            listed = ", ".join(f"{value:g}" for value in shared)
            if len(shared) > MAX_VALUES:
                listed = f"{shared[0]:g} to {shared[-1]:g}"
            yield (
                f"levels {first.name!r} and {second.name!r} overlap: items with {measure} {listed} "
                "are in both."
            )


def task_facts(axis: PreparedAxis, factory: CellFactory) -> PlannedTask:
    """Returns what the plan keeps of an axis: source, hashes, counts and notes.

    Args:
        axis: With its task.
        factory: Has made all cells of the plan.
    """
    named: dict[str, Level | None] = {
        level.name: level for level in (*axis.axis.train_levels, *axis.axis.test_levels)
    }
    named[ALL] = None
    measure = axis.axis.measure
    return PlannedTask(
        task=axis.axis.task,
        measure=measure,
        scale=axis.axis.scale,
        source=axis.task.data.source,
        licence=axis.task.data.licence,
        data_hash=axis.task.data.data_hash,
        split_hash=axis.task.split.split_hash,
        num_test=len(axis.tested),
        levels=tuple(
            LevelSize(
                level=name,
                low=None if level is None else level.low,
                high=None if level is None else level.high,
                pool=len(axis.task.pool_ids(measure, level)),
                test=len(axis.task.test_ids(measure, level, axis.test_draw)),
                whole_test=len(axis.task.test_ids(measure, level)),
            )
            for name, level in named.items()
        ),
        notes=(
            *axis.task.data.loading_notes,
            *_unmeasured(axis),
            *_overlaps(axis),
            *axis.task.split.notes,
            *_small_pools(axis, factory),
        ),
        num_skipped=len(axis.task.data.skipped),
        num_states=axis.size.num_items * axis.size.num_choices,
        mean_tokens=axis.size.tokens_per_item,
        longest_tokens=axis.size.longest_tokens,
    )


def _small_pools(axis: PreparedAxis, factory: CellFactory) -> tuple[str, ...]:
    """Returns a sentence for each condition with an unlabelled level smaller than it asks for."""
    sizes: dict[str, dict[str, set[int]]] = {}
    asked: dict[str, int] = {}
    for planned in factory.planned.values():
        cell, draws = planned.cell, planned.draws
        is_of_axis = (cell.task, planned.measure) == (axis.axis.task, axis.axis.measure)
        if cell.self_training is None or draws is None or not is_of_axis:
            continue
        most = cell.self_training.max_unlabelled
        if most is None:
            continue
        source = condition_label(planned, has_rounds=False)
        asked[source] = most
        levels = sizes.setdefault(source, {})
        for draw, ids in zip(
            draws.unlabelled, factory.ids(axis.task, draws).unlabelled, strict=True
        ):
            name = "the pool" if draw.level is None else draw.level.name
            levels.setdefault(name, set()).add(len(ids))
    return tuple(
        f"{source}: not every level has the requested {asked[source]} unlabelled items: "
        f"{_listed(levels)}."
        for source, levels in sizes.items()
        if min(map(min, levels.values())) < asked[source]
    )


def _listed(levels: Mapping[str, Iterable[int]]) -> str:
    parts = []
    for name, numbers in levels.items():
        low, high = min(numbers), max(numbers)
        parts.append(f"{name} {low}" if low == high else f"{name} {low} to {high}")
    return ", ".join(parts)
