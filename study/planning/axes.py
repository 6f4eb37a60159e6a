"""Axes of a space with their data: loaded, cut, split and checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from search_spaces.levels import Level
from search_spaces.recipes import TrainedRecipe
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import ALL
from study.artifacts.plan import LevelSize, PlannedTask
from study.cost.flops import TaskSize, task_size
from study.planning.conditions import split_draw
from study.planning.floor_check import check_floor
from study.planning.hardness.files import with_hardness
from study.planning.pool_checks import check_pools
from trainables.data.draws import TestDraw, axis_test_draw
from trainables.data.level_cuts import quantile_cut
from trainables.data.measures import check_axis, find_measure
from trainables.data.prompts.formats import get_prompt
from trainables.data.splits import make_split, paper_split
from trainables.data.task import Split, SplitTask, TaskData
from trainables.data.tasks.registry import load_task
from trainables.models.chat_templates import plain_name
from trainables.storage.filesystem import Storage


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedAxis:
    """One task axis with what is needed to make its cells."""

    axis: TaskAxis
    task: SplitTask
    size: TaskSize
    test_draw: TestDraw | None = None
    """None: the cells are scored on every test item."""

    @property
    def tested(self) -> tuple[str, ...]:
        """Ids of the test items that the cells are scored on."""
        return self.task.tested_ids(self.test_draw)


def load_tasks(
    space: Space,
    data_root: Path | None,
    storage: Storage | None = None,
    *,
    skip_bad_rows: bool = False,
) -> tuple[Space, dict[str, SplitTask]]:
    """Returns the space with every level as values of its measure, and its tasks, each once.

    Model-based measures cut a task only: its split is made from the task without them.

    Args:
        space: What is asked for.
        data_root: Folder with local copies of data sets; None: the Hub.
        storage: The run folder, which model-based measures are read from.
        skip_bad_rows: Leave out rows that cannot be used, instead of stopping at the first.

    Raises:
        ValueError: If a task is unknown or its data cannot be used, or a level is empty.
    """
    names = dict.fromkeys(axis.task for axis in space.tasks)
    data = {name: load_task(name, data_root, skip_bad_rows) for name in names}
    measured = {name: with_hardness(space, task, storage) for name, task in data.items()}
    space = with_values(space, measured)
    return space, {
        name: SplitTask(data=measured[name], split=_split(space, task))
        for name, task in data.items()
    }


def with_values(space: Space, tasks: Mapping[str, TaskData]) -> Space:
    """Returns the space with every level's bounds as values of its measure.

    Args:
        space: Its levels are values already, or quantiles over all items of the task.
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
    cut = quantile_cut(
        values,
        [level.high for level in axis.train_levels[:-1]],
        [level.name for level in axis.train_levels],
    )
    found: Mapping[str, Level] = {level.name: level for level in cut.levels}
    for level in axis.train_levels:
        if level.name not in found:
            raise ValueError(
                f"{axis.task} by {axis.measure}: level {level.name!r}, quantiles {level.low:g} to "
                f"{level.high:g}, is empty: too many items have one value; give it bounds of its "
                "own"
            )
    return axis.model_copy(
        update={
            "bounds": "values",
            "train_levels": tuple(found[level.name] for level in axis.train_levels),
            "test_levels": tuple(found[level.name] for level in axis.test_levels),
        }
    )


def _split(space: Space, data: TaskData) -> Split:
    if space.split == "paper":
        return paper_split(data)
    axes = [axis for axis in space.tasks if axis.task == data.name]
    bands = {axis.measure: axis.train_levels for axis in axes}
    largest = split_draw(space, data.name)
    return make_split(data, n_train=largest, study_seed=space.study_seed, bands=bands)


def prepare_axis(space: Space, axis: TaskAxis, task: SplitTask) -> PreparedAxis:
    """Returns the axis with its prompts, once it is known that its task can serve it.

    Raises:
        ValueError: If the task lacks the measure, the prompt or items, or has answers of another
            kind than the methods.
    """
    recipes = space.recipes(axis)
    choosing = [recipe for recipe in recipes if recipe.reasoning is None]
    if task.data.free_form and choosing:
        raise ValueError(
            f"task {axis.task} has free answers, and {choosing[0].method} without reasoning "
            "chooses between given ones: give its axis methods=(...) with reasoning=Reasoning()"
        )
    check_axis(task.data, axis)
    check_pools(space, axis, task)
    for recipe in recipes:
        _check_prompt(axis, recipe)
    check_floor(axis, recipes, free_form=task.data.free_form)
    drawn = axis_test_draw(space, axis)
    if drawn is not None and len(task.tested_ids(drawn)) == len(task.split.test):
        drawn = None  # it is the whole test: the same cells as without it
    return PreparedAxis(
        axis=axis, task=task, size=task_size(task, task.tested_ids(drawn)), test_draw=drawn
    )


def _check_prompt(axis: TaskAxis, recipe: TrainedRecipe) -> None:
    name = axis.prompt_of(recipe)
    prompt = get_prompt(axis.task, plain_name(name))
    if recipe.reasoning is not None and not prompt.generates:
        raise ValueError(
            f"prompt {name!r} of {axis.task} has no reasoning in its answer; set "
            "reasoning_prompt to one that has"
        )


def _unmeasured(axis: PreparedAxis) -> tuple[str, ...]:
    """Returns a sentence on items without a value of the measure, where there are any."""
    number, measure = len(axis.task.data.items), axis.axis.measure
    without = number - len(find_measure(axis.task.data, measure))
    if not without or measure in axis.task.data.measured_by:  # which have a note of their own
        return ()
    return (f"{without} of {number} items have no {measure}: they are in no level.",)


def task_facts(axis: PreparedAxis, notes: tuple[str, ...]) -> PlannedTask:
    """Returns what the plan keeps of an axis: source, hashes and counts.

    Args:
        axis: With its task.
        notes: What the plan found, beside what loading and splitting did.
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
        notes=(*axis.task.data.loading_notes, *_unmeasured(axis), *axis.task.split.notes, *notes),
        num_skipped=len(axis.task.data.skipped),
        num_states=axis.size.num_items * axis.size.num_choices,
    )
