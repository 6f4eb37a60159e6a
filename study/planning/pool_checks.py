"""Refuses levels, recipes and rounds that a task's pools cannot serve."""

from __future__ import annotations

from search_spaces.cell import Cell
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LinearProbe, TrainedRecipe, WeightTraining, num_labels
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import Condition
from study.planning.conditions import _num_checks, _shares, condition_recipe, serves, split_draw
from study.planning.levels import labelled_levels
from trainables.data.draws import CellDraws, DrawnIds
from trainables.data.measures import MADE_OF_GOLD
from trainables.data.task import SplitTask
from trainables.self_training.confidence import check_threshold


def check_pools(space: Space, axis: TaskAxis, task: SplitTask) -> None:
    """Refuses conditions whose levels' pools hold fewer items than their labels.

    Raises:
        ValueError: Naming the level, what it holds, and what was asked for.
    """
    check_measure(space, axis)
    check_labels(axis, task)
    for condition in (*axis.plain_conditions, *axis.conditions):
        levels = labelled_levels(axis, condition)
        for recipe in space.recipes(axis):
            _check_recipe(condition, recipe)
            used = condition_recipe(recipe, condition)
            shares = _shares(num_labels(used) + _num_checks(condition), len(levels))
            for level, wanted in zip(levels, shares, strict=True):
                held = len(task.pool_ids(axis.measure, level))
                if held < wanted:
                    largest = split_draw(space, axis.task)
                    raise ValueError(_too_few(axis, task, level, held, used, wanted, largest))
    _check_tests(space, axis, task)


def _check_tests(space: Space, axis: TaskAxis, task: SplitTask) -> None:
    """Refuses a test level without items: nothing could be said of it once the cells have run."""
    for level in axis.test_levels:
        if not task.test_ids(axis.measure, level):
            where, band = _where(axis, task, level)
            raise ValueError(
                f"test {where} has {band} items and none of them in the test: a pool holds at "
                f"least twice the study's largest draw, {split_draw(space, axis.task)} labels of a "
                "level; widen the level or lower n_train of the method that draws most"
            )


def check_measure(space: Space, axis: TaskAxis) -> None:
    """Refuses self-training on levels that are cut by gold labels: the pool would tell them.

    Raises:
        ValueError: Naming the measure.
    """
    if all(condition.self_training is None for condition in axis.conditions):
        return
    made = {axis.measure for hardness in space.hardness if hardness.makes(axis.measure)}
    # Levels of any axis shape the split, which all axes of the task share.
    made |= {other.measure for other in space.tasks if other.task == axis.task} & MADE_OF_GOLD
    if made:
        raise ValueError(
            f"self-training on {axis.task} by {axis.measure}: the space cuts the task by "
            f"{min(made)}, a measure that is made of gold labels, so levels and split say "
            "something of the labels that the unlabelled items must not have; cut it by another "
            "measure, or give that one a space of its own"
        )


def check_labels(axis: TaskAxis, task: SplitTask) -> None:
    """Refuses labels that can be wrong on a task whose answers are free: it has no wrong ones.

    Raises:
        ValueError: Naming the task, the condition and its labels.
    """
    for condition in axis.conditions:
        kind = condition.labels.kind
        if task.data.free_form and kind in ("noise", "paper noise", "random"):
            raise ValueError(
                f"condition {condition.name!r} of {axis.task} wants labels of kind {kind!r}, which "
                "take a wrong choice, and the task has free answers, with the gold one alone: use "
                "labels of kind 'gold' or 'trivial', or a task with choices"
            )


def check_round(
    cell: Cell, task: SplitTask, condition: Condition, draws: CellDraws, ids: DrawnIds
) -> None:
    """Refuses an unlabelled level without items, and a threshold that does not fit its items.

    Raises:
        ValueError: Naming what does not fit, and what to do.
    """
    options = cell.self_training
    if options is None:
        return
    for draw, found in zip(draws.unlabelled, ids.unlabelled, strict=True):
        if not found:
            where = "the pool" if draw.level is None else f"level {draw.level.name!r}"
            raise ValueError(
                f"condition {condition.name!r} of {cell.task}: {where} has no unlabelled item left "
                f"for seed {draw.seed} once labelled and validation items, what asks the same as "
                "they or a test item, and items of earlier levels are taken out; leave the level "
                "out, widen it, or label fewer of it"
            )
    check_threshold(
        options.threshold,
        rule=options.rule,
        scale=options.confidence,
        num_choices={len(item.choices) for level in ids.unlabelled for item in task.by_id(level)},
    )


def _check_recipe(condition: Condition, recipe: TrainedRecipe) -> None:
    """Refuses options of self-training that the recipe cannot follow, or that change nothing."""
    options = condition.self_training
    if options is None or not serves(condition, recipe):
        return
    is_smoothed = options.label_smoothing > 0
    if options.start == "continue" and isinstance(recipe, InContext | LinearProbe):
        raise ValueError(
            f"condition {condition.name!r}: start 'continue' trains on from the weights of the "
            f"round before, and {recipe.method} has none to go on from; use start='restart'"
        )
    if is_smoothed and isinstance(recipe, WeightTraining) and recipe.loss == "text":
        raise ValueError(
            f"condition {condition.name!r}: label_smoothing={options.label_smoothing:g} spreads a "
            f"label over the choices, and {recipe.method} with loss='text' learns from the right "
            "answer alone; use loss='choices' or label_smoothing=0"
        )
    if isinstance(recipe, InContext) and (is_smoothed or options.rule == "softmatch"):
        what = "label_smoothing" if is_smoothed else "rule 'softmatch'"
        raise ValueError(
            f"condition {condition.name!r}: {what} says how much an example counts in a loss, and "
            f"{recipe.method} has none, so it would be in the cells' ids and in no number; leave "
            "it out, or give the axis methods that train"
        )


def _too_few(
    axis: TaskAxis,
    task: SplitTask,
    level: Level | None,
    held: int,
    recipe: TrainedRecipe,
    wanted: int,
    largest: int,
) -> str:
    field = "k" if isinstance(recipe, InContext) else "n_train"
    where, band = _where(axis, task, level)
    text = (
        f"{where} has {band} items, of which {held} are in the pool (the rest is for the test), "
        f"and {recipe.method} wants {field}={wanted}: "
    )
    if largest > wanted:
        return text + (
            f"the split is made for the study's largest draw, {largest} labels of a level; widen "
            "the level or lower n_train of the method that draws most"
        )
    return text + f"widen the level or lower {field}"


def _where(axis: TaskAxis, task: SplitTask, level: Level | None) -> tuple[str, int]:
    """Returns a level in words, and how many items of the task it holds."""
    values = task.data.measures[axis.measure]
    if level is None:
        return f"{axis.task} by {axis.measure}", len(values)
    band = sum(level.holds(value) for value in values.values())
    name = f"level {level.name!r} of {axis.task} by {axis.measure}"
    return f"{name} [{level.low:g}, {level.high:g}]", band
