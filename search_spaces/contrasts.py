"""Contrasts: comparisons of any two arms, declared before a study runs."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, PositiveInt, model_validator

from search_spaces.frozen import FrozenModel
from search_spaces.recipes import TrainedRecipe

ZERO_SHOT: Final = "zero-shot"
"""Condition of an arm: the base model as it is, which is the floor of the other arm."""

START: Final = "start"
"""Condition of an arm: what the self-training of the first arm starts from."""


class Arm(FrozenModel):
    """One side of a contrast.

    What only one side names holds for both; what neither names is the same on both sides, and every
    value of it is tested.
    """

    condition: str
    """A training level, `all`, a condition of the space, `zero-shot` or `start`."""
    method: str | None = None
    recipe: Annotated[TrainedRecipe, Field(discriminator="method")] | None = None
    """One recipe, with as many labels as the condition has, where a method has several."""
    model: str | None = None
    threshold: float | None = None
    """Of a self-trained condition: its confidence threshold."""
    round: PositiveInt | None = None
    """Of a self-trained condition: its round, from 1."""

    @property
    def named(self) -> str:
        """What tells this arm from others, such as `easy_ssrm, tau 0.8`."""
        parts = [self.condition, self.method, self.model]
        parts += [] if self.threshold is None else [f"tau {self.threshold:g}"]
        parts += [] if self.round is None else [f"round {self.round}"]
        return ", ".join(filter(None, parts))


class Contrast(FrozenModel):
    """A comparison declared before the study runs: first - second on one test level.

    Arms that share draws are paired. P-values of a space's contrasts share a Holm correction;
    every other comparison is exploration.
    """

    first: Arm
    second: Arm
    test_level: str
    of: Literal["accuracy", "sgr"] = "accuracy"
    """`sgr`: the difference of the two arms' SGRs; arms that both use are counted once."""
    margin: float | None = Field(default=None, gt=0.0, le=1.0)
    """None: the null is that first and second are equal. Else that second is better by at least
    this margin (a fraction); rejecting it shows that first is not inferior."""
    task: str | None = None
    """None: for every task of the space."""
    measure: str | None = None
    """None: for every measure that the task is cut by."""

    @model_validator(mode="after")
    def _arms_differ(self) -> Contrast:
        if self.first == self.second:
            raise ValueError(f"a contrast needs two different arms, got {self.first.named!r} twice")
        for arm in (self.first, self.second):
            if arm.recipe is not None and arm.method not in (None, arm.recipe.method):
                raise ValueError(
                    f"an arm with method={arm.method!r} has a recipe of {arm.recipe.method!r}"
                )
        if self.first.condition == START:
            raise ValueError("'start' is the second arm of a contrast: that of the first")
        conditions = {self.first.condition, self.second.condition}
        if self.of == "sgr" and conditions & {ZERO_SHOT, START}:
            raise ValueError("SGRs are compared of two sources, not of 'zero-shot' or 'start'")
        return self

    @property
    def name(self) -> str:
        """The difference, such as `easy_ssrm - start`."""
        text = f"{self.first.named} - {self.second.named}"
        return f"SGR: {text}" if self.of == "sgr" else text

    @property
    def null(self) -> str:
        """The null hypothesis in words."""
        if self.margin is None:
            return "no difference"
        size = f"{self.margin:g}" if self.of == "sgr" else f"{100 * self.margin:g} points"
        return f"worse by {size} or more"


def before_and_after(condition: str, *, test_level: str) -> Contrast:
    """Returns the paired test of a self-trained condition, at every threshold and round."""
    return Contrast(
        first=Arm(condition=condition), second=Arm(condition=START), test_level=test_level
    )


def against_controls(
    ssrm: Arm, *, same_steps: str, random: str, oracle: str, test_level: str
) -> tuple[Contrast, ...]:
    """Returns what a claim about self-training needs.

    Self-training beats its start at every threshold and in every round; the arm that has controls
    beats the same number of steps on the old labels, and random labels of the selected items, and
    gold labels of these items would be better still.

    Args:
        ssrm: The self-trained arm that has controls.
        same_steps: Condition without the selected items.
        random: Condition with random labels of them.
        oracle: Condition with their gold labels.
        test_level: Level of the test items.
    """
    return (
        before_and_after(ssrm.condition, test_level=test_level),
        *(
            Contrast(first=ssrm, second=Arm(condition=other), test_level=test_level)
            for other in (same_steps, random)
        ),
        Contrast(first=Arm(condition=oracle), second=ssrm, test_level=test_level),
    )
