"""Temperature scaling of a model's answers, fitted on a few labelled validation items.

Their labels are easy and count as labels of the cell; the pool has none. Whether calibration on
easy items carries over to hard ones is a result of the study, not an assumption.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOWEST, HIGHEST = 0.05, 20.0
"""If every validation answer is right, the likelihood has no maximum and the temperature falls to
0. A factor of 20 either way is more than a language model's scores need; `at_bound` reports it."""

_STEPS = 60
"""Halvings of the interval of log(1/T): its end is then below the spacing of floats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """A fitted temperature; probabilities are softmax(scores / value)."""

    value: float
    """In [LOWEST, HIGHEST]; above 1 the model was overconfident."""
    nll_before: float
    """Mean negative log-likelihood of the right answers at temperature 1, in nats."""
    nll_after: float
    num_labels: int
    """Labelled validation items it was fitted on; each counts as a label of the cell."""
    at_bound: bool
    """Whether the best temperature is outside the range: the items do not determine it."""


def fit_temperature(log_probs: Sequence[ArrayLike], answers: Sequence[int]) -> Temperature:
    """Returns the temperature with the least negative log-likelihood.

    The loss is convex in 1/T; its derivative, mean of E_p[score] - score of the answer, is followed
    to its zero by bisection, so the result is the same on every machine to the last digits.

    Args:
        log_probs: For each validation item its scores, one a choice; items may differ in number.
        answers: The right choice of each item.

    Raises:
        ValueError: If there are no items, answers do not fit, or a score is not finite.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2 (temperature scaling).
    """
    scores_NC = _padded(log_probs, answers)
    picked_N = scores_NC[np.arange(len(scores_NC)), np.asarray(answers)]
    beta, at_bound = _best_beta(scores_NC, picked_N)
    return Temperature(
        value=1.0 / beta,
        nll_before=_nll(scores_NC, picked_N, 1.0),
        nll_after=_nll(scores_NC, picked_N, beta),
        num_labels=len(scores_NC),
        at_bound=at_bound,
    )


def apply_temperature(log_probs: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Returns log softmax(scores / temperature) over the last axis.

    Raises:
        ValueError: If the temperature is not positive.
    """
    if not temperature > 0.0:
        raise ValueError(f"a temperature must be > 0, got {temperature}")
    scaled = np.asarray(log_probs, dtype=np.float64) / temperature
    return np.asarray(scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True))


def _padded(log_probs: Sequence[ArrayLike], answers: Sequence[int]) -> NDArray[np.float64]:
    if not log_probs or len(log_probs) != len(answers):
        raise ValueError(
            f"a temperature needs labelled items: {len(log_probs)} scored, {len(answers)} answers"
        )
    arrays = [np.asarray(scores, dtype=np.float64) for scores in log_probs]
    scores_NC = np.full((len(arrays), max(len(scores) for scores in arrays)), -np.inf)
    for row, (scores, answer) in enumerate(zip(arrays, answers, strict=True)):
        if scores.ndim != 1 or not np.isfinite(scores).all() or not 0 <= answer < len(scores):
            raise ValueError(
                f"validation item {row}: finite scores and the index of one of them, got "
                f"{scores.tolist()} and answer {answer}"
            )
        # Subtracting a constant changes no probability, and large scores would lose digits.
        scores_NC[row, : len(scores)] = scores - scores.max()
    return scores_NC


def _best_beta(scores_NC: NDArray[np.float64], picked_N: NDArray[np.float64]) -> tuple[float, bool]:
    """Returns the best 1/T of the range, and whether the range and not the items decided it."""
    low, high = math.log(1.0 / HIGHEST), math.log(1.0 / LOWEST)
    falls_at_low = _slope(scores_NC, picked_N, math.exp(low)) < 0.0
    rises_at_high = _slope(scores_NC, picked_N, math.exp(high)) > 0.0
    if not falls_at_low and not rises_at_high:
        return 1.0, True  # The choices of every item score the same: no temperature is better.
    if not (falls_at_low and rises_at_high):
        return 1.0 / (HIGHEST if rises_at_high else LOWEST), True
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        if _slope(scores_NC, picked_N, math.exp(middle)) < 0.0:
            low = middle
        else:
            high = middle
    return math.exp(0.5 * (low + high)), False


def _slope(scores_NC: NDArray[np.float64], picked_N: NDArray[np.float64], beta: float) -> float:
    probs_NC = np.exp(apply_temperature(scores_NC, 1.0 / beta))
    expected_N = (probs_NC * np.where(np.isfinite(scores_NC), scores_NC, 0.0)).sum(axis=1)
    return float((expected_N - picked_N).mean())


def _nll(scores_NC: NDArray[np.float64], picked_N: NDArray[np.float64], beta: float) -> float:
    normalizer_N = np.logaddexp.reduce(beta * scores_NC, axis=1)
    return float((normalizer_N - beta * picked_N).mean())
