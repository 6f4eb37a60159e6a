"""Calibration and confidence: is a model that is 70 % sure right 70 % of the time?

Pure, deterministic functions of confidences and outcomes; the order of rows does not matter.
Selective accuracy shows every confidence threshold at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

NUM_BINS = 10
"""Guo et al. 2017 (arXiv:1706.04599) use 15 on 10,000 items; studies here have fewer."""

Binning = Literal["equal-width", "equal-mass"]
"""`equal-width`: bins of [0, 1] of one width. `equal-mass`: bins with equally many answers; equal
confidences share a bin."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Answers of similar confidence."""

    confidence: float
    """Their mean."""
    accuracy: float
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Confidence against accuracy of a set of answers."""

    bins: tuple[Bin, ...]
    """Bins with at least one answer."""
    ece: float
    """Expected calibration error: the mean of |accuracy - confidence| over bins, by count."""
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """Numbers of right and wrong answers in bins of confidence of equal width."""

    edges: tuple[float, ...]
    """[bins + 1] from 0 to 1; a value on an edge belongs to the upper bin."""
    right: tuple[int, ...]
    wrong: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """The answers above a confidence."""

    confidence: float
    """The smallest of them."""
    coverage: float
    """Their share of all answers, in (0, 1]."""
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectiveAccuracy:
    """Accuracy against coverage, from the most confident answers to all."""

    curve: tuple[Selected, ...]
    """One step for each distinct confidence, highest first."""
    area: float
    """Mean accuracy over coverages 1/n, 2/n, ..., 1; the expectation over random orders of equal
    confidences. 1 - area is the area under the risk-coverage curve (Geifman et al. 2019,
    arXiv:1805.08206, AURC)."""


def calibrate(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    num_bins: int = NUM_BINS,
    binning: Binning = "equal-width",
) -> Calibration:
    """Returns the reliability of answers in bins, and their expected calibration error.

    Args:
        confidence: Of each answer, in [0, 1].
        correct: Whether it was right.
        num_bins: Number of bins. A value on the edge of equal-width bins belongs to the upper one.
        binning: How to cut the bins.

    Raises:
        ValueError: If there is no answer or no bin, or a confidence is out of range.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3; equal mass: Nguyen and O'Connor 2015,
    arXiv:1508.05154.
    """
    sure, right = _answers(confidence, correct)
    index = _bins(sure, num_bins, binning)
    counts = np.bincount(index, minlength=num_bins)
    filled = counts > 0
    means = np.bincount(index, weights=sure, minlength=num_bins)[filled] / counts[filled]
    accuracies = np.bincount(index, weights=right, minlength=num_bins)[filled] / counts[filled]
    bins = tuple(
        Bin(confidence=float(c), accuracy=float(a), count=int(n))
        for c, a, n in zip(means, accuracies, counts[filled], strict=True)
    )
    ece = float(np.abs(accuracies - means) @ counts[filled] / counts.sum())
    return Calibration(bins=bins, ece=ece, count=len(sure))


def bin_residuals(confidence: ArrayLike, correct: ArrayLike) -> _Floats:
    """Returns [answers, bins] correct - confidence in the answer's bin of equal width, else 0.

    The expected calibration error is the sum over bins of the absolute column means.

    Args:
        confidence: Of each answer, in [0, 1].
        correct: Whether it was right.

    Raises:
        ValueError: As `calibrate`.
    """
    sure, right = _answers(confidence, correct)
    residuals = np.zeros((len(sure), NUM_BINS))
    residuals[np.arange(len(sure)), equal_width_bins(sure)] = right - sure
    return residuals


def equal_width_bins(confidence: ArrayLike) -> NDArray[np.intp]:
    """Returns [answers] the number of each answer's bin among `NUM_BINS` of equal width."""
    return _bins(np.asarray(confidence, dtype=np.float64), NUM_BINS, "equal-width")


def confidence_histogram(
    confidence: ArrayLike, correct: ArrayLike, *, num_bins: int = 2 * NUM_BINS
) -> Histogram:
    """Returns the numbers of right and wrong answers in bins of confidence.

    Args:
        confidence: Of each answer, in [0, 1].
        correct: Whether it was right; 0 or 1, not half for a tie.
        num_bins: Bins of equal width.

    Raises:
        ValueError: As `calibrate`, or if an outcome is neither 0 nor 1.
    """
    sure, right = _answers(confidence, correct)
    if not np.isin(right, (0.0, 1.0)).all():
        raise ValueError("a histogram counts right and wrong answers; outcomes must be 0 or 1")
    index = _bins(sure, num_bins, "equal-width")
    num_right = np.bincount(index[right == 1.0], minlength=num_bins)
    num_wrong = np.bincount(index[right == 0.0], minlength=num_bins)
    return Histogram(
        edges=tuple(step / num_bins for step in range(num_bins + 1)),
        right=tuple(num_right.tolist()),
        wrong=tuple(num_wrong.tolist()),
    )


def brier_score(probabilities: Sequence[ArrayLike], answers: Sequence[int]) -> float:
    """Returns the mean squared distance of the probabilities from the truth, in [0, 2].

    Args:
        probabilities: For each item one probability a choice; items may differ in their number.
        answers: Index of each item's right choice.

    Raises:
        ValueError: If there is no item, a row is no distribution, or an answer is no index of it.

    Source: Brier 1950, Monthly Weather Review 78(1), 1-3: the sum over all k choices, so for two
    choices twice the squared error of one probability.
    """
    if not probabilities or len(probabilities) != len(answers):
        raise ValueError(
            f"a Brier score needs items: {len(probabilities)} predicted, {len(answers)} answers"
        )
    given = [np.asarray(values, dtype=np.float64) for values in probabilities]
    for row, (values, answer) in enumerate(zip(given, answers, strict=True)):
        is_distribution = (
            values.ndim == 1 and (values >= 0.0).all() and abs(values.sum() - 1) < 1e-5
        )
        if not (is_distribution and 0 <= answer < len(values)):
            raise ValueError(
                f"item {row}: probabilities that sum to 1 and the index of one of them, got "
                f"{values.tolist()} and answer {answer}"
            )
    sizes = np.array([len(values) for values in given])
    return float(brier_scores(np.concatenate(given), sizes, np.asarray(answers)).mean())


def brier_scores(
    probabilities: _Floats, sizes: NDArray[np.intp], answers: NDArray[np.intp]
) -> _Floats:
    """Returns each item's squared distance from the truth: 1 + sum p^2 - 2 p(right choice).

    Args:
        probabilities: Of the choices of all items, one item after the other.
        sizes: [items] choices of each item, > 0.
        answers: [items] index of each item's right choice.
    """
    starts = np.cumsum(sizes) - sizes
    squares = np.add.reduceat(probabilities**2, starts)
    return np.asarray(1.0 + squares - 2.0 * probabilities[starts + answers], dtype=np.float64)


def selective_accuracy(confidence: ArrayLike, correct: ArrayLike) -> SelectiveAccuracy:
    """Returns the accuracy of the most confident answers at every coverage.

    Args:
        confidence: Of each answer, in [0, 1].
        correct: Its score, in [0, 1]; a tie may count half.

    Raises:
        ValueError: As `calibrate`.
    """
    sure, right = _answers(confidence, correct)
    values, group = np.unique(-sure, return_inverse=True)
    sizes = np.bincount(group)
    rights = np.bincount(group, weights=right)
    covered, scored = np.cumsum(sizes), np.cumsum(rights)
    curve = tuple(
        Selected(confidence=float(-v), coverage=float(n / len(sure)), accuracy=float(s / n))
        for v, n, s in zip(values, covered, scored, strict=True)
    )
    area = float(selective_scores(sure, right).mean())
    return SelectiveAccuracy(curve=curve, area=area)


def selective_scores(confidence: ArrayLike, correct: ArrayLike) -> _Floats:
    """Returns the contribution of each answer to the area under selective accuracy.

    Their mean is the area (`SelectiveAccuracy.area`), and their deviations from it are its
    influence function, so intervals of their mean are intervals of the area.

    Args:
        confidence: Of each answer, in [0, 1].
        correct: Its score, in [0, 1].

    Returns:
        [answers] for the answer with score y at rank k0, and the accuracy a_k of the k most
        confident answers: a_k0 + sum over k >= k0 of (y - a_k) / k, averaged over the ranks of
        equally confident answers.

    Raises:
        ValueError: As `calibrate`.

    Source: infinitesimal jackknife, Efron, The Jackknife, the Bootstrap and Other Resampling Plans
    (1982), chapter 6.
    """
    sure, right = _answers(confidence, correct)
    order = np.argsort(-sure, kind="stable")
    starts = np.flatnonzero(np.diff(sure[order], prepend=np.inf))
    sizes = np.diff(starts, append=len(sure))

    def averaged(values: _Floats) -> _Floats:
        """Over equally confident answers."""
        means = np.add.reduceat(values, starts) / sizes
        return np.asarray(np.repeat(means, sizes), dtype=np.float64)

    ranks = np.arange(1.0, len(sure) + 1.0)
    accuracy = np.cumsum(averaged(right[order])) / ranks
    later = np.cumsum((1.0 / ranks)[::-1])[::-1]
    later_accuracy = np.cumsum((accuracy / ranks)[::-1])[::-1]
    scores = np.empty(len(sure))
    scores[order] = averaged(accuracy - later_accuracy) + right[order] * averaged(later)
    return scores


def _answers(confidence: ArrayLike, correct: ArrayLike) -> tuple[_Floats, _Floats]:
    sure = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    if sure.shape != right.shape or sure.ndim != 1 or not len(sure):
        raise ValueError(f"confidence and correct: one value an answer, got {sure.shape}")
    # Allow the rounding of a stored 1.0, but neither NaN nor a log-probability.
    if not (sure.min() >= 0.0 and sure.max() <= 1.0 + 1e-6):
        raise ValueError(f"confidence must be in [0, 1], got {sure.min()} to {sure.max()}")
    if not (right.min() >= 0.0 and right.max() <= 1.0):
        raise ValueError(f"correct must be in [0, 1], got {right.min()} to {right.max()}")
    return sure, right


def _bins(sure: _Floats, num_bins: int, binning: Binning) -> NDArray[np.intp]:
    if num_bins < 1:
        raise ValueError(f"calibration needs one bin or more, got num_bins={num_bins}")
    # Equal values share their mean rank, so they fall into one bin.
    place = (rankdata(sure) - 0.5) / len(sure) if binning == "equal-mass" else sure
    return np.minimum((place * num_bins).astype(np.intp), num_bins - 1)
