"""Power of each point of a plan, by the variances of a pilot or by stated assumptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from study.analysis.names import recipe_labels
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import recipe_text
from study.artifacts.plan import LevelSize, Plan
from study.artifacts.points import Point
from study.formatting import Table
from study.statistics.power.logit_model import Population
from study.statistics.power.power import Design, PointPower, point_power
from study.statistics.power.variances import PointVariances, assumed_variances, variances_of_pilot

ASSUMED_GAP = 0.10
"""Gap between hard-trained and zero-shot accuracy without a pilot. Published gaps on hard items are
2 to 22 points (Hase et al. 2024, arXiv:2401.06751, Fig. 5)."""

ASSUMED_ZERO_SHOT = 0.5
"""Zero-shot accuracy without a pilot; cautious, because answers vary most there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPower:
    """A point and its expected resolution."""

    point: Point
    num_items: int
    """Test items that are scored."""
    whole_test: int
    """Test items of the level, scored or not."""
    gap: float
    """Assumed, or the pilot's."""
    power: PointPower | None
    reason: str
    """Why there is no prediction, or what is out of reach; empty otherwise."""
    with_whole_test: PointPower | None = None
    """Power if every test item were scored; None if every one is."""


def estimate_power(
    plan: Plan, *, target_width: float | None = None, pilot: Surface | None = None
) -> tuple[PlannedPower, ...]:
    """Predicts what each point of the plan can resolve with its items and seeds.

    Args:
        plan: The points, their test levels' sizes and the number of seeds.
        target_width: Wanted width of the SGR intervals.
        pilot: A surface of the same plan with some cells finished. A point with all its cells takes
            its gap and variances from there, every other point the stated defaults.

    Raises:
        ValueError: If the target width is not above 0.
    """
    sizes = {
        (task.task, task.measure, level.level): level
        for task in plan.tasks
        for level in task.levels
    }
    seen = _pilot_designs(pilot) if pilot is not None else {}
    default = assumed_variances(Population(gap=ASSUMED_GAP, zero_shot=ASSUMED_ZERO_SHOT))
    return tuple(
        _predict(
            point,
            size=sizes[point.task, point.measure, point.test_level.name],
            num_seeds=plan.space.seeds,
            level=plan.space.level,
            pilot=seen.get(point, _Pilot(gap=ASSUMED_GAP, variances=default)),
            target_width=target_width,
        )
        for point in plan.points
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pilot:
    gap: float
    variances: PointVariances


def _pilot_designs(surface: Surface) -> Mapping[Point, _Pilot]:
    reader = ArmReader(surface.items, surface.scores)
    pilots = {}
    for row in surface.rows:
        point = row.point
        if row.reason is not None or point.hard is None:
            continue
        place = (point.task, point.measure, point.test_level)
        zero_shot, easy, hard = (
            reader.arm(arm, *place) for arm in (point.zero_shot, point.easy, point.hard)
        )
        if len(hard.scores) < 2:
            continue
        pilots[point] = _Pilot(
            gap=float(np.nanmean(hard.scores) - zero_shot.scores.mean()),
            variances=variances_of_pilot(zero_shot=zero_shot, easy=easy, hard=hard),
        )
    return pilots


def _predict(
    point: Point,
    *,
    size: LevelSize,
    num_seeds: int,
    level: float,
    pilot: _Pilot,
    target_width: float | None,
) -> PlannedPower:
    def outcome(power: PointPower | None, reason: str) -> PlannedPower:
        return PlannedPower(
            point=point,
            num_items=size.test,
            whole_test=size.whole_test,
            gap=pilot.gap,
            power=power,
            reason=reason,
        )

    if point.reason is not None:
        return outcome(None, point.reason)
    if size.test < 2:
        return outcome(None, f"{size.test} test items: an interval needs at least two")
    if pilot.gap <= 0:
        return outcome(
            None, f"the pilot's gap is {100 * pilot.gap:.1f} points, so there is no gap to recover"
        )
    design = Design(
        variances=pilot.variances, num_items=size.test, num_seeds=num_seeds, level=level
    )
    power = point_power(design, gap=pilot.gap, target_width=target_width)
    planned = outcome(power, power.reason)
    if size.test == size.whole_test:
        return planned
    whole = point_power(replace(design, num_items=size.whole_test), gap=pilot.gap)
    return replace(planned, with_whole_test=whole)


def power_parts(
    points: Iterable[PlannedPower], *, target_width: float | None
) -> Iterator[str | Table]:
    """Yields the table for the terminal and its notes; points with equal results share a row."""
    points = tuple(points)
    groups: dict[tuple[str, ...], list[PlannedPower]] = {}
    for planned_power in points:
        place = (planned_power.point.task, planned_power.point.measure)
        key = (*place, *_cells(planned_power, target_width))
        groups.setdefault(key, []).append(planned_power)
    header = ["test level", "points", "items", "gap", "resolves from", "at best", "width"]
    if target_width is not None:
        header += [f"{what} needed for width {target_width:g}" for what in ("seeds", "items")]
    names = _Names(points)
    rows = [
        [names.of(group), str(len(group)), *_cells(group[0], target_width)[1:]]
        for group in groups.values()
    ]
    reasons = dict.fromkeys(
        f"  {names.of(group)}: {group[0].reason}" for group in groups.values() if group[0].reason
    )
    sources = dict.fromkeys(
        planned_power.power.source
        for group in groups.values()
        for planned_power in group
        if planned_power.power is not None
    )
    yield "What the points can resolve (gaps in points of accuracy, 80 % power)"
    yield Table(header=header, rows=rows, numbers=header[1:])
    if reasons:
        yield "Out of reach:"
        yield from reasons
    yield from _test_item_lines(groups.values(), names)
    yield (
        "gap: hard - zero-shot, from the pilot or assumed; resolves from: smallest gap with "
        "these items and seeds; at best: with any number of seeds; width: of the SGR interval"
    )
    if sources:
        yield "Variances: " + "; ".join(sources)


def _test_item_lines(groups: Iterable[Sequence[PlannedPower]], names: _Names) -> list[str]:
    """Returns the effect of `TaskAxis.test_items` on the intervals, a line a row of the table."""
    lines = []
    for group in groups:
        first = group[0]
        if first.power is None or first.with_whole_test is None:
            continue
        few, all_ = first.power, first.with_whole_test
        lines.append(
            f"  {names.of(group)}: half-width of the SGR interval {_half(few.width)} with "
            f"{first.num_items:,} of {first.whole_test:,} test items, {_half(all_.width)} with "
            f"all; resolves gaps from {100 * few.smallest_gap:.1f} points, from "
            f"{100 * all_.smallest_gap:.1f} with all"
        )
    return ["Effect of test_items:", *lines] if lines else []


def _half(width: float | None) -> str:
    return "unbounded" if width is None else f"{width / 2:.2f}"


class _Names:
    """Names of groups of points, with what tells them apart."""

    def __init__(self, points: Sequence[PlannedPower]) -> None:
        self._labels = recipe_labels(planned.point.recipe for planned in points)
        axes = {(planned.point.task, planned.point.measure) for planned in points}
        self._has_several_axes = len(axes) > 1

    def of(self, group: Sequence[PlannedPower]) -> str:
        """Returns the name of points of one task and measure with equal results."""
        point = group[0].point
        name = point.test_level.name
        if len(group) == 1:
            method = self._labels[recipe_text(point.recipe)]
            name = f"{point.model} {method} {point.source} -> {name}"
        return f"{name}, {point.task} by {point.measure}" if self._has_several_axes else name


def _cells(planned_power: PlannedPower, target_width: float | None) -> tuple[str, ...]:
    power = planned_power.power
    start = (
        planned_power.point.test_level.name,
        str(planned_power.num_items)
        if planned_power.num_items == planned_power.whole_test
        else f"{planned_power.num_items} of {planned_power.whole_test}",
        f"{100 * planned_power.gap:.1f}",
    )
    if power is None:
        return (*start, *["-"] * (3 if target_width is None else 5))
    cells = (
        *start,
        f"{100 * power.smallest_gap:.1f}",
        f"{100 * power.smallest_gap_many_seeds:.1f}",
        "unbounded" if power.width is None else f"{power.width:.2f}",
    )
    if target_width is None:
        return cells
    return (
        *cells,
        "none suffices" if power.seeds_needed is None else str(power.seeds_needed),
        "none suffices" if power.items_needed is None else str(power.items_needed),
    )
