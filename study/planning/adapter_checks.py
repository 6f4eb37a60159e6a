"""Architectures that a recipe's adapter has no layer in are refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterable

from search_spaces.recipes import AdapterTraining, Recipe
from trainables.models.source import ModelSource


def check_adapters(sources: Iterable[ModelSource], recipes: Iterable[Recipe]) -> None:
    """Checks that every base model has the layers that the recipes' adapters are put on.

    Raises:
        ValueError: Naming the first model that has not.
    """
    if not any(
        isinstance(recipe, AdapterTraining) and recipe.target_modules == "attention"
        for recipe in recipes
    ):
        return
    from trainables.models.text_layers import check_attention  # with torch

    for source in sources:
        check_attention(source)
