"""Bootstrap over items and seeds: intervals of statistics that are no mean of scores.

Expected calibration error, Brier score and selective accuracy depend on all answers at once.
Accuracies and their differences have exact intervals instead (`study.statistics.differences`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from study.statistics.differences import check_level
from study.statistics.marginal_means import FloatArray

NUM_RESAMPLES = 100
"""Enough for a standard deviation (within 7 %), which is all that the interval needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrapped:
    """A statistic with its bootstrap interval."""

    estimate: float
    low: float | None
    """None with a single item."""
    high: float | None
    level: float


def bootstrap_interval(
    statistic: Callable[..., float],
    *answers: FloatArray,
    bounds: tuple[float, float],
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    rng: np.random.Generator,
) -> Bootstrapped:
    """Interval of a statistic under resampling of items and seeds.

    Args:
        statistic: Called with the resampled arrays; their rows and columns may repeat.
        answers: [items, seeds, ...] arrays, such as confidences and scores; the same items and
            seeds in all of them. With one seed, the interval covers new items only.
        bounds: Smallest and largest value of the statistic.
        level: Coverage, in (0, 1).
        num_resamples: Resamples.
        rng: Source of all randomness.

    Returns:
        estimate - bias +/- z SD of the resampled statistic, cut at the bounds. Seeds are resampled
        one fewer than there are, which makes their variance unbiased. Both parts contain the item x
        seed interaction, which is conservative.

    Raises:
        ValueError: If level is not in (0, 1) or the arrays have different items or seeds.

    Source: Owen and Eckles, Ann. Appl. Stat. 6 (2012) 895-927 (items and seeds at once); Rao and
    Wu, J. Am. Stat. Assoc. 83 (1988) 231-241 (one fewer); Davison and Hinkley, Bootstrap Methods
    and their Application (1997), equation 5.5 (normal interval with bias correction).
    """
    check_level(level)
    num_items, num_seeds = answers[0].shape[:2]
    if any(values.shape[:2] != (num_items, num_seeds) for values in answers):
        shapes = [values.shape for values in answers]
        raise ValueError(f"all arrays must have the same items and seeds, got {shapes}")
    estimate = float(statistic(*answers))
    if num_items < 2:
        return Bootstrapped(estimate=estimate, low=None, high=None, level=level)
    resampled = np.empty(num_resamples)
    for number in range(num_resamples):
        rows = rng.integers(num_items, size=num_items)
        columns = rng.integers(num_seeds, size=max(num_seeds - 1, 1))
        resampled[number] = statistic(*(values[np.ix_(rows, columns)] for values in answers))
    centre = 2.0 * estimate - float(resampled.mean())
    half = float(special.ndtri(0.5 + 0.5 * level)) * float(resampled.std(ddof=1))
    low, high = max(centre - half, bounds[0]), min(centre + half, bounds[1])
    if not math.isfinite(centre) or low > high:
        return Bootstrapped(estimate=estimate, low=None, high=None, level=level)
    return Bootstrapped(estimate=estimate, low=low, high=high, level=level)
