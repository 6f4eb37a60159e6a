"""Checks of an axis before anything runs: its pools, its rounds and its zero-shot arm."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.explain import count
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LinearProbe, TrainedRecipe, WeightTraining
from search_spaces.space import Space, TaskAxis
from study.planning.conditions import (
    ResolvedCondition,
    floor_of,
    resolve_conditions,
    split_draw,
    zero_shot_recipe,
)
from trainables.cells.planned import PlannedCell
from trainables.data.draws import DrawnIds
from trainables.data.measures import MADE_OF_GOLD
from trainables.data.prompts.formats import get_prompt
from trainables.data.task import SplitTask
from trainables.models.chat_templates import plain_name
from trainables.self_training.confidence import check_threshold


def check_pools(space: Space, axis: TaskAxis, task: SplitTask) -> None:
    """Checks that the pools of each condition's levels have enough items for its labels.

    Raises:
        ValueError: Naming the level, its size and the number of labels.
    """
    check_measure(space, axis)
    check_labels(axis, task)
    for recipe in space.recipes(axis):
        for resolved in resolve_conditions(axis, recipe).values():
            _check_options(resolved)
            for level, wanted in resolved.wanted:
                size = len(task.pool_ids(axis.measure, level))
                if size < wanted:
                    raise ValueError(_too_few(space, resolved, task, level, size, wanted))
    _check_tests(space, axis, task)


def _check_tests(space: Space, axis: TaskAxis, task: SplitTask) -> None:
    """Checks that every test level has test items; without any it would have no estimate."""
    for level in axis.test_levels:
        if not task.test_ids(axis.measure, level):
            where, band = _where(axis, task, level)
            raise ValueError(
                f"test {where} has {count(band, 'item')} and none of them in the test: a pool has "
                "at least twice the study's largest draw, "
                f"{count(split_draw(space, axis.task), 'label')} of a level; widen the level or "
                "lower n_train of the method that draws most"
            )


def check_measure(space: Space, axis: TaskAxis) -> None:
    """Checks that self-training does not use levels made of gold labels, which would leak them.

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
            f"{min(made)}, a measure that is made of gold labels, so levels and split leak the "
            "labels of unlabelled items; cut the task by another measure, or move that axis to "
            "another space"
        )


def check_labels(axis: TaskAxis, task: SplitTask) -> None:
    """Checks that labels which can be wrong are not used on free answers, which have no choices.

    Raises:
        ValueError: Naming the task, the condition and its labels.
    """
    for condition in axis.conditions:
        kind = condition.labels.kind
        if task.data.free_form and kind in ("noise", "paper noise", "random"):
            raise ValueError(
                f"condition {condition.name!r} of {axis.task} has labels of kind {kind!r}, which "
                "need wrong choices, and the task has free answers: use labels of kind 'gold' or "
                "'trivial', or a task with choices"
            )


def check_round(planned: PlannedCell, task: SplitTask, ids: DrawnIds) -> None:
    """Checks that a round has unlabelled items of every level, and a threshold that fits them.

    Raises:
        ValueError: Naming what does not fit, and what to do.
    """
    options, draws = planned.cell.self_training, planned.draws
    if options is None or draws is None:
        return
    for draw, level_ids in zip(draws.unlabelled, ids.unlabelled, strict=True):
        if not level_ids:
            where = "the pool" if draw.level is None else f"level {draw.level.name!r}"
            raise ValueError(
                f"condition {planned.condition!r} of {task.data.name}: {where} has no unlabelled "
                f"item left for seed {draw.seed} after removing labelled and validation items, "
                "items with the question of any of these or of a test item, and items of earlier "
                "levels; leave the level out, widen it, or label fewer of its items"
            )
    check_threshold(
        options.threshold,
        rule=options.rule,
        scale=options.confidence,
        num_choices={len(item.choices) for level in ids.unlabelled for item in task.by_id(level)},
    )


def _check_options(resolved: ResolvedCondition) -> None:
    """Checks that a recipe supports the options of self-training."""
    condition, recipe = resolved.condition, resolved.recipe
    options = condition.self_training
    if options is None or not resolved.is_served:
        return
    is_smoothed = options.label_smoothing > 0
    if options.start == "continue" and isinstance(recipe, InContext | LinearProbe):
        raise ValueError(
            f"condition {condition.name!r}: start 'continue' needs the weights of the round "
            f"before, and {recipe.method} trains none; use start='restart'"
        )
    if is_smoothed and isinstance(recipe, WeightTraining) and recipe.loss == "text":
        raise ValueError(
            f"condition {condition.name!r}: label_smoothing={options.label_smoothing:g} spreads a "
            f"label over the choices, and {recipe.method} with loss='text' learns from the right "
            "answer alone; use loss='choices' or label_smoothing=0"
        )
    if isinstance(recipe, InContext) and (is_smoothed or options.rule == "softmatch"):
        option = "label_smoothing" if is_smoothed else "rule 'softmatch'"
        raise ValueError(
            f"condition {condition.name!r}: {option} weights examples in a loss, and "
            f"{recipe.method} has no loss, so it would only change the cells' ids; leave it out, "
            "or give the axis methods that train"
        )


def _too_few(
    space: Space,
    resolved: ResolvedCondition,
    task: SplitTask,
    level: Level | None,
    size: int,
    wanted: int,
) -> str:
    axis, recipe, largest = resolved.axis, resolved.recipe, split_draw(space, resolved.axis.task)
    field = "k" if isinstance(recipe, InContext) else "n_train"
    where, band = _where(axis, task, level)
    text = (
        f"{where} has {count(band, 'item')}, of which {size} are in the pool (the rest is for the "
        f"test), and {recipe.method} needs {field}={wanted}: "
    )
    if largest > wanted:
        return text + (
            f"the split is made for the study's largest draw, {largest} labels of a level; widen "
            "the level or lower n_train of the method that draws most"
        )
    return text + f"widen the level or lower {field}"


def _where(axis: TaskAxis, task: SplitTask, level: Level | None) -> tuple[str, int]:
    """Returns how messages name a level, and the number of the task's items in it."""
    values = task.data.measures[axis.measure]
    if level is None:
        return f"{axis.task} by {axis.measure}", len(values)
    band = sum(level.holds(value) for value in values.values())
    name = f"level {level.name!r} of {axis.task} by {axis.measure}"
    return f"{name} [{level.low:g}, {level.high:g}]", band


def check_floor(axis: TaskAxis, recipes: Sequence[TrainedRecipe], *, free_form: bool) -> None:
    """Checks that the floor has choices, or a prompt of the right kind.

    Args:
        axis: Names the floor.
        recipes: Recipes whose SGR it is the zero of.
        free_form: Whether the task's answers are free.

    Raises:
        ValueError: Naming the task, the floor and an alternative.
    """
    if axis.floor == "instructed" and all(recipe.reasoning is None for recipe in recipes):
        raise ValueError(
            f"floor 'instructed' of {axis.task} generates the zero-shot answers of recipes with "
            "reasoning, and its axis has none; leave out floor, or give a recipe "
            "reasoning=Reasoning()"
        )
    for recipe in recipes:
        _check_recipe_floor(axis, recipe, free_form=free_form)


def _check_recipe_floor(axis: TaskAxis, recipe: TrainedRecipe, *, free_form: bool) -> None:
    floor = floor_of(axis, recipe, free_form=free_form)
    where = f"the zero-shot arm of {recipe.method} on {axis.task}"
    if floor == "choices" and free_form:
        raise ValueError(
            f"{where}: floor 'choices' needs choices to score, and the answers of {axis.task} are "
            "free; use floor='instructed'"
        )
    zero_shot = zero_shot_recipe(axis, recipe, free_form=free_form)
    name = axis.prompt_of(zero_shot)
    try:
        prompt = get_prompt(axis.task, plain_name(name))
    except ValueError as error:
        other = "'as_trained'" if free_form else "'choices' or 'as_trained'"
        raise ValueError(f"{where}, floor {floor!r}: {error}; or use floor={other}") from error
    if prompt.generates and zero_shot.reasoning is None:
        raise ValueError(
            f"{where} scores choices, and prompt {name!r} generates its answer; set `prompt` to a "
            "format without reasoning"
        )
