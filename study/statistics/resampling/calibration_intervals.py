"""Intervals of the expected calibration error, its bins, and the area under selective accuracy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from study.statistics.arms import ArmScores
from study.statistics.calibration import (
    bin_residuals,
    calibrate,
    equal_width_bins,
    selective_scores,
)
from study.statistics.differences import (
    Difference,
    check_level,
    critical_value,
    estimate_contrast,
)
from study.statistics.influences import Clusters
from study.statistics.marginal_means import FloatArray
from study.statistics.moments import satterthwaite
from study.statistics.resampling.bootstrap import Resampled, resample

NUM_SIZES = 100
"""Sizes of the error that its interval tries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationError:
    """An expected calibration error with its interval."""

    estimate: float
    low: float | None
    """None with a single item, or without variance."""
    high: float | None
    level: float


def ece_interval(
    confidence: FloatArray,
    correct: FloatArray,
    *,
    level: float = 0.95,
    clusters: Sequence[str] | None = None,
    rng: np.random.Generator,
) -> CalibrationError:
    """Expected calibration error (bins of equal width) with its interval over items and seeds.

    The error is the sum over bins of |d|, where d is the mean of correct - confidence in the bin.
    Noise makes it positive even for a calibrated model, so an interval around the estimate misses
    the truth. This one inverts a test: it holds each size s of the error at which the estimate is
    not extreme among sum |s d / sum |d| + noise|, where the noise of d comes from its resamples.
    It includes 0 exactly if perfect calibration is not rejected.

    Args:
        confidence: [items, seeds] in [0, 1].
        correct: [items, seeds] scores in [0, 1]; NaN where there is no answer.
        level: Coverage, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.
        rng: Source of all randomness.

    Raises:
        ValueError: If level, confidences or scores are out of range, or there is no answer.
    """
    check_level(level)
    seen = ~np.isnan(correct)
    residuals = bin_residuals(confidence[seen], correct[seen])
    found = resample(residuals, seen, clusters=clusters, rng=rng)
    estimate = float(np.abs(found.means).sum())
    nu = satterthwaite([(float(_sums(part.means).var(ddof=1)), part.df) for part in found.parts])
    if nu is None or estimate == 0.0:
        return CalibrationError(estimate=estimate, low=None, high=None, level=level)
    sizes = _accepted_sizes(found, estimate, critical_value(nu, level))
    low, high = (sizes[0], min(sizes[-1], 1.0)) if len(sizes) else (0.0, estimate)
    return CalibrationError(estimate=estimate, low=float(low), high=float(high), level=level)


def _accepted_sizes(found: Resampled, estimate: float, critical: float) -> FloatArray:
    """The errors, in ascending order, that the estimate does not reject.

    An error is rejected as too small with the noise of items and seeds, and as too large with that
    of items alone: both contain the item x seed interaction, and counting it twice would lower the
    largest error.
    """
    parts = [part.means - part.means.mean(axis=0) for part in found.parts]
    noise = np.sum(parts, axis=0)
    reach = critical * float(_sums(noise).std(ddof=1))
    sizes = np.linspace(0.0, estimate + 3.0 * reach, NUM_SIZES)
    shifts = (sizes / estimate)[:, None, None] * found.means
    errors = _sums(shifts + noise)
    half = critical * errors.std(axis=1, ddof=1)
    is_reached = estimate <= errors.mean(axis=1) + half
    is_exceeded = estimate >= _sums(shifts + parts[0]).mean(axis=1) - half
    return np.asarray(sizes[is_reached & is_exceeded], dtype=np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class BinAccuracy:
    """Answers of similar confidence, with the interval of their accuracy."""

    confidence: float
    """Their mean."""
    accuracy: float
    low: float
    high: float
    count: int
    """Answers in the bin."""


def bin_accuracies(
    confidence: FloatArray,
    correct: FloatArray,
    *,
    level: float = 0.95,
    clusters: Sequence[str] | None = None,
) -> tuple[BinAccuracy, ...]:
    """Reliability of the answers in bins of equal width, with intervals over items and seeds.

    Wilson's interval with an effective number of answers, p (1 - p) / v: v is the linearized
    variance of the accuracy p over items (clusters) plus that over seeds, and t replaces z, with
    Satterthwaite's degrees of freedom. Unlike p +/- t sqrt(v), it stays in [0, 1] and has a width
    where all answers are right; there each item (cluster) counts as one answer.

    Args:
        confidence: [items, seeds] in [0, 1].
        correct: [items, seeds] scores in [0, 1]; NaN where there is no answer.
        level: Coverage, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The bins with at least one answer, by confidence.

    Raises:
        ValueError: If level, confidences or scores are out of range, or there is no answer.

    Source: Franco, Little, Louis and Slud 2019, J. Surv. Stat. Methodol. 7, 334-364.
    """
    check_level(level)
    seen = ~np.isnan(correct)
    found = calibrate(confidence[seen], correct[seen])
    index = np.full(correct.shape, -1)
    index[seen] = equal_width_bins(confidence[seen])
    unit_of = np.unique(clusters, return_inverse=True)[1] if clusters else np.arange(len(correct))
    accuracies = []
    for bin_, number in zip(found.bins, np.unique(index[seen]), strict=True):
        low, high = _bin_interval(correct, index == number, unit_of, bin_.accuracy, level)
        accuracies.append(
            BinAccuracy(
                confidence=bin_.confidence,
                accuracy=bin_.accuracy,
                low=low,
                high=high,
                count=bin_.count,
            )
        )
    return tuple(accuracies)


def _bin_interval(
    correct: FloatArray,
    inside: NDArray[np.bool_],
    unit_of: NDArray[np.intp],
    accuracy: float,
    level: float,
) -> tuple[float, float]:
    """The interval of the accuracy of the answers inside a bin."""
    count = int(inside.sum())
    deviations = np.where(inside, correct - accuracy, 0.0) / count
    units = np.unique(unit_of[inside.any(axis=1)])
    per_unit = np.bincount(unit_of, weights=deviations.sum(axis=1))[units]
    per_seed = deviations.sum(axis=0)[inside.any(axis=0)]
    parts = [
        (float(sums @ sums) * len(sums) / (len(sums) - 1), len(sums) - 1)
        for sums in (per_unit, per_seed)
        if len(sums) > 1
    ]
    variance, nu = sum(part for part, _ in parts), satterthwaite(parts)
    effective = float(len(units))
    if variance > 0.0 and 0.0 < accuracy < 1.0:
        effective = min(accuracy * (1.0 - accuracy) / variance, float(count))
    critical = critical_value(math.inf if nu is None else nu, level)
    return wilson_interval(accuracy, effective, critical)


def wilson_interval(share: float, size: float, critical: float) -> tuple[float, float]:
    """Wilson's interval of a share.

    Args:
        share: In [0, 1].
        size: Number of answers, or their effective number; > 0.
        critical: Two-sided critical value.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
    """
    square = critical**2 / size
    centre = (share + 0.5 * square) / (1.0 + square)
    half = math.sqrt(square * share * (1.0 - share) + 0.25 * square**2) / (1.0 + square)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _sums(values: FloatArray) -> FloatArray:
    """Sums of absolute values over the bins, the last axis."""
    return np.asarray(np.abs(values).sum(axis=-1), dtype=np.float64)


def selective_interval(
    confidence: FloatArray,
    arm: ArmScores,
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Difference:
    """Area under selective accuracy with its interval over items and seeds.

    The interval is that of the mean of the answers' contributions (`selective_scores`): their
    variance is that of the bootstrap over items and seeds, to first order.

    Args:
        confidence: [items, seeds] in [0, 1].
        arm: The scores of the same answers; NaN where there is no answer.
        level: Coverage, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Raises:
        ValueError: If level, confidences or scores are out of range, or there is no answer.
    """
    seen = ~np.isnan(arm.scores)
    scores = np.full(arm.scores.shape, np.nan)
    scores[seen] = selective_scores(confidence[seen], arm.scores[seen])
    arms = {"arm": replace(arm, scores=scores)}
    return estimate_contrast(arms, {"arm": 1.0}, level=level, clusters=clusters)
