"""Trends over points that share cells, with the joint covariance of those points.

A trend of SGR is never a regression on SGR values: unresolved points would drop out and leave a
biased selection. Instead, a linear contrast is regressed over ALL points: the numerator
easy - zero_shot, or its excess over the pooled SGR. The intervals cover new items and new seeds at
these points; they do not cover deviations of the points from a line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from study.statistics.across_points.pooling import PointArms, PooledSums
from study.statistics.differences import Difference, check_level, t_difference
from study.statistics.influences import Contrast
from study.statistics.marginal_means import FloatArray

EASY_GAIN: Final[Contrast] = {"easy": 1.0, "zero_shot": -1.0}
HARD_GAIN: Final[Contrast] = {"hard": 1.0, "zero_shot": -1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """Slope of a contrast over points."""

    slope: Difference | None
    """Change of the contrast (a fraction) per unit of the covariate; None with the reason."""
    mean: Difference | None
    """The contrast's mean over the points."""
    num_points: int
    reason: str
    """Why there is no slope; empty if there is one."""


def trend(points: Sequence[PointArms], contrast: Contrast, *, level: float = 0.95) -> Trend:
    """Least-squares slope of a contrast over the points' covariates, common to all strata.

    Args:
        points: All points, resolved or not; arms with item ids and draw ids.
        contrast: Role -> weight, such as `EASY_GAIN`.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        Slope and mean with intervals from the joint covariance of the points, and the p-value of
        the null "no slope".

    Raises:
        ValueError: If level is not in (0, 1) or a point cannot be estimated.
    """
    check_level(level)
    reason = _why_no_slope(points)
    if reason:
        return Trend(slope=None, mean=None, num_points=len(points), reason=reason)
    sums = PooledSums(2)
    for point, weight in zip(points, _slope_weights(points), strict=True):
        sums.add(point, [contrast], np.array([[weight, 1.0 / len(points)]]))
    moments = sums.moments()
    return Trend(
        slope=t_difference(moments.combine([1.0, 0.0]), level=level),
        mean=t_difference(moments.combine([0.0, 1.0]), level=level),
        num_points=len(points),
        reason="",
    )


def sgr_trend(points: Sequence[PointArms], *, level: float = 0.95) -> Trend:
    """Tests whether SGR changes along the covariate, from all points at once.

    The slope is that of easy_gain - theta hard_gain, where theta is the pooled SGR of the same
    points: 0 if SGR is the same everywhere, however much the gap changes. The interval includes the
    uncertainty of theta to first order.

    Args:
        points: All points, resolved or not; roles zero_shot, easy, hard.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        The slope; None if the mean gap of the points is not above 0.

    Raises:
        ValueError: If level is not in (0, 1) or a point cannot be estimated.
    """
    check_level(level)
    reason = _why_no_slope(points)
    if reason:
        return Trend(slope=None, mean=None, num_points=len(points), reason=reason)
    sums, share = PooledSums(4), 1.0 / len(points)
    for point, w in zip(points, _slope_weights(points), strict=True):
        sums.add(point, [EASY_GAIN, HARD_GAIN], np.array([[w, 0, share, 0], [0, w, 0, share]]))
    moments = sums.moments()
    gap = t_difference(moments.combine([0.0, 0.0, 0.0, 1.0]), level=level)
    if gap.low is None or gap.low <= 0.0:
        reason = "the mean gap of the points is not above 0, so they have no pooled SGR"
        return Trend(slope=None, mean=None, num_points=len(points), reason=reason)
    slope_gap, gain, mean_gap = (float(value) for value in moments.values[1:])
    theta, lever = gain / mean_gap, slope_gap / mean_gap
    linear = moments.combine([1.0, -theta, -lever, theta * lever])
    # The last two weights add the error of theta, and 0 to the estimate.
    return Trend(
        slope=t_difference(linear, level=level),
        mean=None,
        num_points=len(points),
        reason="",
    )


def _why_no_slope(points: Sequence[PointArms]) -> str:
    """Why a slope over these points does not exist; empty if it does."""
    places = {point.covariate for point in points}
    if not all(np.isfinite(place) for place in places):
        raise ValueError(f"covariates must be finite, got {sorted(places)}")
    if not np.any(_centred(points)):
        return f"a slope needs two different covariates in one stratum, got {sorted(places)}"
    return ""


def _slope_weights(points: Sequence[PointArms]) -> FloatArray:
    """[points] weights whose sum with the contrasts is the least-squares slope."""
    centred = _centred(points)
    return np.asarray(centred / float(centred @ centred), dtype=np.float64)


def _centred(points: Sequence[PointArms]) -> FloatArray:
    """[points] covariates minus the mean of their stratum; exactly 0 if it has only one value."""
    places = np.array([point.covariate for point in points])
    strata = np.array([point.stratum for point in points])
    centred = np.zeros(len(points))
    for stratum in np.unique(strata):
        members = strata == stratum
        if len(np.unique(places[members])) > 1:
            centred[members] = places[members] - places[members].mean()
    return centred
