"""Space `gap`: how large may the difficulty gap be? From 3rd-grade labels to college questions."""

from __future__ import annotations

from search_spaces.levels import Level
from search_spaces.recipes import PAPER_LORA
from search_spaces.space import Arm, Contrast, Space, TaskAxis
from search_spaces.studies.published.hase2024 import IN_CONTEXT, MODELS, PROBE

SCHOOLS = tuple(
    Level(name=name, low=low, high=high)
    for name, low, high in (
        ("3rd grade", 3, 3),
        ("4th to 5th grade", 4, 5),
        ("6th to 7th grade", 6, 7),
        ("8th grade", 8, 8),
        ("high school", 11, 11),
        ("college", 14, 14),
    )
)
"""Assumption of task `science`: MMLU's high-school questions are of grade 11, its college questions
of grade 14."""

THIRD_GRADE = Arm(condition="3rd grade")


def gap() -> Space:
    """Which school's labels reach college questions? Figures 9 and 18 of arXiv:2401.06751.

    The paper labels 3rd grade, 8th grade, high school and college; this space adds the levels in
    between. 3rd grade has 194 questions, of which 160 are drawn, so its seeds overlap: the plan
    prints by how much, and its intervals are conditional on this pool. The split is frozen, so that
    all conditions are tested on the same questions.
    """
    return Space(
        name="gap",
        models=MODELS,
        tasks=(
            TaskAxis(
                task="science",
                measure="grade",
                train_levels=SCHOOLS,
                test_levels=SCHOOLS[-1:],
                train_on_all=False,
                prompt="paper",
            ),
        ),
        methods=(IN_CONTEXT, PROBE, PAPER_LORA),
        seeds=5,
        contrasts=(
            Contrast(first=THIRD_GRADE, second=Arm(condition="zero-shot"), test_level="college"),
            Contrast(
                first=THIRD_GRADE,
                second=Arm(condition="high school"),
                test_level="college",
                of="sgr",
            ),
        ),
    )
