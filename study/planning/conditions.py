"""What each condition draws, and whether the pools can give it: checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.levels import Level
from search_spaces.recipes import (
    AdapterTraining,
    TrainedRecipe,
    ZeroShot,
    num_labels,
    with_num_labels,
)
from search_spaces.space import Floor, Space, TaskAxis
from search_spaces.supervision import Condition
from study.planning.levels import labelled_levels
from trainables.data.draws import CellDraws, Draw, Use
from trainables.data.prompts.formats import INSTRUCTED
from trainables.models.chat_templates import CHAT


def condition_recipe(recipe: TrainedRecipe, condition: Condition) -> TrainedRecipe:
    """Returns the recipe with the number of labels that the condition asks for."""
    if condition.n_train is None:
        return recipe
    return with_num_labels(recipe, condition.n_train)


def zero_shot_recipe(axis: TaskAxis, recipe: TrainedRecipe, *, free_form: bool) -> ZeroShot:
    """Returns how the untrained base answers: the zero of the recipe's SGR.

    It scores as the recipe does, and a recipe with reasoning has the floor that the axis names. An
    untrained scalar head is random: there the base compares the choices, in all their orders.

    Args:
        axis: Whose floor and prompts count.
        recipe: What the base is trained with.
        free_form: Whether the task's answers are free, so that it has no choices.
    """
    is_scalar = isinstance(recipe, AdapterTraining) and recipe.head == "scalar"
    shared = ZeroShot(
        quantization=recipe.quantization,
        scoring=recipe.scoring,
        orders="all" if is_scalar else recipe.orders,
    )
    floor = floor_of(axis, recipe, free_form=free_form)
    if floor == "choices":
        return shared
    prompt = None if is_scalar else recipe.prompt
    if floor == "instructed":
        is_chat = axis.prompt_of(recipe).startswith(CHAT)
        prompt = f"{CHAT}{INSTRUCTED}" if is_chat else INSTRUCTED
    return shared.model_copy(update={"prompt": prompt, "reasoning": recipe.reasoning})


def floor_of(axis: TaskAxis, recipe: TrainedRecipe, *, free_form: bool) -> Floor:
    """Returns the floor of a recipe, `auto` resolved."""
    if recipe.reasoning is None:
        return "as_trained"
    if axis.floor == "auto":
        return "instructed" if free_form else "choices"
    return axis.floor


def serves(condition: Condition, recipe: TrainedRecipe) -> bool:
    """Says whether a recipe can do what the condition asks for.

    A generated answer has no confidence to select by.
    """
    return condition.self_training is None or recipe.reasoning is None


def cell_draws(
    space: Space, axis: TaskAxis, recipe: TrainedRecipe, condition: Condition, seed: int
) -> CellDraws:
    """Returns what a cell of the condition draws, its unlabelled pool and validation included."""

    def draw(level: Level | None, number: int | None, use: Use) -> Draw:
        return Draw(
            task=axis.task,
            measure=axis.measure,
            level=level,
            n=number,
            study_seed=space.study_seed,
            seed=seed,
            use=use,
        )

    levels = labelled_levels(axis, condition)
    shares = _shares(num_labels(condition_recipe(recipe, condition)), len(levels))
    labelled = tuple(draw(*pair, "train") for pair in zip(levels, shares, strict=True))
    options = condition.self_training
    if options is None:
        return CellDraws(labelled=labelled)
    pools: Sequence[Level | None] = [axis.train_level(name) for name in condition.unlabelled]
    checks = _shares(options.n_validation, len(levels))
    return CellDraws(
        labelled=labelled,
        validation=tuple(
            draw(level, number, "validation")
            for level, number in zip(levels, checks, strict=True)
            if number
        ),
        unlabelled=tuple(
            draw(level, options.max_unlabelled, "unlabelled") for level in pools or [None]
        ),
    )


def policy_draws(space: Space, axis: TaskAxis, seed: int) -> CellDraws:
    """Returns the order in which a policy is asked the pool's questions."""
    draw = Draw(
        task=axis.task,
        measure=None,
        level=None,
        n=None,
        study_seed=space.study_seed,
        seed=seed,
        use="policy",
    )
    return CellDraws(labelled=(draw,))


def split_draw(space: Space, task: str) -> int:
    """Returns the labels of the largest draw that a task's split is made for."""
    axes = [axis for axis in space.tasks if axis.task == task]
    return space.split_for or max(largest_draw(space, axis) for axis in axes)


def largest_draw(space: Space, axis: TaskAxis) -> int:
    """Returns the largest number of labelled items that one level's pool is asked for."""
    wanted = []
    for condition in (*axis.plain_conditions, *axis.conditions):
        levels = labelled_levels(axis, condition)
        for recipe in space.recipes(axis):
            number = num_labels(condition_recipe(recipe, condition)) + _num_checks(condition)
            wanted.append(max(_shares(number, len(levels))))
    return max(wanted)


def _num_checks(condition: Condition) -> int:
    options = condition.self_training
    return 0 if options is None else options.n_validation


def _shares(number: int, parts: int) -> list[int]:
    """Returns a number in whole parts, the first ones larger by one where it does not divide."""
    return [number // parts + (index < number % parts) for index in range(parts)]
