"""The default study: the embedded lab, from nothing to a surface on a laptop."""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LinearProbe, LoRA
from search_spaces.space import Arm, Contrast, Space, TaskAxis

EASY = Level(name="easy", low=1, high=2)
MEDIUM = Level(name="medium", low=3, high=4)
HARD = Level(name="hard", low=5, high=6)
EASY_ARM, HARD_ARM = Arm(condition="easy"), Arm(condition="hard")
EASY_LORA = Arm(condition="easy", method="lora")
EASY_PROBE = Arm(condition="easy", method="linear probe")
SINGLE_STEPS = tuple(Level(name=f"steps {n}", low=n, high=n) for n in (3, 4, 5, 6))


def micro() -> Space:
    """Three sizes of the lab's base models, four sources of labels, three methods, four seeds.

    With a fifth seed the study would take almost six minutes on two cores.
    """
    return Space(
        name="micro",
        models=tuple(BaseModelRef(name=f"micro-{size}") for size in "sml"),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=(EASY, MEDIUM, HARD),
                test_levels=(EASY, MEDIUM, HARD, *SINGLE_STEPS),
            ),
        ),
        methods=(InContext(k=8), LinearProbe(), LoRA(learning_rate=1e-3, batch_size=16)),
        seeds=4,
        contrasts=(
            Contrast(first=EASY_ARM, second=Arm(condition="zero-shot"), test_level="hard"),
            Contrast(first=EASY_ARM, second=HARD_ARM, test_level="hard", margin=0.03),
            Contrast(first=EASY_LORA, second=EASY_PROBE, test_level="hard"),
            Contrast(first=EASY_LORA, second=EASY_PROBE, test_level="hard", of="sgr"),
        ),
    )
