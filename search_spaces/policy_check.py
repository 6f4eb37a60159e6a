"""Whether the policies of a space can be trained on its reward models, and judged."""

from __future__ import annotations

from collections.abc import Iterable

from search_spaces.recipes import PolicyDPO, TrainedRecipe, WeightTraining

GOLD_REWARD_TASK = "micro_preferences"
"""The task on which any text has a known reward."""


def check_policy(
    policy: PolicyDPO,
    *,
    tasks: Iterable[str],
    recipes: Iterable[TrainedRecipe],
    trains_itself: bool,
) -> None:
    """Refuses policies without reward models before and after, or without a gold reward.

    Args:
        policy: Of the space.
        tasks: Names of the space's tasks.
        recipes: Of its reward models.
        trains_itself: Whether any of its conditions does.

    Raises:
        ValueError: Naming what does not fit.
    """
    if policy.labels != "reward model":
        raise ValueError(
            "policy: its labels are a reward model's; the policy of the gold reward and the "
            f"untrained one are planned beside it; got labels={policy.labels!r}"
        )
    for task in tasks:
        if task != GOLD_REWARD_TASK:
            raise ValueError(
                f"policy: only {GOLD_REWARD_TASK} has a gold reward, got task {task!r}"
            )
    for recipe in recipes:
        if not isinstance(recipe, WeightTraining) or recipe.quantization != "none":
            raise ValueError(
                "policy: reward model and policy share one base, so a reward model is trained by "
                "lora or full fine-tuning with quantization='none'; got "
                f"{recipe.method} with quantization={recipe.quantization!r}"
            )
    if not trains_itself:
        raise ValueError(
            "policy: none of the conditions trains itself, so there is no reward model before and "
            "after; add a condition with self_training=SelfTraining(...)"
        )
