"""Contrasts that a space declared before it ran: p-values and intervals that hold together.

Every other comparison is exploration: its p-values are adjusted for the false discovery rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.space import Contrast
from study.analysis.names import point_label, recipe_labels
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import Interval, SurfaceRow
from study.artifacts.plan import Plan
from study.statistics import sgr
from study.statistics.across_points.multiplicity import false_discovery, holm, simultaneous_level

MEANINGS: Mapping[str, str] = {
    "Z=E": "easier labels add nothing to zero-shot",
    "E=H": "easier labels do as well as hard ones",
    "SGR=1": "easier labels recover the whole gap",
    "START=SSRM": "self-training adds nothing to its start",
}
"""What each null hypothesis says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastResult:
    """One declared contrast at one point."""

    null: str
    where: str
    estimate: Interval
    """The share for SGR=1, else the difference; its interval holds together with the others at the
    study's level (Bonferroni)."""
    p_value: float | None
    holm_p: float | None
    """Adjusted over all declared contrasts."""
    reason: str | None = None
    """Why it could not be tested."""


def declared_contrasts(plan: Plan, surface: Surface) -> tuple[ContrastResult, ...]:
    """Returns every declared contrast at every point it names."""
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    named = [
        (contrast, row)
        for contrast in plan.space.contrasts
        for row in surface.rows
        if _is_named(contrast, row)
    ]
    if not named:
        return ()
    level = simultaneous_level(surface.level, len(named))
    reader = ArmReader(surface.items, surface.scores)
    adjusted = holm({str(i): _p_value(c.null, row) for i, (c, row) in enumerate(named)})
    return tuple(
        ContrastResult(
            null=contrast.null,
            where=point_label(row, labels),
            estimate=_estimate(contrast.null, row, reader, level),
            p_value=_p_value(contrast.null, row),
            holm_p=adjusted[str(i)],
            reason=_reason(contrast.null, row),
        )
        for i, (contrast, row) in enumerate(named)
    )


def explored(surface: Surface) -> dict[str, list[float | None]]:
    """Returns, a value a row, the p-values of Z=E and E=H adjusted over all points (FDR)."""
    found = {}
    for null in ("Z=E", "E=H"):
        adjusted = false_discovery(
            {str(i): _p_value(null, row) for i, row in enumerate(surface.rows)}
        )
        found[null] = list(adjusted.values())
    return found


def _is_named(contrast: Contrast, row: SurfaceRow) -> bool:
    point = row.point
    return (
        contrast.condition == point.condition
        and contrast.test_level == point.test_level.name
        and contrast.method in (None, point.recipe.method)
        and contrast.model in (None, point.model)
        and contrast.task in (None, point.task)
        and contrast.measure in (None, point.measure)
        and contrast.recipe in (None, point.recipe)
    )


def _reason(null: str, row: SurfaceRow) -> str | None:
    """Why there is no test: a gain over the start needs neither zero-shot nor hard cells."""
    if null == "SGR=1" and not row.has_floor:
        return row.verdict_note
    is_there = null == "START=SSRM" and row.ssrm_gain.estimate is not None
    return None if is_there else row.reason


def _p_value(null: str, row: SurfaceRow) -> float | None:
    if null == "START=SSRM":
        return row.ssrm_gain.p_value
    if null == "SGR=1":
        return row.sgr.p_value
    return (row.easy_gain if null == "Z=E" else row.hard_minus_easy).p_value


def _estimate(null: str, row: SurfaceRow, reader: ArmReader, level: float) -> Interval:
    """Estimates the point again at the level of simultaneous intervals."""
    point = row.point
    where = (point.task, point.measure, point.test_level)
    if null == "START=SSRM":
        return _gain(row, reader, level)
    has_no_share = null == "SGR=1" and not row.has_floor
    if row.verdict is None or point.hard is None or has_no_share:
        return Interval()
    found = sgr.estimate_sgr_of_arms(
        zero_shot=reader.arm(point.zero_shot, *where),
        easy=reader.arm(point.easy, *where),
        hard=reader.arm(point.hard, *where),
        level=level,
        clusters=reader.test_level(*where).clusters,
    )
    if null == "SGR=1":
        return Interval(estimate=found.value, low=found.low, high=found.high)
    difference = found.easy_gain if null == "Z=E" else found.hard_minus_easy
    return Interval(estimate=difference.estimate, low=difference.low, high=difference.high)


def _gain(row: SurfaceRow, reader: ArmReader, level: float) -> Interval:
    point = row.point
    if point.start is None or row.ssrm_gain.estimate is None:
        return Interval()
    where = (point.task, point.measure, point.test_level)
    found = sgr.paired_difference(
        reader.arm(point.easy, *where),
        reader.arm(point.start, *where),
        level=level,
        clusters=reader.test_level(*where).clusters,
    )
    return Interval(estimate=found.estimate, low=found.low, high=found.high)
