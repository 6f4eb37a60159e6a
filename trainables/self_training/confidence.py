"""Confidence of a model in its labels of a pool: its scales, valid thresholds, moving averages.

The moving averages are updated once a round over the whole pool; the published methods (FreeMatch,
SoftMatch) update them in every training batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Rule = Literal["fixed", "quantile", "class-balanced", "freematch", "softmatch"]
"""How confident items are chosen; described in `trainables.self_training.selection`."""

Scale = Literal["raw", "chance-normalised"]
"""`raw`: the largest probability c of k choices, in [1/k, 1]; comparable for one k only.
`chance-normalised`: (c - 1/k) / (1 - 1/k), 0 at chance and 1 at certainty for every k."""

_SUM_TOLERANCE = 1e-5
"""Of probabilities that went through float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """A model's prediction for one unlabelled item."""

    id: str
    probabilities: tuple[float, ...]
    """Of each choice, in the item's order; they sum to 1."""
    label: int | None
    """The most probable choice; None for an exact tie."""
    confidence: float
    """On the requested scale."""

    @property
    def num_choices(self) -> int:
        """How many choices the item has."""
        return len(self.probabilities)


def read_pool(pool: Mapping[str, ArrayLike], scale: Scale) -> tuple[Guess, ...]:
    """Returns the guesses of a pool, sorted by id whatever the order of the mapping.

    Args:
        pool: Item id -> one probability a choice, averaged over the orders already.
        scale: Of the confidence.

    Raises:
        ValueError: If the pool is empty or an item has no distribution over two or more choices.
    """
    if not pool:
        raise ValueError(
            "the unlabelled pool is empty, and self-training needs items to label: choose a level "
            "with a larger pool, or use fewer labels of it"
        )
    return tuple(_guess(id_, pool[id_], scale) for id_ in sorted(pool))


def check_threshold(
    tau: float | None, *, rule: Rule, scale: Scale, num_choices: Iterable[int]
) -> None:
    """Refuses a threshold that the rule and the scale cannot have.

    Args:
        tau: The threshold; None for `softmatch`.
        rule: How confident items are chosen.
        scale: Of the confidence.
        num_choices: Of the items of the pool, each number at least once.

    Raises:
        ValueError: If tau is outside [1/k, 1] (raw) or [0, 1] (chance-normalised, or the share of
            `quantile`), missing, given to a rule without one, or if raw confidences of different
            numbers of choices would be compared.
    """
    sizes = sorted(set(num_choices))
    if scale == "raw" and len(sizes) > 1:
        raise ValueError(
            f"confidence 'raw' cannot compare items with {sizes} choices, because their chance "
            "levels differ; use 'chance-normalised'"
        )
    if rule == "softmatch":
        if tau is not None:
            raise ValueError(
                f"rule 'softmatch' weights every item and has no threshold, got {tau}; leave it out"
            )
        return
    if tau is None:
        raise ValueError(f"rule {rule!r} needs a threshold; give one, or use 'softmatch'")
    low, quantity = 0.0, "chance-normalised confidence"
    if rule == "quantile":
        quantity = "the share of the pool that is left out"
    elif scale == "raw" and sizes:
        low, quantity = 1.0 / sizes[0], f"raw confidence of {sizes[0]} choices"
    if not low <= tau <= 1.0:
        raise ValueError(
            f"threshold {tau} of rule {rule!r} must be in [{low:.4g}, 1], the range of {quantity}"
        )


def _guess(id_: str, values: ArrayLike, scale: Scale) -> Guess:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(f"item {id_!r}: one probability a choice, two or more; got {values!r}")
    if not (np.all(array >= 0.0) and abs(float(array.sum()) - 1.0) <= _SUM_TOLERANCE):
        raise ValueError(
            f"item {id_!r}: probabilities must be >= 0 and sum to 1, got {array.tolist()}"
        )
    probabilities = tuple(array.tolist())
    top = max(probabilities)
    is_tie = probabilities.count(top) > 1
    return Guess(
        id=id_,
        probabilities=probabilities,
        label=None if is_tie else probabilities.index(top),
        confidence=_on_scale(min(top, 1.0), len(probabilities), scale),
    )


def _on_scale(top: float, num_choices: int, scale: Scale) -> float:
    if scale == "raw":
        return top
    chance = 1.0 / num_choices
    # Rounding may leave the largest of k equal probabilities below 1/k.
    return max(0.0, (top - chance) / (1.0 - chance))


MOMENTUM = 0.5
"""Weight of earlier rounds. The published 0.999 is for one update per batch, thousands of them;
with a handful of rounds it would freeze the first round's value. At 0.5 a value's weight halves
every round. The first round has no earlier ones."""

NUM_SIGMAS = 2.0
"""SoftMatch: a confidence two standard deviations below the mean weighs exp(-2).

Source: Chen et al. 2023, arXiv:2301.10921 (n_sigma)."""


MIN_SD = 0.01
"""SoftMatch: lower bound of the confidence's standard deviation, one point. Smaller differences
carry no information: a logit between 16 and 32 in bfloat16 is a multiple of 0.125, 3 points of an
undecided pair's confidence. Without it, rounding would rank a pool of equal confidences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceState:
    """Moving averages that one round passes to the next."""

    mean: float
    """Of the confidence, on its scale."""
    variance: float
    """Of the confidence about the mean, within and between rounds."""
    class_means: tuple[tuple[float, ...], ...]
    """Mean probability of each class, one tuple for each number of choices, fewest first."""
    texts: tuple[str, ...] | None = None
    """The classes in all rounds of a chain; None: positions."""


def measured(guesses: Sequence[Guess], texts: tuple[str, ...] | None = None) -> ConfidenceState:
    """Returns the averages of a single round.

    Args:
        guesses: The whole pool, at least one item.
        texts: Of the choices, if they are the classes.
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

    The variance is that of the mixture of rounds, so it includes the shift between their means:
    m v0 + (1 - m) v1 + m (1 - m) (mean0 - mean1)^2 (the law of total variance; of single values it
    is the exponentially weighted variance of Finch 2009, Incremental calculation of weighted mean
    and variance). A mean of variances would be 0 if every round had a single confidence.

    Args:
        state: Of the round before; None in the first round.
        now: Of this round alone.
        momentum: In [0, 1).

    Raises:
        ValueError: If the momentum is out of range, or the classes differ from the round before.
    """
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
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
