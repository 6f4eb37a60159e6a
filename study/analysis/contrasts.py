"""Contrasts that a space declares before it runs: adjusted p-values and simultaneous intervals.

All other comparisons are exploratory; their p-values are adjusted for the false discovery rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.contrasts import Contrast
from study.analysis.names import recipe_labels
from study.analysis.surface import ArmReader, Surface, missing_reason
from study.analysis.surface_rows import Interval, SurfaceRow, recipe_text
from study.artifacts.contrasts import ArmPair, PlacedArm, pairs_of
from study.artifacts.plan import Plan
from study.artifacts.points import PlannedArm, Point
from study.statistics.across_points.multiplicity import false_discovery, holm, simultaneous_level
from study.statistics.differences import inferiority_p, paired_difference
from study.statistics.recovery import Roles
from study.statistics.sgr_difference import estimate_sgr_difference


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastResult:
    """One declared contrast of two arms."""

    contrast: Contrast
    where: str
    """Both arms, and the test level."""
    point: Point
    """The first arm's."""
    estimate: Interval
    """First - second: a difference of accuracies (a fraction), or of SGRs. The interval is
    two-sided and simultaneous with those of the other contrasts at the study's level (Bonferroni).
    The p-value is not adjusted; that of non-inferiority is one-sided."""
    holm_p: float | None
    """p-value adjusted over all declared contrasts."""
    reason: str | None = None
    """Why it could not be tested."""


def declared_contrasts(plan: Plan, surface: Surface) -> tuple[ContrastResult, ...]:
    """Returns every declared contrast, for every pair of arms that it names."""
    pairs = [pair for contrast in plan.space.contrasts for pair in pairs_of(contrast, plan.points)]
    if not pairs:
        return ()
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    rows = {row.point: row for row in surface.rows}
    level = simultaneous_level(surface.level, len(pairs))
    reader = ArmReader(surface.items, surface.scores)
    found = [_estimate(pair, surface, reader, rows, level) for pair in pairs]
    adjusted = holm([estimate.p_value for estimate, _ in found])
    return tuple(
        ContrastResult(
            contrast=pair.contrast,
            where=_where(pair, labels),
            point=pair.first.point,
            estimate=estimate,
            holm_p=holm_p,
            reason=reason,
        )
        for pair, (estimate, reason), holm_p in zip(pairs, found, adjusted, strict=True)
    )


def explored(surface: Surface) -> list[float | None]:
    """Returns the p-value of hard - source of each row, adjusted for the false discovery rate."""
    return false_discovery([row.hard_minus_easy.p_value for row in surface.rows])


def _estimate(
    pair: ArmPair,
    surface: Surface,
    reader: ArmReader,
    rows: Mapping[Point, SurfaceRow],
    level: float,
) -> tuple[Interval, str | None]:
    """The difference of two arms, or why there is none."""
    if pair.contrast.of == "sgr":
        return _sgr_difference(pair, surface, reader, rows, level)
    arms = {"first": pair.first.planned, "second": pair.second.planned}
    place = pair.first.point.place
    test = reader.test_level(*place)
    reason = missing_reason(arms, surface.scores)
    if reason or not len(test.columns):
        return Interval(), reason or f"no test item in {pair.contrast.test_level}"
    try:
        difference = paired_difference(
            reader.arm(arms["first"], *place),
            reader.arm(arms["second"], *place),
            level=level,
            clusters=test.clusters,
        )
    except ValueError as error:
        return Interval(), str(error)
    p_value, margin = difference.p_value, pair.contrast.margin
    if margin is not None:
        p_value = inferiority_p(difference, margin)
    reason = None if p_value is not None else "no variance over items or seeds"
    return Interval(
        estimate=difference.estimate, low=difference.low, high=difference.high, p_value=p_value
    ), reason


def _sgr_difference(
    pair: ArmPair,
    surface: Surface,
    reader: ArmReader,
    rows: Mapping[Point, SurfaceRow],
    level: float,
) -> tuple[Interval, str | None]:
    """The difference of two arms' SGRs, or why there is none."""
    points = (pair.first.point, pair.second.point)
    for point in points:
        row = rows[point]
        if row.reason is not None or not row.has_floor:
            return Interval(), row.reason or row.verdict_note
    place = points[0].place
    names: dict[PlannedArm, str] = {}
    roles = []
    for number, point in enumerate(points, start=1):
        parts = {"zero-shot": point.zero_shot, "source": point.easy, "hard": point.hard}
        ids = [names.setdefault(arm, f"{name} {number}") for name, arm in parts.items() if arm]
        roles.append(Roles(*ids))
    try:
        found = estimate_sgr_difference(
            {name: reader.arm(arm, *place) for arm, name in names.items()},
            *roles,
            level=level,
            margin=pair.contrast.margin,
            clusters=reader.test_level(*place).clusters,
        )
    except ValueError as error:
        return Interval(), str(error)
    p_value = found.p_value if pair.contrast.margin is None else found.p_inferior
    return Interval(
        estimate=found.estimate, low=found.low, high=found.high, p_value=p_value
    ), found.reason or None


def _where(pair: ArmPair, labels: Mapping[str, str]) -> str:
    """Both arms and the test level; shared parts appear once."""

    def parts(arm: PlacedArm) -> list[str]:
        return [arm.point.model, labels[recipe_text(arm.point.recipe)], arm.label]

    point = pair.first.point
    first, second = parts(pair.first), parts(pair.second)
    common = [a for a, b in zip(first, second, strict=True) if a == b]
    own = [
        " ".join(a for a, b in zip(arm, other, strict=True) if a != b)
        for arm, other in ((first, second), (second, first))
    ]
    test = f"{point.task} by {point.measure}, {point.test_level.name}"
    return ", ".join([*common, f"{own[0]} - {own[1]}", test])
