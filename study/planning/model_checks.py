"""Checks of base models before any cell runs: their engines, and layers for adapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from search_spaces.recipes import AdapterTraining, Recipe
from search_spaces.space import Space
from trainables.distributed.engine_check import engine_faults
from trainables.models.source import ModelSource


def check_footprints(space: Space) -> None:
    """Checks that every base model's engine can run every recipe of the space.

    Raises:
        ValueError: Naming the model, the recipe's method and the reason.
    """
    for model in space.models:
        footprint = space.footprint_of(model)
        if space.policy is not None and footprint.engine != "plain":
            raise ValueError(
                f"model {model.name!r} has a footprint with engine {footprint.engine}, and the "
                "space trains policies, which only one worker can sample and train; use engine "
                "plain, or leave out the policy"
            )
        if space.policy is not None and model.dtype == "float16":
            raise ValueError(
                f"model {model.name!r} has dtype float16, and the space trains policies, whose few "
                "updates the loss scale of float16 would partly skip; use dtype bfloat16 or float32"
            )
        for axis in space.tasks:
            for recipe in space.recipes(axis):
                for fault in engine_faults(footprint, model.dtype, recipe):
                    raise ValueError(
                        f"model {model.name!r} has a footprint with engine {footprint.engine}, and "
                        f"the space's {recipe.method} {fault}"
                    )


def check_models(space: Space, models: Mapping[str, ModelSource]) -> None:
    """Checks resolved models: footprints, now that every `auto` dtype is known, and adapters.

    Raises:
        ValueError: Naming the model, and the recipe that it cannot be trained with, or the other
            model that it equals.
    """
    _check_distinct(models)
    resolved = tuple(
        model.model_copy(update={"dtype": models[model.name].dtype}) for model in space.models
    )
    check_footprints(space.model_copy(update={"models": resolved}))
    check_adapters(models.values(), [r for axis in space.tasks for r in space.recipes(axis)])


def _check_distinct(models: Mapping[str, ModelSource]) -> None:
    """Checks that no two names mean one model, whose results would count twice."""
    names: dict[tuple[str, str], str] = {}
    for name, source in models.items():
        other = names.setdefault((source.content, source.dtype), name)
        if other != name:
            raise ValueError(
                f"models {other!r} and {name!r} are one model: their files and their dtype are the "
                "same; leave one of them out"
            )


def check_adapters(sources: Iterable[ModelSource], recipes: Iterable[Recipe]) -> None:
    """Checks that every base model has the layers that the recipes' adapters need.

    Raises:
        ValueError: Naming the first model that lacks them.
    """
    if not any(
        isinstance(recipe, AdapterTraining) and recipe.target_modules == "attention"
        for recipe in recipes
    ):
        return
    from trainables.models.text_layers import check_attention  # with torch

    for source in sources:
        check_attention(source)
