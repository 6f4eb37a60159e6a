"""The one core behind SGR and residual recovery: the ratio of two contrasts of arms.

theta = (numerator contrast) / (denominator contrast), with the Fieller set that belongs to it.
The sign of the denominator does not matter here: `study.statistics.recovery` interprets a negative
gap.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from study.statistics.arms import ArmScores
from study.statistics.differences import (
    Difference,
    check_level,
    critical_value,
    t_difference,
    two_sided_p,
)
from study.statistics.fieller import FiellerSet, PairCovariance, fieller_set, g_statistic
from study.statistics.influences import Clusters, Contrast, Influences, Sample, influences
from study.statistics.moments import LinearEstimate, Moments, moments


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RatioEstimate:
    """Ratio of two contrasts with everything that its interval was computed from."""

    ratio: float | None
    """numerator / denominator, whatever the verdict; None if the denominator is 0."""
    numerator: Difference
    denominator: Difference
    """Its interval uses the nu of the set, so it excludes 0 exactly if g < 1."""
    denominator_minus_numerator: Difference
    fieller: FiellerSet | None
    """The set, bounded or not, with unconditional coverage `level`; None without variance."""
    g: float | None
    """t^2 Var(denominator) / denominator^2; None without variance or for a denominator of 0."""
    nu: float | None
    """Degrees of freedom of the set, of g and of the denominator's interval."""
    covariance: PairCovariance
    """Of (numerator, denominator)."""
    level: float
    reason: str
    """Why there is no set; empty if there is one."""
    sample: Sample
    """Arm means, numbers of items and seeds, and arms without seed variance."""

    def p_value(self, theta: float) -> float | None:
        """Two-sided p-value of the null "the ratio is theta".

        Args:
            theta: Any finite ratio.

        Returns:
            At most 1 - level exactly if the set excludes theta; None if
            numerator - theta denominator has no variance.
        """
        variance = self.covariance.of_residual(theta)
        if self.nu is None or variance == 0.0:
            return None
        residual = self.numerator.estimate - theta * self.denominator.estimate
        return two_sided_p(residual / math.sqrt(variance), self.nu)


def estimate_ratio(
    arms: Mapping[str, ArmScores],
    *,
    numerator: Contrast,
    denominator: Contrast,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> RatioEstimate:
    """Estimates the ratio of two contrasts of arm means with its Fieller set.

    Args:
        arms: Name -> arm; joined by item id where the arms have ids, and their seeds by draw id.
        numerator: Arm name -> weight.
        denominator: Arm name -> weight.
        level: Coverage of the set and the intervals, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The ratio, its set and the paired contrasts.

    Raises:
        ValueError: If level is not in (0, 1), or the arms and contrasts do not match.
    """
    check_level(level)
    parts = influences(arms, [numerator, denominator], clusters)
    return ratio_of(parts, level=level)


def ratio_of(parts: Influences, *, level: float) -> RatioEstimate:
    """Ratio of the first to the second of two contrasts.

    Args:
        parts: Influences of exactly two contrasts: numerator, denominator.
        level: Coverage, in (0, 1).

    Returns:
        The ratio; without a set if the denominator has no variance.
    """
    x, y = (float(value) for value in parts.values)
    ratio = x / y if y != 0.0 else None
    if parts.unit_weights is None:
        unit = "item" if parts.sample.num_items == 1 else "cluster"
        empty = Moments(values=parts.values, components=())
        return _without_set(parts, empty, ratio, level, f"one {unit}: no variance over {unit}s")
    spread = moments(parts)
    of_y = spread.combine([0.0, 1.0])
    if of_y.nu is None:
        reason = "zero variance: the gap is the same for every item and seed"
        return _without_set(parts, spread, ratio, level, reason)
    of_ratio = None if ratio is None else spread.combine([1.0, -ratio]).nu
    # One nu for both: with two, the set could be bounded while the interval of the gap holds 0.
    nu = of_y.nu if of_ratio is None else min(of_y.nu, of_ratio)
    pair, critical = _pair(spread), critical_value(nu, level)
    return RatioEstimate(
        ratio=ratio,
        numerator=t_difference(spread.combine([1.0, 0.0]), level=level),
        denominator=t_difference(
            LinearEstimate(estimate=y, variance=pair.yy, nu=nu), level=level, nu=nu
        ),
        denominator_minus_numerator=t_difference(spread.combine([-1.0, 1.0]), level=level),
        fieller=fieller_set(x=x, y=y, covariance=pair, critical=critical),
        g=g_statistic(y=y, covariance=pair, critical=critical),
        nu=nu,
        covariance=pair,
        level=level,
        reason="",
        sample=parts.sample,
    )


def _without_set(
    parts: Influences, spread: Moments, ratio: float | None, level: float, reason: str
) -> RatioEstimate:
    """The ratio without a set, with the reason."""
    return RatioEstimate(
        ratio=ratio,
        numerator=t_difference(spread.combine([1.0, 0.0]), level=level),
        denominator=t_difference(spread.combine([0.0, 1.0]), level=level),
        denominator_minus_numerator=t_difference(spread.combine([-1.0, 1.0]), level=level),
        fieller=None,
        g=None,
        nu=None,
        covariance=_pair(spread),
        level=level,
        reason=reason,
        sample=parts.sample,
    )


def _pair(spread: Moments) -> PairCovariance:
    """Total covariance of the two contrasts."""
    total = spread.covariance
    return PairCovariance(xx=float(total[0, 0]), xy=float(total[0, 1]), yy=float(total[1, 1]))
