"""The comparisons of policies in a plan."""

from __future__ import annotations

from search_spaces.frozen import FrozenModel
from search_spaces.recipes import Recipe
from study.artifacts.points import PlannedArm


class PolicyComparison(FrozenModel):
    """Policies trained on a reward model's preferences before and after its self-training."""

    model: str
    task: str
    recipe: Recipe
    """Recipe of the reward model."""
    condition: str
    variant: str = ""
    """Label that tells the condition from others of its name."""
    threshold: float | None
    ssrm_round: int
    """The last round, after which the reward model is compared."""
    base: PlannedArm
    """The untrained policy: one cell."""
    before: PlannedArm
    after: PlannedArm
    gold: PlannedArm
    """Trained on the preferences of the gold reward: an upper bound."""
