"""SGR and residual recovery: the share of a supervision gap that is recovered, with a verdict.

SGR = (easy - zero_shot) / (hard - zero_shot); residual recovery = (ssrm - easy) / (hard - easy).
Both are (source - floor) / (ceiling - floor) on the same test items and share one core,
`study.statistics.ratio`. All functions are pure functions of per-item scores. Never average ratios
over points; `study.statistics.across_points.trend` has the alternative.
"""

import numpy as np
from numpy.typing import ArrayLike

from study.statistics.arms import ArmScores
from study.statistics.differences import Difference, estimate_contrast, paired_difference
from study.statistics.influences import Clusters
from study.statistics.marginal_means import FloatArray
from study.statistics.means import ratio_of_means
from study.statistics.recovery import (
    GAP_NOT_RESOLVABLE,
    HARD_LABELS_HURT,
    RESOLVED,
    Recovery,
    Roles,
    Verdict,
    estimate_recovery,
    recovery_of,
)

__all__ = [
    "GAP_NOT_RESOLVABLE",
    "HARD_LABELS_HURT",
    "RESOLVED",
    "ArmScores",
    "Difference",
    "Recovery",
    "SgrEstimate",
    "Verdict",
    "estimate_contrast",
    "estimate_over_trivial",
    "estimate_residual_recovery",
    "estimate_sgr",
    "estimate_sgr_from_means",
    "estimate_sgr_of_arms",
    "paired_difference",
]


class SgrEstimate(Recovery):
    """SGR of one point, with the means and paired differences to report with it."""

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
        """Difference hard - easy; its p-value tests whether they are equal."""
        return self.ratio.denominator_minus_numerator


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
        hard: [items, seeds] scores after training on hard labels, drawn independently of easy;
            the number of seeds may differ.
        level: Coverage of all intervals, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The estimate; `value`, `low` and `high` are None unless the gap is resolved.

    Raises:
        ValueError: If an argument (named) has a wrong shape or a score out of range, or level is
            not in (0, 1).
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
    """Estimates SGR of one point from arms, which are joined by item id if they have ids.

    Args:
        zero_shot: The untrained model; usually deterministic, without draw ids.
        easy: The source condition; shares no draw id with hard.
        hard: Trained on the level that contains the test level.
        level: Coverage of all intervals, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The estimate, as `estimate_sgr`.

    Raises:
        ValueError: If level is not in (0, 1) or the arms cannot be joined.
    """
    arms = {"zero_shot": zero_shot, "easy": easy, "hard": hard}
    return estimate_recovery(SgrEstimate, arms, Roles("zero_shot", "easy", "hard"), level, clusters)


def estimate_sgr_from_means(
    zero_shot: ArrayLike,
    easy: ArrayLike,
    hard: ArrayLike,
    *,
    num_items: int | None = None,
    level: float = 0.95,
) -> SgrEstimate:
    """Estimates SGR from one accuracy a seed, as a published table has it.

    Serves the performance gap recovered (PGR) as well: weak, transfer, ceiling.

    Args:
        zero_shot: Accuracy in [0, 1] of the untrained model: a number, or [seeds] accuracies.
        easy: [seeds] accuracies after training on easy labels.
        hard: [seeds] accuracies after training on hard labels. All arms are drawn independently.
        num_items: Test items behind each accuracy, for their binomial variance; None: the
            intervals cover new seeds on these items only.
        level: Coverage of all intervals, in (0, 1).

    Returns:
        The estimate, with the verdicts of `estimate_sgr`. Its limits are those of the test with
        Satterthwaite's degrees of freedom at each value (`study.statistics.means`).

    Raises:
        ValueError: If an argument (named) has a wrong shape or an accuracy out of range, or level
            is not in (0, 1).
    """
    roles = Roles("zero_shot", "easy", "hard")
    ratio = ratio_of_means(
        {"zero_shot": zero_shot, "easy": easy, "hard": hard},
        numerator=roles.numerator,
        denominator=roles.denominator,
        num_items=num_items,
        level=level,
    )
    return recovery_of(SgrEstimate, ratio, roles)


def estimate_residual_recovery(
    *,
    easy: ArmScores,
    ssrm: ArmScores,
    hard: ArmScores,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Recovery:
    """Estimates the share of the gap between easy and hard labels that self-training recovers.

    Args:
        easy: Trained on easy labels: the start of self-training.
        ssrm: Self-trained from easy, with the same draw ids.
        hard: Trained on the level that contains the test level, with other draw ids.
        level: Coverage of all intervals, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        (ssrm - easy) / (hard - easy) with the same verdicts as SGR.

    Raises:
        ValueError: If level is not in (0, 1) or the arms cannot be joined.
    """
    arms = {"easy": easy, "ssrm": ssrm, "hard": hard}
    return estimate_recovery(Recovery, arms, Roles("easy", "ssrm", "hard"), level, clusters)


def estimate_over_trivial(
    *,
    trivial: ArmScores,
    easy: ArmScores,
    hard: ArmScores,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Recovery:
    """Estimates SGR with a floor that knows the format: (easy - trivial) / (hard - trivial).

    Args:
        trivial: Trained on (or prompted with) examples of the task's form without content.
        easy: The source condition.
        hard: Trained on the level that contains the test level.
        level: Coverage of all intervals, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The share, with the same verdicts as SGR.

    Raises:
        ValueError: If level is not in (0, 1) or the arms cannot be joined.
    """
    arms = {"trivial": trivial, "easy": easy, "hard": hard}
    return estimate_recovery(Recovery, arms, Roles("trivial", "easy", "hard"), level, clusters)


def _seeded_arm(name: str, values: ArrayLike, *, num_items: int) -> ArmScores:
    """Makes an arm from [items, seeds] scores, with draw ids that no other arm has."""
    scores = _scores(name, values, num_axes=2)
    if len(scores) != num_items:
        raise ValueError(
            f"{name} must have the items of zero_shot, got {len(scores)} rows for {num_items}"
        )
    empty = np.flatnonzero(np.isnan(scores).all(axis=0))
    if len(empty):
        raise ValueError(f"{name} must have a score in every seed, got only NaN in {empty}")
    return ArmScores(
        scores=scores, draw_ids=tuple(f"{name}/{seed}" for seed in range(scores.shape[1]))
    )


def _scores(name: str, values: ArrayLike, *, num_axes: int) -> FloatArray:
    """Checks the shape and range of scores; NaN is allowed."""
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
