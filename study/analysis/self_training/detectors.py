"""Failure detectors of a study: which chains of rounds collapse, seed by seed.

They read selections, never gold. Hardness is the measure of the items; levels are those of the
axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.explain import count
from study.analysis.self_training.rounds import Rounds, axis_of, hardness_and_levels
from study.analysis.surface import Surface
from study.analysis.surface_rows import recipe_text
from study.artifacts.condition_kinds import condition_kind, condition_label
from study.artifacts.plan import Plan
from trainables.cells.planned import PlannedCell
from trainables.self_training.detectors import DetectorResult, RoundLabels, detect, labels_of_rows

_Key = tuple[str, str, str | None, str, str]
"""Model, task, measure, recipe and source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorRow:
    """Results of one detector for the chains of one source, over its seeds."""

    model: str
    task: str
    measure: str | None
    recipe: str
    source: str
    name: str
    threshold: float
    """For the first seed's number of items."""
    low: float | None
    """Smallest value over the seeds; None if no seed had enough data."""
    high: float | None
    num_seeds: int
    num_warned: int
    warning: str | None
    """Warning of the first seed that has one."""


def detector_rows(plan: Plan, surface: Surface, rounds: Rounds) -> tuple[DetectorRow, ...]:
    """Returns the results for every finished chain of rounds; controls select like their source."""
    cells = {cell.id: cell for cell in plan.cells}
    # Rounds of a control start from those of its source, which do not end the source's chain.
    proper = [id_ for id_ in rounds.selections if condition_kind(cells[id_]) == "self-training"]
    parents = {cells[id_].cell.parent for id_ in proper}
    findings_of: dict[_Key, list[tuple[DetectorResult, ...]]] = {}
    for id_ in proper:
        planned = cells[id_]
        if id_ in parents:
            continue
        recipe = recipe_text(planned.cell.recipe)
        where = (planned.model_name, planned.cell.task, planned.measure)
        key = (*where, recipe, condition_label(planned))
        pool = surface.items.pool[planned.cell.task]
        hardness, levels = hardness_and_levels(pool, axis_of(plan, planned))
        chain = _chain(planned, cells, rounds)
        findings_of.setdefault(key, []).append(detect(chain, hardness, levels))
    # Every seed has the same detectors in the same order.
    return tuple(
        _row(key, findings)
        for key, by_seed in findings_of.items()
        for findings in zip(*by_seed, strict=True)
    )


def warning_lines(rows: Iterable[DetectorRow], labels: Mapping[str, str]) -> tuple[str, ...]:
    """Returns a line for each detector that warns of a source; names the task if there are several.

    Args:
        rows: All results.
        labels: Recipe text -> label.
    """
    shown = list(rows)
    several = len({(row.task, row.measure) for row in shown}) > 1
    return tuple(
        (f"{row.task} by {row.measure}: " if several else "")
        + f"{row.model} {labels.get(row.recipe, row.recipe)}, {row.source}: {row.name} in "
        f"{row.num_warned} of {count(row.num_seeds, 'seed')}: {row.warning}"
        for row in shown
        if row.warning is not None
    )


def _chain(
    planned: PlannedCell, cells: Mapping[str, PlannedCell], rounds: Rounds
) -> list[RoundLabels]:
    """Labels of the rounds up to this one, first to last."""
    chain: list[RoundLabels] = []
    id_ = planned.id
    while id_ in rounds.selections:
        chain.append(labels_of_rows(rounds.selections[id_]))
        id_ = cells[id_].cell.parent or ""
    return chain[::-1]


def _row(key: _Key, findings: Sequence[DetectorResult]) -> DetectorRow:
    model, task, measure, recipe, source = key
    values = [finding.value for finding in findings if finding.value is not None]
    warnings = [finding.warning for finding in findings if finding.warning is not None]
    return DetectorRow(
        model=model,
        task=task,
        measure=measure,
        recipe=recipe,
        source=source,
        name=findings[0].name,
        threshold=findings[0].threshold,
        low=min(values, default=None),
        high=max(values, default=None),
        num_seeds=len(findings),
        num_warned=len(warnings),
        warning=warnings[0] if warnings else None,
    )
