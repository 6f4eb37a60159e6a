"""Difference of two SGRs, with the joint covariance of all their arms.

SGR_1 - SGR_2 = X_1 / Y_1 - X_2 / Y_2 is no linear contrast, and its two ratios share items, often
the floor, and sometimes the ceiling. Fieller's idea still applies: under the null that the
difference is delta, some share theta makes both X_1 - (theta + delta) Y_1 and X_2 - theta Y_2 zero
in expectation. The test takes the theta at which both are least implausible.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from study.statistics.arms import ArmScores
from study.statistics.differences import check_level, t_difference, two_sided_p
from study.statistics.influences import Clusters, influences
from study.statistics.inversion import invert_test
from study.statistics.marginal_means import FloatArray
from study.statistics.moments import Moments, moments
from study.statistics.recovery import Roles

_GRID, _ZOOMS = 65, 6
"""Tried shares in each round of the search for the least implausible one, and rounds."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SgrDifference:
    """First SGR - second SGR."""

    estimate: float | None
    """None with a reason."""
    first: float | None
    second: float | None
    low: float | None
    high: float | None
    p_value: float | None
    """Two-sided, of the null that the SGRs are equal."""
    p_inferior: float | None
    """One-sided, of the null that the first is worse by the margin or more; None without one."""
    level: float
    reason: str
    """Why there is no difference; empty if there is one."""


def estimate_sgr_difference(
    arms: Mapping[str, ArmScores],
    first: Roles,
    second: Roles,
    *,
    level: float = 0.95,
    margin: float | None = None,
    clusters: Clusters | None = None,
) -> SgrDifference:
    """Estimates the difference of two SGRs on the same test items.

    Args:
        arms: Name -> arm; an arm of both SGRs is given once.
        first: Arms of the first SGR.
        second: Arms of the second.
        level: Coverage of the interval, in (0, 1).
        margin: Of non-inferiority, if it is tested.
        clusters: Cluster of each item, where items were sampled in groups.

    Returns:
        The difference, if both gaps are resolved. Its interval is every delta that the test does
        not reject: t^2(nu) against min over theta of r' V^-1 r, where r holds the two residuals at
        (theta, delta), V is their covariance, and nu has Satterthwaite's value at the minimum. With
        one gap for both SGRs this is Fieller's interval of (source_1 - source_2) / gap.

    Raises:
        ValueError: If level is not in (0, 1), or the arms cannot be joined.

    Source: Fieller 1954 for one ratio; the minimum over a nuisance parameter as in Guggenberger,
    Kleibergen, Mavroeidis and Chen, Econometrica 80 (2012) 2649-2666, who show that it is not
    liberal, however small the gaps.
    """
    contrasts = [first.numerator, first.denominator, second.numerator, second.denominator]
    needed = {name for contrast in contrasts for name in contrast}
    parts = influences({n: arms[n] for n in arms if n in needed}, contrasts, clusters)
    if parts.unit_weights is None:
        check_level(level)
        return _without(level, "one item (or cluster) has no variance")
    return sgr_difference_of(moments(parts), first, second, level=level, margin=margin)


def sgr_difference_of(
    spread: Moments, first: Roles, second: Roles, *, level: float, margin: float | None = None
) -> SgrDifference:
    """Returns the difference of two SGRs from the joint moments of their contrasts.

    Args:
        spread: X_1, Y_1, X_2, Y_2 with their joint covariance.
        first: Names of the arms of the first SGR, for the reason.
        second: Of the second.
        level: Coverage of the interval, in (0, 1).
        margin: Of non-inferiority, if it is tested.

    Raises:
        ValueError: If level is not in (0, 1).
    """
    check_level(level)
    for weights, roles in (([0.0, 1.0, 0.0, 0.0], first), ([0.0, 0.0, 0.0, 1.0], second)):
        gap = t_difference(spread.combine(weights), level=level)
        if gap.low is None or gap.low <= 0.0:
            return _without(level, f"{roles.ceiling} - {roles.floor} is not resolved")
    x1, y1, x2, y2 = (float(value) for value in spread.values)
    estimate = x1 / y1 - x2 / y2
    slope = [1.0 / y1, -(x1 / y1) / y1, -1.0 / y2, (x2 / y2) / y2]
    error = math.sqrt(spread.combine(slope).variance)
    if error == 0.0:
        return _without(level, "zero variance: the two SGRs have the same arms")
    found = invert_test(
        lambda delta: difference_p_value(spread, delta), level=level, centre=estimate, scale=error
    )
    if found.low is None or found.high is None or found.kind != "interval":
        return _without(level, "the gaps are too small: the interval is unbounded")
    inferior = None
    if margin is not None:
        two_sided = difference_p_value(spread, -margin)
        inferior = two_sided / 2 if estimate > -margin else 1.0 - two_sided / 2
    return SgrDifference(
        estimate=estimate,
        first=x1 / y1,
        second=x2 / y2,
        low=found.low,
        high=found.high,
        p_value=difference_p_value(spread, 0.0),
        p_inferior=inferior,
        level=level,
        reason="",
    )


def difference_p_value(spread: Moments, delta: float) -> float:
    """Two-sided p-value of the null "the first SGR is higher than the second by delta".

    Args:
        spread: X_1, Y_1, X_2, Y_2 with their joint covariance.
        delta: Any difference.
    """
    _, _, x2, y2 = (float(value) for value in spread.values)
    share = x2 / y2 if y2 else 0.0
    scale = math.sqrt(spread.combine([0.0, 0.0, 1.0, -share]).variance) / (abs(y2) or 1.0)
    return two_sided_p(*_least(spread, delta, centre=share, scale=scale or 1.0))


def _without(level: float, reason: str) -> SgrDifference:
    return SgrDifference(
        estimate=None,
        first=None,
        second=None,
        low=None,
        high=None,
        p_value=None,
        p_inferior=None,
        level=level,
        reason=reason,
    )


def _least(spread: Moments, delta: float, *, centre: float, scale: float) -> tuple[float, float]:
    """The smallest test statistic (in standard errors) over theta, and its degrees of freedom."""
    low, high = -0.5 * math.pi, 0.5 * math.pi
    theta = np.zeros(1)
    best = 0
    for _ in range(_ZOOMS):
        angles = np.linspace(low, high, _GRID)
        theta = centre + scale * np.tan(angles)
        best = int(np.argmin(_squares(spread, theta, delta)))
        low, high = angles[max(best - 1, 0)], angles[min(best + 1, _GRID - 1)]
    weights = _residual_weights(theta[best : best + 1], delta)[0]
    residual, covariance = weights @ spread.values, weights @ spread.covariance @ weights.T
    direction = np.linalg.pinv(covariance, rcond=1e-12, hermitian=True) @ residual
    combined = spread.combine((direction @ weights).tolist())
    if combined.nu is None:
        return 0.0, 1.0
    return combined.estimate / math.sqrt(combined.variance), combined.nu


def _residual_weights(theta: FloatArray, delta: float) -> FloatArray:
    """[thetas, 2, 4] weights of X_1, Y_1, X_2, Y_2 in the two residuals."""
    weights = np.zeros((len(theta), 2, 4))
    weights[:, 0, 0] = weights[:, 1, 2] = 1.0
    weights[:, 0, 1] = -(theta + delta)
    weights[:, 1, 3] = -theta
    return weights


def _squares(spread: Moments, theta: FloatArray, delta: float) -> FloatArray:
    """[thetas] r' V^-1 r."""
    weights = _residual_weights(theta, delta)
    r1, r2 = (weights @ spread.values).T
    covariance = weights @ spread.covariance @ weights.transpose(0, 2, 1)
    v11, v12, v22 = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    determinant = v11 * v22 - v12 * v12
    square = v22 * r1 * r1 - 2.0 * v12 * r1 * r2 + v11 * r2 * r2
    # Where the residuals are (nearly) one contrast, their common square is what counts.
    singular = determinant <= 1e-10 * v11 * v22
    safe = np.where(singular, 1.0, determinant)
    return np.asarray(np.where(singular, (r1 * r1 + r2 * r2) / (v11 + v22), square / safe))
