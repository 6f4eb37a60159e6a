"""Policies of a plan: which are trained on whose preferences, and which are held side by side."""

from __future__ import annotations

from search_spaces.frozen import FrozenModel
from search_spaces.recipes import Recipe
from study.artifacts.points import PlannedArm


class PolicyComparison(FrozenModel):
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
    base: PlannedArm
    """The policy that nothing was trained of: one cell."""
    before: PlannedArm
    after: PlannedArm
    gold: PlannedArm
    """Trained on what the gold reward prefers: an upper bound."""
