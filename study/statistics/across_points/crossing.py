"""The crossing of two curves, such as accuracy over the noise rate of easy and of hard labels.

Each curve is a sequence of arms on the same test items, interpolated linearly, so the difference of
the curves at any x is one linear contrast of arms. The confidence set of the crossing contains
every x at which that difference may be 0, as Fieller's set contains every ratio. There is no
extrapolation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from study.statistics.across_points.pooling import PointArms, PooledSums
from study.statistics.arms import ArmScores
from study.statistics.differences import Difference, check_level, t_difference
from study.statistics.influences import Clusters
from study.statistics.marginal_means import FloatArray
from study.statistics.moments import Moments

_STEPS = 32
"""Grid points between two measured ones; the ends of the set are refined from there."""

_HALVINGS = 30


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CurveArm:
    """One measured point of a curve."""

    x: float
    arm: ArmScores
    """Its item ids and draw ids are shared by both curves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """The x at which two curves are equal."""

    estimate: float | None
    """The first x at which the difference changes its sign; None with a reason."""
    low: float | None
    """Lower end of the set, or of its hull if it has gaps; None if it extends below the range."""
    high: float | None
    is_empty: bool
    """No x of the range can be the crossing: one curve is above the other throughout."""
    start: float
    """Range over which both curves were measured."""
    stop: float
    level: float
    reason: str = ""


def find_crossing(
    first: Sequence[CurveArm],
    second: Sequence[CurveArm],
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Crossing | None:
    """Finds the crossing of two curves over the range in which both were measured.

    Args:
        first: Points of one curve, at least two.
        second: Points of the other.
        level: Coverage of the set, in (0, 1).
        clusters: Item id -> cluster, where items were sampled in groups.

    Returns:
        The crossing; None if the curves have no range in common.

    Raises:
        ValueError: If level is not in (0, 1), an x repeats, or an arm has no item ids.
    """
    check_level(level)
    curves = [sorted(curve, key=lambda place: place.x) for curve in (first, second)]
    places = [np.array([place.x for place in curve]) for curve in curves]
    if any(len(np.unique(xs)) < len(xs) for xs in places):
        raise ValueError(f"a curve has one arm an x, got {[xs.tolist() for xs in places]}")
    if min(map(len, places)) < 2:
        return None
    start, stop = max(xs[0] for xs in places), min(xs[-1] for xs in places)
    if not start < stop:
        return None
    means = _joint_means([place.arm for curve in curves for place in curve], clusters)

    def difference(x: float) -> Difference:
        weights = np.concatenate([_weights(places[0], x), -_weights(places[1], x)])
        return t_difference(means.combine(weights.tolist()), level=level)

    inner = [x for xs in places for x in xs if start < x < stop]
    knots = np.unique([start, *inner, stop])
    estimate = _first_root([(x, difference(x).estimate) for x in knots.tolist()])
    tried = np.unique(np.concatenate([np.linspace(a, b, _STEPS + 1) for a, b in pairwise(knots)]))
    possible = [x for x in tried.tolist() if _may_be_zero(difference(x))]
    reason = "" if estimate is not None else "the curves do not cross where both were measured"
    ends: list[float | None] = [None, None]
    if possible:
        for side, inside in enumerate((possible[0], possible[-1])):
            position = tried.tolist().index(inside)
            outside = position - 1 if side == 0 else position + 1
            if 0 <= outside < len(tried):
                ends[side] = _end(difference, inside=inside, outside=float(tried[outside]))
    return Crossing(
        estimate=estimate,
        low=ends[0],
        high=ends[1],
        is_empty=not possible,
        start=float(start),
        stop=float(stop),
        level=level,
        reason=reason,
    )


def _joint_means(arms: Sequence[ArmScores], clusters: Clusters | None) -> Moments:
    """Means of all arms with their joint covariance: they share items and often draws."""
    sums = PooledSums(len(arms))
    for row, arm in zip(np.eye(len(arms)), arms, strict=True):
        point = PointArms(arms={"arm": arm}, clusters=clusters)
        sums.add(point, [{"arm": 1.0}], row[None, :])
    return sums.moments()


def _weights(places: FloatArray, x: float) -> FloatArray:
    """[places] weights of linear interpolation at x."""
    return np.array([np.interp(x, places, unit) for unit in np.eye(len(places))])


def _first_root(values: Sequence[tuple[float, float]]) -> float | None:
    """First zero of the piecewise linear function through these points."""
    for (x, y), (next_x, next_y) in pairwise(values):
        if y == 0.0:
            return x
        if y * next_y < 0.0:
            return x + (next_x - x) * y / (y - next_y)
    x, y = values[-1]
    return x if y == 0.0 else None


def _may_be_zero(difference: Difference) -> bool:
    if difference.low is None or difference.high is None:
        return difference.estimate == 0.0
    return difference.low <= 0.0 <= difference.high


def _end(difference: Callable[[float], Difference], *, inside: float, outside: float) -> float:
    """Bisects an end of the set between an x inside and one outside."""
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if _may_be_zero(difference(middle)):
            inside = middle
        else:
            outside = middle
    return inside
