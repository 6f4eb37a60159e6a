"""Space `small`: real questions and models of up to 1.7 B weights, for one consumer GPU."""

from __future__ import annotations

from collections.abc import Iterator

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LinearProbe, LoRA
from search_spaces.space import Arm, Contrast, Space, TaskAxis
from search_spaces.studies.published.hase2024 import DIFFICULTY, GRADES

MODELS = tuple(
    BaseModelRef(name=name, dtype="bfloat16")
    for name in (
        "HuggingFaceTB/SmolLM2-135M",
        "HuggingFaceTB/SmolLM2-360M",
        "HuggingFaceTB/SmolLM2-1.7B",
        "EleutherAI/pythia-160m",
        "EleutherAI/pythia-410m",
        "EleutherAI/pythia-1b",
        "EleutherAI/pythia-1.4b",
        "Qwen/Qwen2.5-0.5B",
        "Qwen/Qwen2.5-1.5B",
    )
)
"""Three families by size. The largest takes 3.4 GB in 16 bits, without quantization."""

SIZES = (
    ("HuggingFaceTB/SmolLM2-1.7B", "HuggingFaceTB/SmolLM2-135M"),
    ("EleutherAI/pythia-1.4b", "EleutherAI/pythia-160m"),
    ("Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-0.5B"),
)
"""The largest and the smallest model of each family."""

GRADE_6, GRADE_7 = (Level(name=f"grade {grade}", low=grade, high=grade) for grade in (6, 7))


def small() -> Space:
    """ARC by grade and by rated difficulty: does SGR grow with the model, and with the gap?"""
    return Space(
        name="small",
        models=MODELS,
        tasks=(
            TaskAxis(
                task="arc",
                measure="grade",
                train_levels=GRADES,
                test_levels=(*GRADES, GRADE_6, GRADE_7),
            ),
            TaskAxis(
                task="arc", measure="difficulty", train_levels=DIFFICULTY, test_levels=DIFFICULTY
            ),
        ),
        methods=(InContext(k=10), LinearProbe(), LoRA()),
        seeds=5,
        contrasts=tuple(contrast for sizes in SIZES for contrast in _contrasts(*sizes)),
    )


def _contrasts(largest: str, smallest: str) -> Iterator[Contrast]:
    """Yields the comparisons of one family: SGR over size, and over the difficulty gap."""
    easy = Arm(condition="easy", model=largest)
    for other in (Arm(condition="easy", model=smallest), Arm(condition="medium", model=largest)):
        yield Contrast(first=easy, second=other, test_level="hard", of="sgr")
