"""Ratios from a table of means alone: one accuracy a seed, without the scores of items.

Published tables rarely have more. Each arm is an independent sample of seeds, so the variance of
X - theta Y is a sum over arms, and its degrees of freedom depend on theta: a table of five and of
sixteen seeds has no single number of them. The set is therefore found by inverting the test.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from study.statistics.differences import check_level, critical_value, t_difference, two_sided_p
from study.statistics.fieller import PairCovariance, g_statistic
from study.statistics.influences import Contrast, Sample
from study.statistics.inversion import invert_test
from study.statistics.marginal_means import FloatArray
from study.statistics.moments import Component, Moments
from study.statistics.ratio import RatioEstimate


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RatioOfMeans(RatioEstimate):
    """A ratio whose test has other degrees of freedom at each value."""

    spread: Moments
    """Numerator and denominator, with a component for the seeds (and the items) of each arm."""

    def p_value(self, theta: float) -> float | None:
        """Two-sided p-value of the null "the ratio is theta"; None without variance."""
        return _p_value(self.spread, theta)


def ratio_of_means(
    arms: Mapping[str, ArrayLike],
    *,
    numerator: Contrast,
    denominator: Contrast,
    num_items: int | None = None,
    level: float = 0.95,
) -> RatioOfMeans:
    """Ratio of two contrasts of arms, each given as one mean score a seed.

    Args:
        arms: Name -> [seeds] mean scores in [0, 1], from independent draws. A single number is a
            deterministic arm, such as zero-shot.
        numerator: Arm name -> weight.
        denominator: Arm name -> weight.
        num_items: Test items behind each mean. Adds the binomial variance p (1 - p) / num_items of
            each arm, as if every arm had its own items: arms on common items vary together, so this
            is conservative. None: the set covers new seeds on these items only.
        level: Coverage of the set and the intervals, in (0, 1).

    Returns:
        The ratio with the set {theta: (X - theta Y)^2 <= t^2 Var(X - theta Y)}, where t has
        Satterthwaite's degrees of freedom at each theta.

    Raises:
        ValueError: If a mean is out of range, num_items is below 2, or level is not in (0, 1).
    """
    check_level(level)
    if num_items is not None and num_items < 2:
        raise ValueError(f"num_items must be at least 2, got {num_items}")
    means = {name: _checked(name, values) for name, values in arms.items()}
    spread = _moments(means, (numerator, denominator), num_items)
    seeds = {name: len(values) for name, values in means.items() if np.ndim(arms[name])}
    sample = Sample(
        means={name: float(values.mean()) for name, values in means.items()},
        num_items=num_items,
        num_units=num_items or 0,
        num_seeds=min(seeds.values(), default=0),
        missing_share=0.0,
        num_seeded_arms=len(seeds),
        one_seed_arms=tuple(name for name, count in seeds.items() if count == 1),
    )
    return _ratio(spread, sample, level)


def _checked(name: str, values: ArrayLike) -> FloatArray:
    """One arm's means as a vector."""
    try:
        means = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if means.ndim != 1 or not len(means):
        raise ValueError(f"{name} must be one mean score a seed, got shape {means.shape}")
    if not ((means >= 0.0) & (means <= 1.0)).all():
        raise ValueError(f"{name} must hold mean scores in [0, 1], got {means.tolist()}")
    return means


def _moments(
    means: Mapping[str, FloatArray], contrasts: tuple[Contrast, ...], num_items: int | None
) -> Moments:
    """The contrasts with one component for each arm's seeds and, if known, its items."""
    unknown = sorted({name for contrast in contrasts for name in contrast} - set(means))
    if unknown:
        raise ValueError(f"contrasts must name given arms {sorted(means)}, got {unknown}")
    values, components = np.zeros(len(contrasts)), []
    for name, scores in means.items():
        weights = np.array([contrast.get(name, 0.0) for contrast in contrasts])
        mean, num_seeds = float(scores.mean()), len(scores)
        values += weights * mean
        square = np.outer(weights, weights)
        if num_seeds > 1:
            variance = float(scores.var(ddof=1)) / num_seeds
            components.append(Component(covariance=square * variance, df=num_seeds - 1))
        if num_items is not None:
            variance = mean * (1.0 - mean) / num_items
            components.append(Component(covariance=square * variance, df=num_items - 1))
    return Moments(values=values, components=tuple(components))


def _ratio(spread: Moments, sample: Sample, level: float) -> RatioOfMeans:
    """The ratio with its set; without one if the denominator has no variance."""
    x, y = (float(value) for value in spread.values)
    ratio = x / y if y != 0.0 else None
    total = spread.covariance
    pair = PairCovariance(xx=float(total[0, 0]), xy=float(total[0, 1]), yy=float(total[1, 1]))
    of_gap = spread.combine([0.0, 1.0])
    centre = 0.0 if ratio is None else ratio
    at_centre = spread.combine([1.0, -centre])
    fieller = g = None
    if of_gap.nu is not None:
        scale = math.sqrt(at_centre.variance or of_gap.variance) / (abs(y) or 1.0)
        fieller = invert_test(
            lambda theta: _p_value(spread, theta) or 0.0, level=level, centre=centre, scale=scale
        )
        g = g_statistic(y=y, covariance=pair, critical=critical_value(of_gap.nu, level))
    return RatioOfMeans(
        ratio=ratio,
        numerator=t_difference(spread.combine([1.0, 0.0]), level=level),
        denominator=t_difference(of_gap, level=level),
        denominator_minus_numerator=t_difference(spread.combine([-1.0, 1.0]), level=level),
        fieller=fieller,
        g=g,
        nu=at_centre.nu if fieller else None,
        covariance=pair,
        level=level,
        reason="" if fieller else "no variance of the gap: it needs two seeds, or num_items",
        sample=sample,
        spread=spread,
    )


def _p_value(spread: Moments, theta: float) -> float | None:
    """p-value of X - theta Y = 0, with the degrees of freedom at this theta."""
    residual = spread.combine([1.0, -theta])
    if residual.nu is None:
        return None
    return two_sided_p(residual.estimate / math.sqrt(residual.variance), residual.nu)
