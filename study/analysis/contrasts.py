"""Contrasts that a space declares before it runs: adjusted p-values and simultaneous intervals.

All other comparisons are exploratory; their p-values are adjusted for the false discovery rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from search_spaces.space import Contrast
from study.analysis.names import point_label, recipe_labels
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import Interval, SurfaceRow
from study.artifacts.plan import Plan
from study.statistics.across_points.multiplicity import false_discovery, holm, simultaneous_level

MEANINGS: Mapping[str, str] = {
    "Z=E": "easier labels add nothing to zero-shot",
    "E=H": "easier labels do as well as hard ones",
    "SGR=1": "easier labels recover the whole gap",
    "START=SSRM": "self-training adds nothing to its start",
}
"""Null hypothesis -> its meaning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastResult:
    """One declared contrast at one point."""

    null: str
    where: str
    estimate: Interval
    """The share for SGR=1, else the difference. The interval is simultaneous with those of the
    other contrasts at the study's level (Bonferroni); the p-value is not adjusted."""
    holm_p: float | None
    """p-value adjusted over all declared contrasts."""
    reason: str | None = None
    """Why it could not be tested."""


def declared_contrasts(plan: Plan, surface: Surface) -> tuple[ContrastResult, ...]:
    """Returns every declared contrast at every point it names."""
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    named = [
        (contrast.null, row)
        for contrast in plan.space.contrasts
        for row in surface.rows
        if _is_named(contrast, row)
    ]
    if not named:
        return ()
    level = simultaneous_level(surface.level, len(named))
    reader = ArmReader(surface.items, surface.scores)
    adjusted = holm([_tested(null, row).p_value for null, row in named])
    return tuple(
        ContrastResult(
            null=null,
            where=point_label(row, labels),
            estimate=_tested(null, _at_level(row, reader, level)),
            holm_p=holm_p,
            reason=_reason(null, row),
        )
        for (null, row), holm_p in zip(named, adjusted, strict=True)
    )


def explored(surface: Surface) -> list[float | None]:
    """Returns the p-value of E=H of each row, adjusted over all of them (false discovery rate)."""
    return false_discovery([row.hard_minus_easy.p_value for row in surface.rows])


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
    """Why there is no test. A gain over the start needs neither zero-shot nor hard cells."""
    if null == "SGR=1" and not row.has_floor:
        return row.verdict_note
    return None if null == "START=SSRM" and row.gain_over_start else row.reason


def _tested(null: str, row: SurfaceRow) -> Interval:
    """The estimate that a null hypothesis tests."""
    return {
        "START=SSRM": row.ssrm_gain,
        "SGR=1": row.sgr,
        "Z=E": row.easy_gain,
        "E=H": row.hard_minus_easy,
    }[null]


def _at_level(row: SurfaceRow, reader: ArmReader, level: float) -> SurfaceRow:
    """Returns the row with intervals of another confidence level."""
    return replace(
        row,
        estimate=row.estimate and reader.estimate(row.point, level),
        gain_over_start=row.gain_over_start and reader.gain_over_start(row.point, level),
    )
