"""Space `small`: real questions and models of up to 1.7 B weights, for one consumer GPU."""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LinearProbe, LoRA
from search_spaces.space import Space, TaskAxis
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
    )
