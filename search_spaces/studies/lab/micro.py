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
LEVELS = (EASY, MEDIUM, HARD)

LAB_LORA = LoRA(learning_rate=2e-3, batch_size=16)
"""The recipe of the lab's studies of questions; docs/design/lab.md has the learning rates tried."""


def micro() -> Space:
    """How much of hard labels' gain do easy labels give? The default study.

    Three sizes of the lab's base models and three levels of labels, with LoRA.
    """
    small, medium, large = (f"micro-{size}" for size in "sml")
    easy = Arm(condition="easy")
    small_hard, medium_hard, large_hard = (
        Arm(condition="hard", model=name) for name in (small, medium, large)
    )
    return Space(
        name="micro",
        models=tuple(BaseModelRef(name=name) for name in (small, medium, large)),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=LEVELS,
                test_levels=LEVELS,
                test_items=192,
                train_on_all=False,
            ),
        ),
        methods=(LAB_LORA,),
        seeds=3,
        contrasts=(
            Contrast(first=easy, second=Arm(condition=ZERO_SHOT), test_level="hard"),
            Contrast(first=easy, second=Arm(condition="hard"), test_level="hard", margin=0.03),
            Contrast(
                first=Arm(condition="easy", model=large),
                second=Arm(condition="easy", model=small),
                test_level="hard",
                of="sgr",
            ),
            Contrast(first=medium_hard, second=small_hard, test_level="hard"),
            Contrast(first=large_hard, second=medium_hard, test_level="hard"),
        ),
    )


def methods_micro() -> Space:
    """Do examples in context and a probe work on the lab? They run, and learn next to nothing.

    Eight examples in the prompt help no more than wrong ones, and a probe stays near chance
    (docs/design/lab.md). So the default study leaves them out.
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
