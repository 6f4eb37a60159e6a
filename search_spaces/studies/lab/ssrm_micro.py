"""Self-training on the lab: can confidence on hard questions replace their labels?"""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.contrasts import Arm, against_controls, before_and_after
from search_spaces.space import Contrast, Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD, LAB_LORA
from search_spaces.supervision import Condition, SelfTraining

THRESHOLDS = (0.5, 0.8, 0.95)
MAX_UNLABELLED = 160
"""As many as labelled items; the whole pool would multiply the training time."""


def ssrm_micro() -> Space:
    """Can self-training on unlabelled hard questions replace their labels, at any threshold?

    On the lab: easy labels, three thresholds, five seeds.

    Its positive control is `oracle_selected - start`: gold labels of the selected items help. If
    they did not, a null result of pseudo-labels would mean nothing.
    """
    return Space(
        name="ssrm_micro",
        models=(BaseModelRef(name="micro-s"), BaseModelRef(name="micro-m")),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=(EASY, HARD),
                test_levels=(HARD,),
                test_items=440,
                train_on_all=False,
                conditions=with_controls(THRESHOLDS, 0.8),
            ),
        ),
        methods=(LAB_LORA,),
        seeds=5,
        contrasts=(
            *ssrm_contrasts(0.8),
            before_and_after(NAMES["oracle"], test_level="hard"),
        ),
    )


NAMES = {
    "pseudo": "easy_ssrm",
    "oracle": "oracle_selected",
    "random": "random_labels",
    "none": "easy_same_steps",
}
"""Labels of the selected items (`SelfTraining.targets`) -> name of the condition."""


def ssrm_contrasts(controlled: float) -> tuple[Contrast, ...]:
    """Returns the comparisons of self-training at one threshold with its start and controls."""
    return against_controls(
        Arm(condition=NAMES["pseudo"], threshold=controlled),
        same_steps=NAMES["none"],
        random=NAMES["random"],
        oracle=NAMES["oracle"],
        test_level="hard",
    )


def with_controls(
    thresholds: tuple[float, ...], controlled: float, *, confidence: str = "raw"
) -> tuple[Condition, ...]:
    """Returns easy labels with a hard pool at each threshold, and the controls of one threshold.

    Args:
        thresholds: Values of tau.
        controlled: The threshold of the controls.
        confidence: Scale of the confidence (`SelfTraining.confidence`).
    """
    return (
        *(easy_ssrm(tau, confidence=confidence) for tau in thresholds),
        *(
            easy_ssrm(controlled, targets=targets, confidence=confidence)
            for targets in ("oracle", "random", "none")
        ),
        easy_ssrm(controlled, unlabelled=("easy",), confidence=confidence),
    )


def easy_ssrm(
    threshold: float,
    *,
    targets: str = "pseudo",
    unlabelled: tuple[str, ...] = ("hard",),
    rounds: int = 1,
    confidence: str = "raw",
) -> Condition:
    """Returns easy labels with an unlabelled pool, or one of its controls.

    Args:
        threshold: tau; items with more confidence are kept.
        targets: Labels of the selected items (`SelfTraining.targets`).
        unlabelled: Levels of the pool.
        rounds: Rounds of self-training.
        confidence: Scale of the confidence (`SelfTraining.confidence`).
    """
    is_easy_pool = unlabelled == ("easy",)
    return Condition(
        name="easy_pool_ssrm" if is_easy_pool else NAMES[targets],
        levels=("easy",),
        unlabelled=unlabelled,
        rounds=rounds,
        control=is_easy_pool,
        self_training=SelfTraining.model_validate(
            {
                "threshold": threshold,
                "confidence": confidence,
                "targets": targets,
                "max_unlabelled": MAX_UNLABELLED,
            }
        ),
    )
