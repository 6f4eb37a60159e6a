"""The default study: the embedded lab, from nothing to a surface on a laptop."""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.contrasts import ZERO_SHOT
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LinearProbe, LoRA
from search_spaces.space import Arm, Contrast, Space, TaskAxis

EASY = Level(name="easy", low=1, high=2)
MEDIUM = Level(name="medium", low=3, high=4)
HARD = Level(name="hard", low=5, high=6)
SINGLE_STEPS = tuple(Level(name=f"steps {n}", low=n, high=n) for n in (3, 4, 5, 6))


LEVELS = (EASY, MEDIUM, HARD)
LAB_LORA = LoRA(learning_rate=2e-3, batch_size=16)


def micro() -> Space:
    """Three sizes of the lab's base models and three levels of labels, with LoRA."""
    small, medium, large = (f"micro-{size}" for size in "sml")
    easy, hard = Arm(condition="easy"), Arm(condition="hard")
    return Space(
        name="micro",
        models=tuple(BaseModelRef(name=name) for name in (small, medium, large)),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=LEVELS,
                test_levels=(*LEVELS, *SINGLE_STEPS),
                train_on_all=False,
            ),
        ),
        methods=(LAB_LORA,),
        seeds=4,
        contrasts=(
            Contrast(first=easy, second=Arm(condition=ZERO_SHOT), test_level="hard"),
            Contrast(first=easy, second=hard, test_level="hard", margin=0.03),
            Contrast(
                first=of_model(easy, large),
                second=of_model(easy, small),
                test_level="hard",
                of="sgr",
            ),
            Contrast(first=of_model(hard, medium), second=of_model(hard, small), test_level="hard"),
            Contrast(first=of_model(hard, large), second=of_model(hard, medium), test_level="hard"),
        ),
    )


def of_model(arm: Arm, model: str) -> Arm:
    """Returns the arm with one base model."""
    return arm.model_copy(update={"model": model})


def methods_micro() -> Space:
    """The two methods that the lab's models are too small for: they run, and learn next to nothing.

    Eight examples in the prompt help no more than wrong ones, and a probe stays near chance
    (docs/lab.md). So the default study leaves them out.
    """
    return Space(
        name="methods_micro",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=(EASY, HARD),
                test_levels=(EASY, HARD),
                train_on_all=False,
            ),
        ),
        methods=(InContext(k=8), LinearProbe()),
        seeds=3,
        contrasts=(
            Contrast(
                first=Arm(condition="hard"), second=Arm(condition=ZERO_SHOT), test_level="hard"
            ),
        ),
    )
