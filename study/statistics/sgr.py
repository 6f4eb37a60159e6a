"""SGR and residual recovery: how much of what hard labels buy is recovered, with a verdict.

SGR = (easy - zero_shot) / (hard - zero_shot); residual recovery = (ssrm - easy) / (hard - easy).
Both are (source - floor) / (ceiling - floor) on the same test items, so they share one core
(`study.statistics.ratio`). Pure functions of per-item scores: nothing is read, drawn or printed
here. A ratio is never averaged over points (see `study.statistics.across_points.trend` for what to
do instead).
"""

import numpy as np
from numpy.typing import ArrayLike

from study.statistics.arms import ArmScores
from study.statistics.differences import Difference, estimate_contrast, paired_difference
from study.statistics.influences import Clusters
from study.statistics.marginal_means import FloatArray
from study.statistics.recovery import (
    GAP_NOT_RESOLVABLE,
    HARD_LABELS_HURT,
    RESOLVED,
    Recovery,
    Roles,
    Verdict,
    estimate_recovery,
)

__all__ = [
    "GAP_NOT_RESOLVABLE",
    "HARD_LABELS_HURT",
    "RESOLVED",
    "ArmScores",
    "Difference",
    "Recovery",
    "ResidualRecovery",
    "SgrEstimate",
    "Verdict",
    "estimate_contrast",
    "estimate_residual_recovery",
    "estimate_sgr",
    "estimate_sgr_of_arms",
    "paired_difference",
]


class SgrEstimate(Recovery):
    """SGR of one point, with the means and paired differences that always stand beside it."""

    __slots__ = ()

    @property
    def zero_shot(self) -> float:
        """Mean score of the untrained model."""
        return self.means["zero_shot"]

    @property
    def easy(self) -> float:
        """Mean score after training on easy labels."""
        return self.means["easy"]

    @property
    def hard(self) -> float:
        """Mean score after training on hard labels."""
        return self.means["hard"]

    @property
    def easy_gain(self) -> Difference:
        """Difference easy - zero_shot; its p-value tests the null Z = E."""
        return self.ratio.numerator

    @property
    def hard_gain(self) -> Difference:
        """Difference hard - zero_shot: the gap, with the same interval."""
        return self.ratio.denominator

    @property
    def hard_minus_easy(self) -> Difference:
        """Difference hard - easy; its p-value tests the null E = H."""
        return self.ratio.denominator_minus_numerator


class ResidualRecovery(Recovery):
    """Share of the gap left by easy labels that self-training recovers."""

    __slots__ = ()

    @property
    def easy(self) -> float:
        """Mean score after training on easy labels."""
        return self.means["easy"]

    @property
    def ssrm(self) -> float:
        """Mean score after self-training on top of easy labels."""
        return self.means["ssrm"]

    @property
    def hard(self) -> float:
        """Mean score after training on hard labels."""
        return self.means["hard"]

    @property
    def ssrm_gain(self) -> Difference:
        """Difference ssrm - easy."""
        return self.ratio.numerator

    @property
    def hard_gain(self) -> Difference:
        """Difference hard - easy: the gap, with the same interval."""
        return self.ratio.denominator


def estimate_sgr(
    zero_shot: ArrayLike,
    easy: ArrayLike,
    hard: ArrayLike,
    level: float = 0.95,
    *,
    clusters: Clusters | None = None,
) -> SgrEstimate:
    """Estimates SGR of one point from per-item scores of the same items in the same order.

    Args:
        zero_shot: [items] scores in [0, 1] of the untrained model; no missing score.
        easy: [items, seeds] scores in [0, 1] after training on easy labels; NaN = missing.
        hard: [items, seeds] likewise for hard labels; its number of seeds may differ. The draws
            of easy and hard are independent.
        level: Coverage of all intervals, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The estimate; `value`, `low` and `high` are None unless the verdict is "resolved".

    Raises:
        ValueError: If an argument has a wrong shape or a score out of range (named), or level is
            no coverage.
    """
    zero = _scores("zero_shot", zero_shot, num_axes=1)
    if np.isnan(zero).any():
        raise ValueError("zero_shot must score every item, got NaN")
    return estimate_sgr_of_arms(
        zero_shot=ArmScores(scores=zero[:, None], draw_ids=()),
        easy=_seeded_arm("easy", easy, num_items=len(zero)),
        hard=_seeded_arm("hard", hard, num_items=len(zero)),
        level=level,
        clusters=clusters,
    )


def estimate_sgr_of_arms(
    *,
    zero_shot: ArmScores,
    easy: ArmScores,
    hard: ArmScores,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> SgrEstimate:
    """Estimates SGR of one point from arms, joined by item id where they have ids.

    Args:
        zero_shot: The untrained model (as a rule deterministic: no draw ids).
        easy: The source condition; with draw ids of its own.
        hard: Trained on the band that holds the test level; with draw ids of its own.
        level: Coverage of all intervals, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The estimate, as `estimate_sgr`.

    Raises:
        ValueError: If level is no coverage or the arms cannot be joined.
    """
    arms = {"zero_shot": zero_shot, "easy": easy, "hard": hard}
    return estimate_recovery(SgrEstimate, arms, Roles("zero_shot", "easy", "hard"), level, clusters)


def estimate_residual_recovery(
    *,
    easy: ArmScores,
    ssrm: ArmScores,
    hard: ArmScores,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> ResidualRecovery:
    """Estimates which share of the gap that easy labels leave is recovered by self-training.

    Args:
        easy: The first round, trained on easy labels.
        ssrm: Self-training that started from it: shares the draw ids of easy.
        hard: Trained on the band that holds the test level; with draw ids of its own.
        level: Coverage of all intervals, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        (ssrm - easy) / (hard - easy) with the same verdicts as SGR.

    Raises:
        ValueError: If level is no coverage or the arms cannot be joined.
    """
    arms = {"easy": easy, "ssrm": ssrm, "hard": hard}
    return estimate_recovery(ResidualRecovery, arms, Roles("easy", "ssrm", "hard"), level, clusters)


def _seeded_arm(name: str, values: ArrayLike, *, num_items: int) -> ArmScores:
    """Makes an arm with draws of its own from [items, seeds] scores, or says what is wrong."""
    scores = _scores(name, values, num_axes=2)
    if len(scores) != num_items:
        raise ValueError(
            f"{name} must have the items of zero_shot, got {len(scores)} rows for {num_items}"
        )
    unseen = np.flatnonzero(np.isnan(scores).all(axis=0))
    if len(unseen):
        raise ValueError(f"{name} must have a score in every seed, got only NaN in {unseen}")
    return ArmScores(
        scores=scores, draw_ids=tuple(f"{name}/{seed}" for seed in range(scores.shape[1]))
    )


def _scores(name: str, values: ArrayLike, *, num_axes: int) -> FloatArray:
    """Checks the shape and range of scores; NaN passes."""
    try:
        scores = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    shape = "[items]" if num_axes == 1 else "[items, seeds]"
    if scores.ndim != num_axes or 0 in scores.shape:
        raise ValueError(f"{name} must be {shape}, none of them 0, got shape {scores.shape}")
    low, high = np.fmin.reduce(scores, axis=None), np.fmax.reduce(scores, axis=None)
    if low < 0.0 or high > 1.0:
        raise ValueError(f"{name} must hold scores in [0, 1], got {low} to {high}")
    return scores
