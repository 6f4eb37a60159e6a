"""Space `arc`: real questions, from primary-school to 8th-grade labels."""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LinearProbe, LoRA
from search_spaces.space import Arm, Contrast, Space, TaskAxis

GRADES = (
    Level(name="easy", low=3, high=5),
    Level(name="medium", low=6, high=7),
    Level(name="hard", low=8, high=8),
)
"""The paper's bands of school grades (arXiv:2401.06751, section 3)."""

EASY = Arm(condition="easy")


def arc() -> Space:
    """Do 3rd-to-5th-grade labels reach 8th-grade questions of ARC? A smoke test on the lab.

    The embedded lab's model only serves to test the data pipeline; it knows no science. For real
    results, copy this space and name a real model.
    """
    return Space(
        name="arc",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(TaskAxis(task="arc", measure="grade", train_levels=GRADES, test_levels=GRADES),),
        methods=(InContext(k=8), LinearProbe(), LoRA(epochs=1)),
        seeds=2,
        contrasts=(
            Contrast(first=EASY, second=Arm(condition="zero-shot"), test_level="hard"),
            Contrast(first=EASY, second=Arm(condition="hard"), test_level="hard", margin=0.03),
        ),
    )
