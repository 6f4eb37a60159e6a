"""Power analysis of a point: the gap and the interval width to expect of its items and seeds.

Runs the estimator of `study.statistics.sgr` on the variances that it sees on average, so planning
and analysis share the Fieller set and its degrees of freedom. `study.statistics.power.variances`
provides the variances.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scipy import special

from search_spaces.explain import count
from study.statistics.differences import check_level, critical_value
from study.statistics.fieller import PairCovariance, fieller_set
from study.statistics.moments import satterthwaite
from study.statistics.power.variances import PointVariances

DEFAULT_POWER = 0.8
"""Probability of resolving a gap; the usual value in planning."""

MANY_SEEDS = 1_000_000
"""Stands for infinitely many seeds, without seed variance."""
MAX_SEEDS = 1_000
"""More seeds than any study runs; needing more counts as "no number of seeds"."""
MAX_ITEMS = 10_000_000
"""More items than any test set has; needing more counts as "no number of items"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """One planned point."""

    variances: PointVariances
    num_items: int
    """Test items, at least 2."""
    num_seeds: int
    """Of the easy and the hard arm each, at least 1 (then without seed variance)."""
    sgr: float = 0.8
    """Assumed SGR."""
    level: float = 0.95
    """Coverage of the intervals, in (0, 1)."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a number is out of range (named).
        """
        check_level(self.level)
        if self.num_items < 2:
            raise ValueError(f"num_items must be at least 2, got {self.num_items}")
        if self.num_seeds < 1:
            raise ValueError(f"num_seeds must be at least 1, got {self.num_seeds}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PointPower:
    """Expected resolution of one point; gaps and widths are fractions."""

    smallest_gap: float
    """Smallest gap that is resolved with the stated power."""
    smallest_gap_many_seeds: float
    """The same with infinitely many seeds: the limit of these items."""
    width: float | None
    """Expected width of the SGR interval at the assumed gap; None if it is unbounded."""
    seeds_needed: int | None
    """Fewest seeds for the target width with these items; None if no number suffices, or without a
    target."""
    items_needed: int | None
    """Fewest items for the target width with these seeds; may exceed the items that exist."""
    reason: str
    """Why the gap or the target width is out of reach; empty if neither is."""
    source: str
    """Origin of the variances."""


def point_power(
    design: Design, *, gap: float, target_width: float | None = None, power: float = DEFAULT_POWER
) -> PointPower:
    """Predicts what one point can resolve, and the seeds and items for a target width.

    Args:
        design: The planned point.
        gap: Assumed hard - zero_shot, a fraction.
        target_width: Wanted width of the SGR interval, > 0.
        power: Probability of resolving, in (0, 1).

    Raises:
        ValueError: If an argument is out of range (named).
    """
    seeds = items = None
    if target_width is not None:
        seeds = seeds_for_width(design, gap=gap, target_width=target_width)
        items = items_for_width(design, gap=gap, target_width=target_width)
    best = smallest_gap(replace(design, num_seeds=MANY_SEEDS), power=power)
    reasons = []
    if gap < best:
        reasons.append(
            f"{design.num_items} items resolve no gap below {100 * best:.1f} points, however many "
            f"seeds (assumed gap {100 * gap:.1f})"
        )
    if target_width is not None:
        reasons += _unreachable(design, target_width, seeds=seeds, items=items)
    return PointPower(
        smallest_gap=smallest_gap(design, power=power),
        smallest_gap_many_seeds=best,
        width=expected_width(design, gap=gap),
        seeds_needed=seeds,
        items_needed=items,
        reason="; ".join(reasons),
        source=design.variances.source,
    )


def _unreachable(
    design: Design, target_width: float, *, seeds: int | None, items: int | None
) -> list[str]:
    """Which of seeds and items cannot reach the target alone."""
    reasons = []
    if seeds is None:
        reasons.append(
            f"no number of seeds reaches width {target_width:g} with "
            f"{count(design.num_items, 'item')}"
        )
    if items is None:
        reasons.append(
            f"no number of items reaches width {target_width:g} with "
            f"{count(design.num_seeds, 'seed')}"
        )
    return reasons


def smallest_gap(design: Design, *, power: float = DEFAULT_POWER) -> float:
    """Smallest true gap whose interval is above 0 with probability `power`.

    Args:
        design: The planned point.
        power: Probability of resolving, in (0, 1).

    Returns:
        (t_{level} + t_{power}) standard errors of the gap, a fraction.

    Raises:
        ValueError: If power is not in (0, 1).
    """
    if not 0.0 < power < 1.0:
        raise ValueError(f"power must be in (0, 1), got {power}")
    expected = _expected(design)
    if expected.nu is None:
        return 0.0
    quantile = float(special.stdtrit(expected.nu, power))
    return (critical_value(expected.nu, design.level) + quantile) * math.sqrt(expected.pair.yy)


def expected_width(design: Design, *, gap: float) -> float | None:
    """Width of the SGR interval for the expected data.

    Args:
        design: The planned point.
        gap: Assumed hard - zero_shot, a fraction.

    Returns:
        The width; None if the gap is not resolved, so that the set is unbounded.
    """
    expected = _expected(design)
    if expected.nu is None:
        return 0.0 if gap > 0.0 else None
    interval = fieller_set(
        x=design.sgr * gap,
        y=gap,
        covariance=expected.pair,
        critical=critical_value(expected.nu, design.level),
    )
    if interval.kind != "interval" or interval.low is None or interval.high is None or gap <= 0.0:
        return None
    return interval.high - interval.low


def seeds_for_width(design: Design, *, gap: float, target_width: float) -> int | None:
    """Fewest seeds (of each arm, at least 2) that make the interval no wider than the target.

    Args:
        design: The planned point; its number of seeds is ignored.
        gap: Assumed hard - zero_shot, a fraction.
        target_width: Wanted width of the SGR interval, > 0.

    Returns:
        The number; None if no number up to `MAX_SEEDS` suffices.

    Raises:
        ValueError: If target_width is not above 0.
    """
    return _fewest(
        lambda count: expected_width(replace(design, num_seeds=count), gap=gap),
        target_width,
        MAX_SEEDS,
    )


def items_for_width(design: Design, *, gap: float, target_width: float) -> int | None:
    """Fewest items that make the interval no wider than the target.

    Args:
        design: The planned point; its number of items is ignored.
        gap: Assumed hard - zero_shot, a fraction.
        target_width: Wanted width of the SGR interval, > 0.

    Returns:
        The number; None if no number up to `MAX_ITEMS` suffices, because seeds are too few.

    Raises:
        ValueError: If target_width is not above 0.
    """
    return _fewest(
        lambda count: expected_width(replace(design, num_items=count), gap=gap),
        target_width,
        MAX_ITEMS,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Expected:
    """Average covariance and degrees of freedom of the estimator."""

    pair: PairCovariance
    nu: float | None
    """None without variance."""


def _expected(design: Design) -> _Expected:
    """Average covariance; counts the answer variance twice, as the estimator does."""
    v, items, seeds = design.variances, design.num_items, design.num_seeds
    item = PairCovariance(
        xx=(v.item_easy + v.answer_easy / seeds) / items,
        xy=v.item_covariance / items,
        yy=(v.item_hard + v.answer_hard / seeds) / items,
    )
    has_seeds = seeds > 1
    seed_easy = (v.seed_easy + v.answer_easy / items) / seeds if has_seeds else 0.0
    seed_hard = (v.seed_hard + v.answer_hard / items) / seeds if has_seeds else 0.0
    df, theta = max(1, seeds - 1), design.sgr
    nus = (
        satterthwaite([(item.yy, items - 1), (seed_hard, df)]),
        satterthwaite(
            [
                (item.of_residual(theta), items - 1),
                (seed_easy, df),
                (theta * theta * seed_hard, df),
            ]
        ),
    )
    return _Expected(
        pair=PairCovariance(xx=item.xx + seed_easy, xy=item.xy, yy=item.yy + seed_hard),
        nu=min((nu for nu in nus if nu is not None), default=None),
    )


def _fewest(width_of: Callable[[int], float | None], target: float, highest: int) -> int | None:
    """Smallest count of at least 2 whose width is at most the target; None if none is.

    More items can widen an interval: once the seed variance dominates, the degrees of freedom fall
    to the seeds'. So the width falls and may rise again: scan in steps of 10 %, search between the
    steps around the minimum, then bisect on the falling side.
    """
    if not target > 0.0:
        raise ValueError(f"target_width must be above 0, got {target}")

    def width(count: int) -> float:
        expected = width_of(count)
        return math.inf if expected is None else expected

    counts = [2]
    while counts[-1] < highest:
        counts.append(min(highest, max(counts[-1] + 1, int(counts[-1] * 1.1))))
    widths = [width(count) for count in counts]
    index = next((k for k, value in enumerate(widths) if value <= target), None)
    if index is None:
        narrowest = widths.index(min(widths))
        low, high = counts[max(0, narrowest - 1)], counts[min(len(counts) - 1, narrowest + 1)]
        below, count = low - 1, min(range(low, high + 1, max(1, (high - low) // 50)), key=width)
        if width(count) > target:
            return None
    else:
        below, count = counts[index - 1] if index else 1, counts[index]
    while count - below > 1:
        middle = (below + count) // 2
        below, count = (below, middle) if width(middle) <= target else (middle, count)
    return count
