"""Self-training on ARC: labels of 3rd-to-5th-grade questions, unlabelled 8th-grade questions."""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.contrasts import before_and_after
from search_spaces.recipes import LoRA
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.ssrm_micro import easy_ssrm, ssrm_contrasts, with_controls
from search_spaces.studies.small.arc import GRADES
from search_spaces.studies.small.small import GRADE_6, GRADE_7
from search_spaces.studies.small.small import MODELS as SMALL_MODELS

THRESHOLDS = (0.33, 0.73, 0.93)
"""On the chance-normalised scale, because ARC has questions with 3, 4 and 5 choices; with four
choices they are probabilities of 0.5, 0.8 and 0.95."""

MODELS = tuple(
    model
    for model in SMALL_MODELS
    if model.name
    in (
        "HuggingFaceTB/SmolLM2-360M",
        "HuggingFaceTB/SmolLM2-1.7B",
        "Qwen/Qwen2.5-0.5B",
        "Qwen/Qwen2.5-1.5B",
    )
)
"""Two families of space `small` at two sizes each; every model has 51 cells."""


def ssrm_arc() -> Space:
    """Can self-training on unlabelled 8th-grade questions of ARC replace their labels?

    By school grade, at three thresholds, with controls and five seeds.
    """
    return Space(
        name="ssrm_arc",
        models=MODELS,
        tasks=(
            TaskAxis(
                task="arc",
                measure="grade",
                train_levels=GRADES,
                test_levels=(*GRADES[1:], GRADE_6, GRADE_7),
                train_on_all=False,
                conditions=with_controls(THRESHOLDS, 0.73, confidence="chance-normalised"),
            ),
        ),
        methods=(LoRA(),),
        seeds=5,
        contrasts=ssrm_contrasts(0.73),
    )


def ssrm_arc_micro() -> Space:
    """A part of `ssrm_arc` with the lab's smallest model: a smoke test.

    Its numbers have no meaning, because the base knows no science.
    """
    return Space(
        name="ssrm_arc_micro",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(
            TaskAxis(
                task="arc",
                measure="grade",
                train_levels=GRADES,
                test_levels=GRADES[1:],
                train_on_all=False,
                conditions=tuple(
                    easy_ssrm(tau, confidence="chance-normalised") for tau in THRESHOLDS
                ),
            ),
        ),
        methods=(LoRA(epochs=1),),
        seeds=2,
        contrasts=(before_and_after("easy_ssrm", test_level="hard"),),
    )
