"""Spaces `noise` and `noise_micro`: how wrong may hard labels be before easy ones are better?

Hard questions are labelled wrong twice as often as easy ones: p of the easy labels are wrong and 2p
of the hard ones (arXiv:2401.06751, section 5.3, Figure 7).
"""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.space import Arm, Contrast, Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD, LAB_LORA
from search_spaces.studies.published.hase2024 import EDUCATION, LLAMA_70B, PROBE
from search_spaces.supervision import Condition, Labels

RATES = (0.05, 0.1, 0.2, 0.3)
"""p; p = 0 are the plain conditions."""

HARD_FACTOR = 2

RANDOM = Condition(name="random labels", levels=("easy",), labels=Labels(kind="random"))
"""Easy questions with random labels: the gain that remains is not due to the labels."""


def wrong(rates: tuple[float, ...] = RATES) -> tuple[Condition, ...]:
    """Returns easy and hard conditions with a stated share of wrong labels."""
    return tuple(
        Condition(
            name=f"{level}, {100 * factor * rate:g} % wrong",
            levels=(level,),
            labels=Labels(kind="noise", rate=factor * rate),
        )
        for rate in rates
        for level, factor in (("easy", 1), ("hard", HARD_FACTOR))
    )


def redrawn(rates: tuple[float, ...] = RATES) -> tuple[Condition, ...]:
    """Returns the same conditions with the noise of the released code, which redraws that share.

    On four choices, three quarters of the redrawn labels are wrong. Figure 7 uses this noise.
    """
    return tuple(
        Condition(
            name=condition.name.replace("wrong", "redrawn"),
            levels=condition.levels,
            labels=Labels(kind="paper noise", rate=condition.labels.rate),
        )
        for condition in wrong(rates)
    )


def contrasts(conditions: tuple[Condition, ...]) -> tuple[Contrast, ...]:
    """Returns easy - hard labels, clean and at each rate.

    Args:
        conditions: Easy and hard labels in turn.
    """
    names = ["easy", "hard", *(condition.name for condition in conditions)]
    return tuple(
        Contrast(first=Arm(condition=easy), second=Arm(condition=hard), test_level="hard")
        for easy, hard in zip(names[::2], names[1::2], strict=True)
    )


def noise() -> Space:
    """How wrong may hard labels be before easy ones are better? A linear probe on MMLU."""
    return Space(
        name="noise",
        models=(BaseModelRef(name=LLAMA_70B, dtype="bfloat16"),),
        tasks=(
            TaskAxis(
                task="mmlu_stem5",
                measure="education",
                train_levels=EDUCATION,
                test_levels=EDUCATION[-1:],
                train_on_all=False,
                prompt="paper",
                conditions=(*wrong(), *redrawn(), RANDOM),
            ),
        ),
        methods=(PROBE,),
        seeds=5,
        split="paper",
        contrasts=contrasts((*wrong(), *redrawn())),
    )


def noise_micro() -> Space:
    """How wrong may hard labels be before easy ones are better? On the lab.

    It trains adapters, because a probe of such a small base learns almost nothing.
    """
    return Space(
        name="noise_micro",
        models=(BaseModelRef(name="micro-m"),),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=(EASY, HARD),
                test_levels=(HARD,),
                train_on_all=False,
                conditions=(*wrong(), RANDOM),
            ),
        ),
        methods=(LAB_LORA,),
        seeds=4,
        contrasts=contrasts(wrong()),
    )
