"""Policies of a plan: which are trained on whose preferences, and which are held side by side."""

from __future__ import annotations

from search_spaces.frozen import Value
from search_spaces.recipes import Recipe
from study.artifacts.points import Arm


class PolicyComparison(Value):
    """Policies trained on what a reward model prefers before and after its self-training."""

    model: str
    task: str
    recipe: Recipe
    """Of the reward model."""
    condition: str
    variant: str = ""
    """What tells the condition from others of its name, in words."""
    threshold: float | None
    ssrm_round: int
    """The last one: the reward model after self-training."""
    base: Arm
    """The policy that nothing was trained of: one cell."""
    before: Arm
    after: Arm
    gold: Arm
    """Trained on what the gold reward prefers: an upper bound."""
