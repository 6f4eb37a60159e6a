"""Differences and other linear contrasts of arms, each with its interval and p-value."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import special

from study.statistics.arms import ArmScores
from study.statistics.influences import Clusters, Contrast, influences
from study.statistics.moments import LinearEstimate, moments


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A difference of arm means (or another contrast); fractions, not points."""

    estimate: float
    low: float | None
    """Lower end of the interval; None without variance."""
    high: float | None
    p_value: float | None
    """Two-sided, of the null that the contrast is 0; below 1 - level exactly if the interval
    excludes 0. None without an interval."""
    nu: float | None
    """Degrees of freedom of the t distribution used."""
    level: float


def critical_value(nu: float, level: float) -> float:
    """Two-sided critical value of Student's t.

    Args:
        nu: Degrees of freedom, > 0 (need not be whole).
        level: Coverage, in (0, 1).

    Returns:
        The (1 + level) / 2 quantile.
    """
    return float(special.stdtrit(nu, 0.5 + 0.5 * level))


def two_sided_p(statistic: float, nu: float) -> float:
    """P(|T| >= |statistic|) for Student's t with nu degrees of freedom."""
    return float(2.0 * special.stdtr(nu, -abs(statistic)))


def inferiority_p(difference: Difference, margin: float) -> float | None:
    """One-sided p-value of the null that the difference is -margin or less.

    Args:
        difference: First - second; higher is better.
        margin: Largest loss that does not matter, > 0.

    Returns:
        P(T >= (estimate + margin) / error); None without variance. Below alpha exactly if the lower
        end of the two-sided interval of level 1 - 2 alpha is above -margin.
    """
    if difference.nu is None or difference.low is None:
        return None
    error = (difference.estimate - difference.low) / critical_value(difference.nu, difference.level)
    return float(special.stdtr(difference.nu, -(difference.estimate + margin) / error))


def check_level(level: float) -> None:
    """Raises ValueError unless level is in (0, 1)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be in (0, 1), got level={level}")


def t_difference(linear: LinearEstimate, *, level: float, nu: float | None = None) -> Difference:
    """Turns an estimate with variance into an interval and a p-value.

    Args:
        linear: Estimate, variance and degrees of freedom.
        level: Coverage of the interval, in (0, 1).
        nu: Degrees of freedom to use instead of the estimate's own.

    Returns:
        estimate +/- t sqrt(variance); no interval if the variance is 0, because one of width 0
        would claim certainty.
    """
    nu = linear.nu if nu is None else nu
    if linear.variance == 0.0 or nu is None:
        return Difference(
            estimate=linear.estimate, low=None, high=None, p_value=None, nu=None, level=level
        )
    error = math.sqrt(linear.variance)
    half_width = critical_value(nu, level) * error
    return Difference(
        estimate=linear.estimate,
        low=linear.estimate - half_width,
        high=linear.estimate + half_width,
        p_value=two_sided_p(linear.estimate / error, nu),
        nu=nu,
        level=level,
    )


def estimate_contrast(
    arms: Mapping[str, ArmScores],
    contrast: Contrast,
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Difference:
    """Estimates one linear contrast of arm means.

    Args:
        arms: Name -> arm; joined by item id where the arms have ids.
        contrast: Arm name -> weight, such as {"easy": 1, "zero_shot": -1}.
        level: Coverage of the interval, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The contrast; without an interval for one item or without variance.

    Raises:
        ValueError: If level is not in (0, 1), or the arms and the contrast do not match.
    """
    check_level(level)
    parts = influences(
        {name: arms[name] for name in arms if name in contrast}, [contrast], clusters
    )
    if parts.unit_weights is None:
        value = float(parts.values[0])
        return t_difference(LinearEstimate(estimate=value, variance=0.0, nu=None), level=level)
    return t_difference(moments(parts).combine([1.0]), level=level)


def paired_difference(
    first: ArmScores, second: ArmScores, *, level: float = 0.95, clusters: Clusters | None = None
) -> Difference:
    """Difference of two arms on the items that both have scored: first - second.

    Draws that the arms share (same draw id) are paired: their covariance is subtracted.

    Args:
        first: The arm whose mean counts positive.
        second: The arm whose mean counts negative.
        level: Coverage of the interval, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The paired difference with interval and p-value of the null "no difference".

    Raises:
        ValueError: As `estimate_contrast`.
    """
    arms = {"first": first, "second": second}
    return estimate_contrast(arms, {"first": 1.0, "second": -1.0}, level=level, clusters=clusters)
