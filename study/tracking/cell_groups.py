"""Which cells share a W&B run: the seeds of one model, method and condition on one task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.cell import encode_cell
from search_spaces.frozen import digest
from study.analysis.names import recipe_labels
from study.analysis.surface_rows import Scalar, recipe_text
from study.artifacts.plan import Plan
from study.tracking.rows import arm_factors
from trainables.cells.planned import PlannedCell

MAX_RUNS = 300
"""With more runs than this, W&B's pages become slow, and a run holds a model and method instead."""

RUN_ID_LENGTH = 16

_OF_A_SEED = frozenset(
    {"seed", "parent", "training_hash", "unlabelled_hash", "validation_hash", "measured_by"}
)
"""Fields of a cell that differ between the seeds of an arm."""

_KEYS = ("task", "measure", "condition", "variant", "train_level", "threshold", "round", "recipe")
"""Factors that tell the rows of a run apart if its cells differ in them, besides the seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellGroup:
    """The cells of one W&B run."""

    run_id: str
    """Derived from what the cells have in common, so that a later sweep continues the run."""
    name: str
    config: Mapping[str, Any]
    """Factors of the cells: a value, or the list of values where the cells differ."""
    cells: tuple[PlannedCell, ...]
    keys: tuple[str, ...]
    """Factors that tell its rows apart besides the seed; none for the seeds of one arm."""


def group_cells(plan: Plan) -> tuple[CellGroup, ...]:
    """Returns a group for each arm, or for each model and method if the arms exceed `MAX_RUNS`."""
    arms: dict[str, list[PlannedCell]] = {}
    for planned in plan.cells:
        arms.setdefault(_arm_id(plan.space.name, planned), []).append(planned)
    labels = recipe_labels(cell.cell.recipe for cell in plan.cells)
    if len(arms) <= MAX_RUNS:
        return tuple(
            _group(plan, run_id, _arm_name(cells[0], labels), cells)
            for run_id, cells in arms.items()
        )
    methods: dict[tuple[str, str], list[PlannedCell]] = {}
    for planned in plan.cells:
        methods.setdefault((planned.model_name, planned.cell.recipe.method), []).append(planned)
    return tuple(
        _group(plan, _run_id(plan.space.name, pair), " ".join(pair), cells)
        for pair, cells in methods.items()
    )


def _arm_id(space: str, planned: PlannedCell) -> str:
    level = planned.train_level
    shared = {k: v for k, v in encode_cell(planned.cell).items() if k not in _OF_A_SEED}
    names = [planned.model_name, planned.condition, planned.variant, planned.measure]
    return _run_id(space, [*names, None if level is None else level.name, shared])


def _run_id(space: str, identity: object) -> str:
    return digest([space, identity], length=RUN_ID_LENGTH)


def _arm_name(planned: PlannedCell, labels: Mapping[str, str]) -> str:
    recipe = planned.cell.recipe
    factors = labels[recipe_text(recipe)].removeprefix(recipe.method)
    return f"{planned.arm_label}{factors}"


def _group(plan: Plan, run_id: str, name: str, cells: Sequence[PlannedCell]) -> CellGroup:
    factors = _merged(arm_factors(planned) for planned in cells)
    sizes = {model.name: model.num_params for model in plan.models}
    seeds = sorted({cell.cell.seed for cell in cells if cell.cell.seed is not None})
    return CellGroup(
        run_id=run_id,
        name=name,
        config={
            "space": plan.space.name,
            "parameters": sizes.get(cells[0].model_name),
            **factors,
            "seeds": seeds,
        },
        cells=tuple(cells),
        keys=tuple(key for key in _KEYS if isinstance(factors.get(key), list)),
    )


def _merged(rows: Iterable[Mapping[str, Scalar]]) -> dict[str, Any]:
    """Returns each factor's value, or the list of its values where the rows differ."""
    distinct = list({tuple(row.items()): row for row in rows}.values())
    values: dict[str, dict[Scalar, None]] = {}
    for name in dict.fromkeys(name for row in distinct for name in row):
        values[name] = dict.fromkeys(row.get(name) for row in distinct)
    return {
        name: next(iter(found)) if len(found) == 1 else [v for v in found if v is not None]
        for name, found in values.items()
    }
