"""Checks that the policies of a space can be trained on its reward models, and judged."""

from __future__ import annotations

from collections.abc import Iterable

from search_spaces.recipes import PolicyDPO, TrainedRecipe, WeightTraining

GOLD_REWARD_TASK = "micro_preferences"
"""The only task with a gold reward for any text."""


def check_policy(
    policy: PolicyDPO,
    *,
    tasks: Iterable[str],
    recipes: Iterable[TrainedRecipe],
    trains_itself: bool,
) -> None:
    """Checks that policies have reward models before and after self-training, and a gold reward.

    Args:
        policy: The policy of the space.
        tasks: Names of the space's tasks.
        recipes: Recipes of its reward models.
        trains_itself: Whether any of its conditions has self-training.

    Raises:
        ValueError: Naming what does not fit.
    """
    if policy.labels != "reward model":
        raise ValueError(
            "policy: labels must be 'reward model'; the plan adds the policies of the gold reward "
            f"and of the untrained base; got labels={policy.labels!r}"
        )
    for task in tasks:
        if task != GOLD_REWARD_TASK:
            raise ValueError(
                f"policy: only {GOLD_REWARD_TASK} has a gold reward, got task {task!r}"
            )
    for recipe in recipes:
        if not isinstance(recipe, WeightTraining) or recipe.quantization != "none":
            raise ValueError(
                "policy: reward model and policy share one base, so train the reward model by lora "
                "or full fine-tuning with quantization='none'; got "
                f"{recipe.method} with quantization={recipe.quantization!r}"
            )
    if not trains_itself:
        raise ValueError(
            "policy: no condition has self-training, so there is no reward model before and after "
            "it; add a condition with self_training=SelfTraining(...)"
        )
