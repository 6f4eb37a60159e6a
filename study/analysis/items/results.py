"""Results per item and arm: the share of seeds that were right, confidence, predicted choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from search_spaces.levels import Level
from study.analysis.names import LABEL_COUNTS, recipe_labels
from study.analysis.scores import UNREAD, UNSEEN, StudyScores, TaskScores
from study.analysis.surface_rows import recipe_text
from study.artifacts.condition_kinds import ConditionKind, condition_kind, condition_label
from study.artifacts.items import LEVELS, MEASURE, ItemsTable, TaskItems
from study.artifacts.plan import Plan
from trainables.cells.planned import PlannedCell


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemArm:
    """One model, method and condition: its finished cells, one per seed."""

    model: str
    method: str
    """Label of the recipe (`names.recipe_labels`)."""
    condition: str
    kind: ConditionKind
    measure: str | None
    """Measure whose levels the labels come from, or that zero-shot is the floor of; None if it is
    the floor of several."""
    train_level: Level | None
    """Level of the labels; None if there are none, or of several levels."""
    level_place: int | None
    """Place of a plain training level among those of its axis, from the easiest, 0; None for any
    other condition."""
    num_levels: int
    """Training levels of its axis; 0 for zero-shot."""
    cells: tuple[str, ...]
    """Ids of the finished cells."""
    num_planned: int
    """Cells that the plan has."""
    zero_shot: int | None = None
    """Place of the arm that is its floor among the arms of the task; None: it is one, or its floor
    has not run."""

    @property
    def label(self) -> str:
        """Model, method and condition, as messages and files name the arm."""
        parts = (self.model, self.method, self.condition)
        return " ".join(dict.fromkeys(parts))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaskResults:
    """The answers to the test items of a task, summarized over the seeds of each arm."""

    items: TaskItems
    arms: tuple[ItemArm, ...]
    """By model: zero-shot, then the training levels from easy to hard, then other conditions."""
    right: NDArray[np.float64]
    """[arms, items] share of the seeds that were right, a tie counted as its share; NaN if no seed
    was scored on the item."""
    confidence: NDArray[np.float64]
    """[arms, items] mean confidence in the predicted choice; NaN where unknown."""
    predicted: NDArray[np.int16]
    """[arms, items] the choice that most seeds predict, the first of several; UNSEEN if no seed was
    scored on the item, UNREAD if most answers name no choice."""
    agreement: NDArray[np.float64]
    """[arms, items] share of the seeds that predict it; NaN if no seed was scored on the item."""

    @property
    def measures(self) -> Mapping[str, NDArray[np.float64]]:
        """Measure -> [items] values; NaN where an item has none."""
        names = [name for name in self.items.table.column_names if name.startswith(MEASURE)]
        return {
            name.removeprefix(MEASURE): self.items.table[name].to_numpy().astype(np.float64)
            for name in names
        }

    @property
    def levels(self) -> Mapping[str, list[list[str]]]:
        """Measure of an axis -> the names of each item's levels."""
        names = [name for name in self.items.table.column_names if name.startswith(LEVELS)]
        return {
            name.removeprefix(LEVELS): [level or [] for level in self.items.table[name].to_pylist()]
            for name in names
        }


def item_results(plan: Plan, items: ItemsTable, scores: StudyScores) -> Mapping[str, TaskResults]:
    """Returns the results of every task's test items: task -> results.

    Arms without a finished cell are left out.
    """
    arms = _arms(plan, scores)
    return {
        task: _results(items.test[task], arms.get(task, ()), scores.tasks[task])
        for task in items.test
    }


def _arms(plan: Plan, scores: StudyScores) -> Mapping[str, tuple[ItemArm, ...]]:
    """Returns the arms with a finished cell by task, each with the place of its floor."""
    measure_of, floor_of = _floors(plan)
    groups: dict[tuple[object, ...], list[PlannedCell]] = {}
    for planned in plan.cells:
        cell = planned.cell
        # Cells of one name differ in prompt or test items where they are floors of several axes.
        what = (cell.task, planned.model_name, recipe_text(cell.recipe), cell.prompt)
        where = (condition_label(planned), measure_of.get(planned.id), cell.tested_hash)
        groups.setdefault((*what, *where), []).append(planned)
    by_task: dict[str, list[list[PlannedCell]]] = {}
    for cells in groups.values():
        if any(cell.id in scores.records for cell in cells):
            by_task.setdefault(cells[0].cell.task, []).append(cells)
    arms = {}
    for task, unordered in by_task.items():
        members = _ordered(plan, unordered)
        labels = _labels(members, measure_of)
        place_of = {cell.id: place for place, cells in enumerate(members) for cell in cells}
        arms[task] = tuple(
            _arm(
                plan, cells, scores, label, measure_of, place_of.get(floor_of.get(cells[0].id, ""))
            )
            for cells, label in zip(members, labels, strict=True)
        )
    return arms


def _ordered(plan: Plan, members: Iterable[list[PlannedCell]]) -> list[list[PlannedCell]]:
    """Returns arms by model: zero-shot, training levels from easy to hard, other conditions."""
    models = [model.name for model in plan.space.models]

    def key(cells: list[PlannedCell]) -> tuple[object, ...]:
        first = cells[0]
        level = first.train_level
        is_level = level is not None and level.name == condition_label(first)
        bounds = (level.low, level.high) if is_level and level is not None else (inf, inf)
        method = first.cell.recipe.method
        return (models.index(first.model_name), method != "zero-shot", method, bounds)

    return sorted(members, key=key)


def _floors(plan: Plan) -> tuple[Mapping[str, str | None], Mapping[str, str]]:
    """Returns the measure of each cell, None if it serves several, and the floor of trained cells.

    A zero-shot cell has the measure of the points that it is the floor of.
    """
    measures = {cell.id: {cell.measure} - {None} for cell in plan.cells}
    floors = {}
    for point in plan.points:
        floor = point.zero_shot.cells[0]
        measures[floor].add(point.measure)
        for arm in (point.easy, point.hard, point.start):
            floors.update(dict.fromkeys(() if arm is None else arm.cells, floor))
    return {id_: next(iter(of)) if len(of) == 1 else None for id_, of in measures.items()}, floors


def _labels(
    members: Sequence[list[PlannedCell]], measure_of: Mapping[str, str | None]
) -> list[str]:
    """Returns a short label of each arm's recipe; conditions name numbers of labels themselves."""
    by_measure: dict[str | None, list[PlannedCell]] = {}
    for cells in members:
        by_measure.setdefault(measure_of[cells[0].id], []).append(cells[0])
    labels: dict[str, str] = {}
    for firsts in by_measure.values():
        recipes = [cell.cell.recipe for cell in firsts]
        short = recipe_labels(recipes, without=LABEL_COUNTS | {"search"})
        names = {
            (c.model_name, condition_label(c), short[recipe_text(c.cell.recipe)]) for c in firsts
        }
        chosen = short if len(names) == len(firsts) else recipe_labels(recipes)
        labels |= {cell.id: chosen[recipe_text(cell.cell.recipe)] for cell in firsts}
    return [labels[cells[0].id] for cells in members]


def _arm(
    plan: Plan,
    cells: list[PlannedCell],
    scores: StudyScores,
    method: str,
    measure_of: Mapping[str, str | None],
    zero_shot: int | None,
) -> ItemArm:
    first = cells[0]
    levels: list[str] = [
        level.name
        for axis in plan.space.tasks
        if (axis.task, axis.measure) == (first.cell.task, first.measure)
        for level in axis.train_levels
    ]
    is_plain = first.cell.labels.kind == "gold" and not first.variant
    is_plain = is_plain and first.cell.self_training is None and first.condition in levels
    return ItemArm(
        model=first.model_name,
        method=method,
        condition=condition_label(first),
        kind=condition_kind(first),
        measure=measure_of[first.id],
        train_level=first.train_level,
        level_place=levels.index(first.condition) if is_plain else None,
        num_levels=len(levels),
        cells=tuple(cell.id for cell in cells if cell.id in scores.records),
        num_planned=len(cells),
        zero_shot=zero_shot,
    )


def _results(items: TaskItems, arms: tuple[ItemArm, ...], scores: TaskScores) -> TaskResults:
    num_items, num_choices = len(items.ids), max(items.table["num_choices"].to_pylist(), default=0)
    shape = (len(arms), num_items)
    right, confidence, agreement = (np.full(shape, np.nan) for _ in range(3))
    predicted = np.full(shape, UNSEEN, dtype=np.int16)
    for number, arm in enumerate(arms):
        rows = [scores.row[id_] for id_ in arm.cells]
        seen = scores.predicted[rows] != UNSEEN
        some = seen.any(axis=0)
        right[number] = _mean(scores.correct[rows], seen)
        known = ~np.isnan(scores.confidence[rows])
        confidence[number] = _mean(scores.confidence[rows], known)
        values = (*range(num_choices), UNREAD)
        counts = np.stack([(scores.predicted[rows] == value).sum(axis=0) for value in values])
        best = counts.argmax(axis=0)
        predicted[number, some] = np.array(values, dtype=np.int16)[best][some]
        agreement[number, some] = (counts.max(axis=0) / np.maximum(seen.sum(axis=0), 1))[some]
    return TaskResults(
        items=items,
        arms=arms,
        right=right,
        confidence=confidence,
        predicted=predicted,
        agreement=agreement,
    )


def _mean(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[items] means over the seeds that are known; NaN without one."""
    sums = np.where(known, values.astype(np.float64), 0.0).sum(axis=0)
    counts = known.sum(axis=0)
    means: NDArray[np.float64] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means
