"""Which policies of a study are compared, before and after self-training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from search_spaces.recipes import PolicyDPO, Recipe
from search_spaces.supervision import Condition
from study.artifacts.points import PlannedArm
from study.artifacts.policies import PolicyComparison


class PolicyArms(Protocol):
    """Plans the cells of one base model and recipe on one axis."""

    def labelled(self, condition: Condition) -> PlannedArm:
        """Returns the arm of the condition's labels alone."""

    def self_trained(self, condition: Condition, number: int) -> PlannedArm:
        """Returns the arm of a round of the condition's self-training."""

    def policy(self, recipe: PolicyDPO, name: str, reward_models: PlannedArm | None) -> PlannedArm:
        """Returns the arm of policies, one a seed."""


def compare_policies(
    policy: PolicyDPO,
    arms: PolicyArms,
    condition: Condition,
    *,
    model: str,
    task: str,
    used: Recipe,
    variant: str = "",
) -> Iterator[PolicyComparison]:
    """Yields the comparison of a condition that trains itself; its cells are planned.

    Args:
        policy: How policies are trained.
        arms: Of the reward model's base model, recipe and axis.
        condition: Of the reward model.
        model: Name of the base model, of reward model and policy alike.
        task: Whose questions they answer.
        used: The reward model's recipe.
        variant: What tells the condition from others of its name, in words.
    """
    options = condition.self_training
    if options is None:
        return
    gold = policy.model_copy(update={"labels": "gold"})
    nobody = PolicyDPO(
        labels="none",
        num_samples=policy.num_samples,
        temperature=policy.temperature,
        max_new_tokens=policy.max_new_tokens,
        prompt=policy.prompt,
    )
    last = condition.rounds
    name = f"{condition.name} {variant}" if variant else condition.name
    yield PolicyComparison(
        model=model,
        task=task,
        recipe=used,
        condition=condition.name,
        variant=variant,
        threshold=options.threshold,
        ssrm_round=last,
        base=arms.policy(nobody, "policy: base", None),
        before=arms.policy(policy, f"policy: {name} round 0", arms.labelled(condition)),
        after=arms.policy(
            policy, f"policy: {name} round {last}", arms.self_trained(condition, last)
        ),
        gold=arms.policy(gold, "policy: gold", None),
    )
