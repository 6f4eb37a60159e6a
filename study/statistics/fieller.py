"""Fieller confidence set of a ratio of two correlated, normally distributed estimates.

Only the algebra: two estimates, their covariance and a critical value give the set.
`study.statistics.ratio` makes the estimates.

Source: E. C. Fieller, "Some problems in interval estimation", J. R. Stat. Soc. B 16 (1954)
175-185. Solved around the point estimate, so that a bounded set always contains it.
"""

import math
from dataclasses import dataclass
from typing import Literal

SetKind = Literal["interval", "exterior", "ray up", "ray down", "line", "empty"]

_CANCELLATION = 1e-13
"""A variance below this share of the terms that it is the difference of is a rounding error: 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FiellerSet:
    """All ratios that the data do not reject; an end that does not exist is None."""

    kind: SetKind
    """interval [low, high]; exterior (-inf, low] and [high, inf); ray up [low, inf); ray down
    (-inf, high]; line: every ratio; empty: no ratio (only without variance)."""
    low: float | None
    high: float | None

    def contains(self, theta: float) -> bool:
        """Decides whether the ratio theta belongs to the set (ends included)."""
        above_low = self.low is not None and theta >= self.low
        below_high = self.high is not None and theta <= self.high
        match self.kind:
            case "interval":
                return above_low and below_high
            case "exterior":
                return not above_low or not below_high or theta in (self.low, self.high)
            case "ray up":
                return above_low
            case "ray down":
                return below_high
            case "line":
                return True
            case "empty":
                return False


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCovariance:
    """Covariance matrix of two estimates x and y."""

    xx: float
    xy: float
    yy: float

    def of_residual(self, theta: float) -> float:
        """Variance of x - theta y, never negative.

        Args:
            theta: Any finite ratio.

        Returns:
            xx - 2 theta xy + theta^2 yy; a rounding error becomes exactly 0.
        """
        cross = 2.0 * theta * self.xy
        square = theta * theta * self.yy
        variance = self.xx - cross + square
        size = self.xx + abs(cross) + square
        return variance if variance > _CANCELLATION * size else 0.0


def g_statistic(*, y: float, covariance: PairCovariance, critical: float) -> float | None:
    """Squared ratio of the denominator's half-width to the denominator.

    Below 1 exactly if |y| exceeds its half-width (floating-point division and squaring preserve
    that order), so "g < 1" and "the interval of y excludes 0" are equivalent.

    Args:
        y: Estimate of the denominator.
        covariance: Covariance of the pair.
        critical: Critical value t, > 0.

    Returns:
        t^2 Var(y) / y^2; None if y is 0 or the quotient is not finite.
    """
    if y == 0.0:
        return None
    share = critical * math.sqrt(covariance.yy) / abs(y)
    g = share * share
    return g if math.isfinite(g) else None


def fieller_set(*, x: float, y: float, covariance: PairCovariance, critical: float) -> FiellerSet:
    """All theta with (x - theta y)^2 <= t^2 Var(x - theta y).

    Args:
        x: Estimate of the numerator.
        y: Estimate of the denominator.
        covariance: Covariance of the two estimates.
        critical: Critical value t, > 0 (units: standard errors).

    Returns:
        A bounded interval if g < 1, else the unbounded set, which is never clipped.
    """
    half_width = critical * math.sqrt(covariance.yy)
    if half_width < abs(y):
        return _bounded(x=x, y=y, covariance=covariance, critical=critical)
    return _unbounded(x=x, y=y, covariance=covariance, critical=critical)


def _bounded(*, x: float, y: float, covariance: PairCovariance, critical: float) -> FiellerSet:
    """The interval for g < 1: roots of (1 - g) d^2 - 2 k d - c = 0 in d = theta - x / y.

    Solved for the distance from the point estimate, where c >= 0: the discriminant cannot be
    negative and the roots enclose the estimate, whatever the rounding.
    """
    ratio = x / y
    unit = critical / y
    share = critical * math.sqrt(covariance.yy) / abs(y)
    one_minus_g = (1.0 - share) * (1.0 + share)
    k = (ratio * covariance.yy - covariance.xy) * unit * unit
    c = covariance.of_residual(ratio) * unit * unit
    root = math.sqrt(k * k + one_minus_g * c)
    if c == 0.0 or root == 0.0:
        # The residual has no variance at the estimate, so the set is that one point.
        return FiellerSet(kind="interval", low=ratio, high=ratio)
    far = k + math.copysign(root, k)
    ends = sorted((ratio + far / one_minus_g, ratio - c / far))
    return FiellerSet(kind="interval", low=ends[0], high=ends[1])


def _unbounded(*, x: float, y: float, covariance: PairCovariance, critical: float) -> FiellerSet:
    """The set for g >= 1: a theta^2 - 2 b theta + c <= 0 with a <= 0."""
    t2 = critical * critical
    half_width = critical * math.sqrt(covariance.yy)
    a = (abs(y) - half_width) * (abs(y) + half_width)
    b = x * y - t2 * covariance.xy
    c = x * x - t2 * covariance.xx
    if a == 0.0:
        if b == 0.0:
            return FiellerSet(kind="line" if c <= 0.0 else "empty", low=None, high=None)
        end = c / (2.0 * b)
        if b > 0.0:
            return FiellerSet(kind="ray up", low=end, high=None)
        return FiellerSet(kind="ray down", low=None, high=end)
    discriminant = b * b - a * c
    if discriminant <= 0.0:
        return FiellerSet(kind="line", low=None, high=None)
    far = b + math.copysign(math.sqrt(discriminant), b)
    ends = sorted((far / a, c / far))
    return FiellerSet(kind="exterior", low=ends[0], high=ends[1])
