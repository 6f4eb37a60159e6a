"""SGR pooled over tasks, models or levels by a random-effects meta-analysis at each theta.

A mean of ratios is no estimate: its terms have no mean, and unresolved points would drop out. The
pooled SGR is the theta at which X - theta Y is 0 on average over the population of points, where
X = easy - zero_shot and Y = hard - zero_shot. All points enter, resolved or not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from study.statistics.across_points.pooling import PointArms, PooledSums
from study.statistics.across_points.trend import EASY_GAIN, HARD_GAIN
from study.statistics.differences import check_level, two_sided_p
from study.statistics.inversion import invert_test
from study.statistics.marginal_means import FloatArray

MIN_POINTS = 3
"""With two points the variance between points has one degree of freedom."""

_ROUNDS = 50
"""Steps of the fixed-point search for the estimate; it converges in a few."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledSgr:
    """SGR of a population of points."""

    value: float | None
    """None with a reason."""
    low: float | None
    high: float | None
    heterogeneity: float | None
    """SD of X - theta Y between points at the pooled SGR, beyond the sampling error; a fraction of
    accuracy. 0 if the points agree."""
    num_points: int
    level: float
    reason: str
    """Why there is no value; empty if there is one."""


def pooled_sgr(points: Sequence[PointArms], *, level: float = 0.95) -> PooledSgr:
    """Pools the SGR of several points.

    Args:
        points: All points, resolved or not; arms with item ids and draw ids.
        level: Coverage of the set, in (0, 1).

    Returns:
        The pooled SGR. Its interval has every theta that the meta-analysis of X - theta Y does not
        reject: variance between points by Paule and Mandel, interval by Hartung and Knapp with
        points - 1 degrees of freedom and a variance factor of at least 1. Points that share items
        or draws enter with their joint covariance. No value with fewer than three points, or
        where the mean gap is not resolved.

    Raises:
        ValueError: If level is not in (0, 1) or a point cannot be estimated.

    Source: Paule and Mandel, J. Res. Natl. Bur. Stand. 87 (1982) 377-385; Hartung and Knapp, Stat.
    Med. 20 (2001) 3875-3889; the bound of 1: Rover, Knapp and Friede, BMC Med. Res. Methodol. 15
    (2015) 99.
    """
    check_level(level)
    count = len(points)
    if count < MIN_POINTS:
        return _without(count, level, f"{count} of at least {MIN_POINTS} points to pool")
    sums = PooledSums(2 * count)
    for number, point in enumerate(points):
        weights = np.zeros((2, 2 * count))
        weights[0, number] = weights[1, count + number] = 1.0
        sums.add(point, [EASY_GAIN, HARD_GAIN], weights)
    moments = sums.moments()
    return pool(moments.values[:count], moments.values[count:], moments.covariance, level=level)


def pool(x: FloatArray, y: FloatArray, covariance: FloatArray, *, level: float) -> PooledSgr:
    """Pools numerators and denominators.

    Args:
        x: [points] numerators.
        y: [points] denominators.
        covariance: [2 points, 2 points] of all numerators, then all denominators.
        level: Coverage of the set, in (0, 1).

    Returns:
        As `pooled_sgr`.
    """
    count = len(x)

    def mean(weight_x: float, weight_y: float) -> _PopulationMean:
        return _mean_of(x, y, covariance, (weight_x, weight_y))

    gap = mean(0.0, 1.0)
    if gap.error == 0.0:
        return _without(count, level, "zero variance of the gaps")
    if gap.p_value(0.0) > 1.0 - level or gap.value <= 0.0:
        return _without(count, level, "the mean gap of the points is not resolved above 0")
    theta = float(gap.weights @ x / (gap.weights @ y))
    at_theta = gap
    for _ in range(_ROUNDS):
        at_theta = mean(1.0, -theta)
        before, theta = theta, float(at_theta.weights @ x / (at_theta.weights @ y))
        if abs(theta - before) <= 1e-12 * max(1.0, abs(theta)):
            break
    error = at_theta.error / abs(float(at_theta.weights @ y))
    found = invert_test(
        lambda value: pooled_p_value(x, y, covariance, value),
        level=level,
        centre=theta,
        scale=error,
    )
    if found.kind != "interval":
        return _without(count, level, "the gaps are too small: the interval is unbounded")
    return PooledSgr(
        value=theta,
        low=found.low,
        high=found.high,
        heterogeneity=at_theta.between,
        num_points=count,
        level=level,
        reason="",
    )


def pooled_p_value(x: FloatArray, y: FloatArray, covariance: FloatArray, theta: float) -> float:
    """Two-sided p-value of the null "the pooled SGR is theta"; arguments as of `pool`."""
    return _mean_of(x, y, covariance, (1.0, -theta)).p_value(0.0)


def _without(count: int, level: float, reason: str) -> PooledSgr:
    return PooledSgr(
        value=None,
        low=None,
        high=None,
        heterogeneity=None,
        num_points=count,
        level=level,
        reason=reason,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _PopulationMean:
    """Mean of a population of effects."""

    value: float
    error: float
    """Standard error by Hartung and Knapp."""
    between: float
    """SD between points."""
    weights: FloatArray
    """[points] weights of the points in the mean; their sum is 1."""

    def p_value(self, null: float) -> float:
        """Two-sided p-value of the null "the mean is this"."""
        if self.error == 0.0:
            return float(self.value == null)
        return two_sided_p((self.value - null) / self.error, len(self.weights) - 1)


def _mean_of(
    x: FloatArray, y: FloatArray, covariance: FloatArray, weights: tuple[float, float]
) -> _PopulationMean:
    """Mean of a weighted sum of numerator and denominator over the population of points."""
    identity = np.eye(len(x))
    mixing = np.hstack([weights[0] * identity, weights[1] * identity])
    effects = weights[0] * x + weights[1] * y
    return _random_effects_mean(effects, mixing @ covariance @ mixing.T)


def _random_effects_mean(effects: FloatArray, covariance: FloatArray) -> _PopulationMean:
    """The generalized least-squares mean of effects with a variance between them."""
    count = len(effects)
    ones, identity = np.ones(count), np.eye(count)
    # Points with all items and draws in common have a singular covariance.
    ridge = 1e-9 * float(np.trace(covariance)) / count

    def fit(between: float) -> tuple[FloatArray, float, float]:
        """[points] weights, variance of the mean, and Cochran's Q at a variance between points."""
        total = covariance + (between + ridge) * identity
        solved = np.linalg.solve(total, np.column_stack([ones, effects]))
        variance = 1.0 / float(ones @ solved[:, 0])
        weights: FloatArray = np.asarray(solved[:, 0] * variance, dtype=np.float64)
        deviations = effects - weights @ effects
        excess = float(deviations @ (solved[:, 1] - (weights @ effects) * solved[:, 0]))
        return weights, variance, excess

    spread = float(np.var(effects, ddof=1))
    if not float(np.trace(covariance)) > 0.0:
        mean = float(effects.mean())
        error = math.sqrt(spread / count)
        return _PopulationMean(
            value=mean, error=error, between=math.sqrt(spread), weights=ones / count
        )
    between = 0.0
    if fit(0.0)[2] > count - 1:
        high = spread
        while fit(high)[2] > count - 1:
            high *= 2.0
        between = float(brentq(lambda tau2: fit(tau2)[2] - (count - 1), 0.0, high, rtol=1e-8))
    weights, variance, excess = fit(between)
    factor = max(1.0, excess / (count - 1))
    return _PopulationMean(
        value=float(weights @ effects),
        error=math.sqrt(factor * variance),
        between=math.sqrt(between),
        weights=weights,
    )
