"""Thresholds and weights that follow the model: moving averages of its confidence over rounds.

One update a round, over the whole pool: the published methods make one a training batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainables.self_training.confidence import Guess

MOMENTUM = 0.5
"""Weight of the rounds before. The published 0.999 is for one update a batch, thousands of them;
with a handful of rounds it would freeze the first round's value. At 0.5 a value is halved every
round, and the first round, which has nothing before it, is taken as it is."""

NUM_SIGMAS = 2.0
"""SoftMatch: a confidence two standard deviations below the mean weighs exp(-2).

Source: Chen et al. 2023, arXiv:2301.10921 (n_sigma)."""


MIN_SD = 0.01
"""SoftMatch: least standard deviation of the confidence, one point of it. Smaller differences are
no news: a logit between 16 and 32 in bfloat16 is a multiple of 0.125, 3 points of an undecided
pair's confidence. Without it a pool of one confidence would be told apart by rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceState:
    """Moving averages that one round hands to the next, as plain numbers."""

    mean: float
    """Of the confidence, on its scale."""
    variance: float
    """Of the confidence about the mean: within the rounds and between them."""
    class_means: tuple[tuple[float, ...], ...]
    """Mean probability of each class, one tuple for each number of choices, fewest first."""
    texts: tuple[str, ...] | None = None
    """What the classes are, in all rounds of a chain: these texts; None: positions."""


def measured(guesses: Sequence[Guess], texts: tuple[str, ...] | None = None) -> ConfidenceState:
    """Returns the values of one round alone.

    Args:
        guesses: The whole pool, at least one item.
        texts: Of the choices, where they are the classes.
    """
    # Exact sums: no value depends on the order of the pool.
    values = [guess.confidence for guess in guesses]
    mean = math.fsum(values) / len(values)
    spread = math.fsum((value - mean) ** 2 for value in values)
    classes = []
    for k in sorted({guess.num_choices for guess in guesses}):
        rows = [guess.probabilities for guess in guesses if guess.num_choices == k]
        classes.append(tuple(math.fsum(column) / len(rows) for column in zip(*rows, strict=True)))
    return ConfidenceState(
        mean=mean,
        variance=spread / max(len(values) - 1, 1),
        class_means=tuple(classes),
        texts=texts,
    )


def updated(
    state: ConfidenceState | None, now: ConfidenceState, momentum: float = MOMENTUM
) -> ConfidenceState:
    """Returns momentum * state + (1 - momentum) * this round's values.

    The variance is that of the mixture of the rounds, so it holds the shift between their means:
    m v0 + (1 - m) v1 + m (1 - m) (mean0 - mean1)^2 (the law of total variance; of single values it
    is the exponentially weighted variance of Finch 2009, Incremental calculation of weighted mean
    and variance). A mean of variances would be 0 where each round is of one confidence.

    Args:
        state: Of the round before; None in the first round.
        now: Of this round alone.
        momentum: In [0, 1).

    Raises:
        ValueError: If the momentum is out of range, or classes are others than in the round before.
    """
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}; 1 would never learn")
    if state is None:
        return now
    if state.texts != now.texts:
        raise ValueError(
            f"classes of answers were {state.texts or 'positions'} in the round before and are "
            f"{now.texts or 'positions'} in this one: their averages cannot be mixed; fix the "
            "classes for the whole chain"
        )

    def mix(before: float, after: float) -> float:
        return momentum * before + (1.0 - momentum) * after

    old = {len(means): means for means in state.class_means}
    new = {len(means): means for means in now.class_means}
    classes: Mapping[int, tuple[float, ...]] = {
        **old,
        **{
            k: tuple(mix(a, b) for a, b in zip(old.get(k, means), means, strict=True))
            for k, means in new.items()
        },
    }
    shift = momentum * (1.0 - momentum) * (state.mean - now.mean) ** 2
    return ConfidenceState(
        mean=mix(state.mean, now.mean),
        variance=mix(state.variance, now.variance) + shift,
        class_means=tuple(classes[k] for k in sorted(classes)),
        texts=now.texts,
    )


def class_factors(state: ConfidenceState) -> Mapping[int, tuple[float, ...]]:
    """Returns number of choices -> mean probability of each class over the largest of them.

    Source: FreeMatch, Wang et al. 2023, arXiv:2205.07246 (self-adaptive local threshold).
    """
    return {len(means): tuple(mean / max(means) for mean in means) for means in state.class_means}


def soft_weight(confidence: float, *, mean: float, variance: float) -> float:
    """Returns exp(-min(c - mean, 0)^2 / (2 variance / n_sigma^2)), in [0, 1]; 1 from the mean up.

    Source: SoftMatch, Chen et al. 2023, arXiv:2301.10921 (truncated Gaussian weighting); the floor
    of the variance is ours (`MIN_SD`).

    Args:
        confidence: Of an item.
        mean: Of the confidence.
        variance: About that mean; below MIN_SD^2 it counts as that.
    """
    below = min(confidence - mean, 0.0)
    return math.exp(-(below**2) * NUM_SIGMAS**2 / (2.0 * max(variance, MIN_SD**2)))
