"""Refuses a zero-shot arm that could not be scored: SGR would have no zero."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.recipes import TrainedRecipe
from search_spaces.space import TaskAxis
from study.planning.conditions import floor_of, zero_shot_recipe
from trainables.data.prompts.formats import get_prompt
from trainables.models.chat_templates import plain_name


def check_floor(axis: TaskAxis, recipes: Sequence[TrainedRecipe], *, free_form: bool) -> None:
    """Refuses a floor without choices, without a prompt, or with a prompt of the other kind.

    Args:
        axis: Which names the floor.
        recipes: Whose SGR it is the zero of.
        free_form: Whether the task's answers are free.

    Raises:
        ValueError: Naming the task, the floor and what to use in its place.
    """
    if axis.floor == "instructed" and all(recipe.reasoning is None for recipe in recipes):
        raise ValueError(
            f"floor 'instructed' of {axis.task} generates the zero-shot answers of recipes with "
            "reasoning, and its axis has none; leave floor out, or give a recipe "
            "reasoning=Reasoning()"
        )
    for recipe in recipes:
        _check_recipe(axis, recipe, free_form=free_form)


def _check_recipe(axis: TaskAxis, recipe: TrainedRecipe, *, free_form: bool) -> None:
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
