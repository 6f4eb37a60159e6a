"""Where two curves cross, such as accuracy over the noise of easy and of hard labels.

Each curve is a sequence of arms on the same test items, and is taken to be linear between its
measured places. The difference of the curves at a place is then one linear contrast of arms. The
confidence set of the crossing holds every place at which that difference may be 0, as Fieller's set
holds every ratio. Nothing is extrapolated.
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
"""Places that are tried between two measured ones before an end of the set is refined."""

_HALVINGS = 30


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CurveArm:
    """One measured place of a curve."""

    x: float
    arm: ArmScores
    """With item ids and draw ids that mean the same on both curves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """The place at which two curves are equal."""

    estimate: float | None
    """The first place where the difference changes its sign; None with the reason."""
    low: float | None
    """Lower end of the set (of its hull, where it has gaps); None: it goes on below the range."""
    high: float | None
    is_empty: bool
    """No measured place can be the crossing: one curve is above the other throughout."""
    start: float
    """Range that both curves were measured over."""
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
    """Finds where two curves cross, over the range that both were measured over.

    Args:
        first: Places of one curve, at least two.
        second: Places of the other.
        level: Coverage of the set, in (0, 1).
        clusters: Item id -> cluster, where items were sampled in groups.

    Returns:
        The crossing; None where the curves have no range in common.

    Raises:
        ValueError: If level is no coverage, a place repeats, or an arm has no item ids.
    """
    check_level(level)
    curves = [sorted(curve, key=lambda place: place.x) for curve in (first, second)]
    places = [np.array([place.x for place in curve]) for curve in curves]
    if any(len(np.unique(xs)) < len(xs) for xs in places):
        raise ValueError(f"a curve has one arm a place, got {[xs.tolist() for xs in places]}")
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
    held = [x for x in tried.tolist() if _may_be_zero(difference(x))]
    reason = "" if estimate is not None else "the curves do not cross where both were measured"
    ends: list[float | None] = [None, None]
    if held:
        for side, inside in enumerate((held[0], held[-1])):
            position = tried.tolist().index(inside)
            outside = position - 1 if side == 0 else position + 1
            if 0 <= outside < len(tried):
                ends[side] = _end(difference, inside=inside, outside=float(tried[outside]))
    return Crossing(
        estimate=estimate,
        low=ends[0],
        high=ends[1],
        is_empty=not held,
        start=float(start),
        stop=float(stop),
        level=level,
        reason=reason,
    )


def _joint_means(arms: Sequence[ArmScores], clusters: Clusters | None) -> Moments:
    """Means of all arms with their joint covariance: they share items, and often draws."""
    sums = PooledSums(len(arms))
    for row, arm in zip(np.eye(len(arms)), arms, strict=True):
        point = PointArms(arms={"arm": arm}, clusters=clusters)
        sums.add(point, [{"arm": 1.0}], row[None, :])
    return sums.moments()


def _weights(places: FloatArray, x: float) -> FloatArray:
    """[places] weights of linear interpolation at x."""
    return np.array([np.interp(x, places, unit) for unit in np.eye(len(places))])


def _first_root(values: Sequence[tuple[float, float]]) -> float | None:
    """First zero of the line through these points, from place to place."""
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
    """Refines an end of the set between a place that it holds and one that it does not."""
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if _may_be_zero(difference(middle)):
            inside = middle
        else:
            outside = middle
    return inside
