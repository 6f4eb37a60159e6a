"""Accuracy curves: over difficulty for every condition, and over options of self-training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.levels import Level
from study.analysis.names import hidden_rounds, recipe_labels, source_label
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.artifacts import points
from study.artifacts.condition_kinds import ConditionKind
from study.statistics.across_points.crossing import Crossing

MAX_VALUES = 12
"""Distinct values of a measure up to which each is a point; with more, each test level is."""

MIN_ITEMS = 5
"""Fewest test items of a point on a difficulty curve."""

CURVE_FACTORS = ("threshold", "ssrm_round")
"""Options of self-training with curves; `label_curves` has the axes of labels."""

_PANELS: Mapping[ConditionKind, str] = {"self-training": "self-training", "control": "controls"}


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """Mean accuracy of one arm at one x; fractions."""

    x: float
    label: str
    mean: float
    low: float | None
    high: float | None
    num_items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One condition's points, from easy to hard."""

    name: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePanel:
    """The curves of one model and recipe."""

    row: str
    column: str
    x_title: str
    curves: tuple[Curve, ...]
    model: str
    method: str
    """Of the recipe, without its factors."""
    task: str
    level: str | None = None
    """The test level, if all points of the panel share it."""
    is_log: bool = False
    """The x axis is logarithmic."""
    crossing: Crossing | None = None
    """Crossing of the curves of easy and hard labels, in the unit of the axis."""


def difficulty_panels(surface: Surface, *, max_panels: int | None = None) -> tuple[CurvePanel, ...]:
    """Returns accuracy over difficulty: a panel for each model and recipe, a curve a condition.

    Self-training and its controls have separate panels, each with zero-shot, the labels that it
    starts from, and hard labels.
    """
    meter = ArmMeter(surface)
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    several_tasks = len({(row.point.task, row.point.measure) for row in surface.rows}) > 1
    hidden = hidden_rounds(surface.rows)
    panels: dict[tuple[str, ...], dict[str, points.PlannedArm]] = {}
    for row in surface.rows:
        point = row.point
        name = labels[recipe_text(point.recipe)]
        name += "" if row.role == "labels" else f", {_PANELS[row.role]}"
        key = (point.task, point.measure, point.model, point.recipe.method, name)
        panels.setdefault(key, {}).update(named_arms(row, hidden))
    order = condition_order(surface)
    drawn = []
    for (task, measure, model, method, label), arms in list(panels.items())[:max_panels]:
        places = _places(surface, task, measure)
        curves = tuple(
            Curve(name=name, points=meter.curve(arm, task, measure, places))
            for name, arm in sorted(arms.items(), key=lambda entry: order[entry[0]])
        )
        drawn.append(
            CurvePanel(
                row=label,
                column=f"{model}, {task}" if several_tasks else model,
                x_title=measure,
                curves=tuple(curve for curve in curves if curve.points),
                model=model,
                method=method,
                task=task,
            )
        )
    return tuple(panel for panel in drawn if panel.curves)


def factor_panels(surface: Surface, *, max_panels: int | None = None) -> tuple[CurvePanel, ...]:
    """Returns accuracy over each option of self-training that the study varies."""
    meter = ArmMeter(surface)
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    several_tasks = len({(row.point.task, row.point.measure) for row in surface.rows}) > 1
    panels: dict[tuple[str, ...], dict[str, list[CurvePoint]]] = {}
    for factor in CURVE_FACTORS:
        trained = [row for row in surface.rows if getattr(row.point, factor) is not None]
        if len({getattr(row.point, factor) for row in trained}) < 2:
            continue
        hidden = hidden_rounds(surface.rows) | {factor}
        for row in trained:
            point = row.point
            where = f"{point.task} by {point.measure}" if several_tasks else ""
            label = labels[recipe_text(point.recipe)]
            place = (point.model, point.recipe.method, point.task, point.test_level.name)
            key = (*place, label, factor, where)
            is_full = key not in panels and len(panels) == max_panels
            if row.role == "control" or is_full:
                continue
            x = float(getattr(point, factor))
            measured = meter.point(point.easy, *point.place, x, f"{x:g}")
            if measured is not None:
                curves = panels.setdefault(key, {})
                curves.setdefault(source_label(point, hidden), []).append(measured)
    return tuple(
        CurvePanel(
            row=f"{label} on {level}",
            column=f"{model}, {where}" if where else model,
            x_title=factor,
            curves=tuple(
                Curve(name=name, points=tuple(sorted(curve, key=lambda p: p.x)))
                for name, curve in curves.items()
            ),
            model=model,
            method=method,
            task=task,
            level=level,
        )
        for (model, method, task, level, label, factor, where), curves in panels.items()
    )


def named_arms(
    row: SurfaceRow, hidden: frozenset[str] = frozenset()
) -> dict[str, points.PlannedArm]:
    """Returns the arms of a point by their source of labels.

    Args:
        row: The point.
        hidden: Parts that a source's label leaves out (`names.hidden_rounds`).
    """
    point = row.point
    arms = {"zero-shot": point.zero_shot, source_label(point, hidden): point.easy}
    if point.start is not None:
        arms["start" if point.train_level is None else point.train_level.name] = point.start
    if point.hard is not None and point.hard_level is not None:
        arms[point.hard_level.name] = point.hard
    return arms


def condition_order(surface: Surface) -> dict[str, int]:
    """Numbers the conditions: zero-shot, levels from easy to hard, others in the space's order."""
    levels = {
        level.name: (level.low + level.high, level.low)
        for row in surface.rows
        for level in (row.point.train_level, row.point.hard_level)
        if level is not None
    }
    hidden = hidden_rounds(surface.rows)
    others = {
        name: row.role == "control"
        for row in surface.rows
        for name in named_arms(row, hidden)
        if name not in levels and name != "zero-shot"
    }
    names = [
        "zero-shot",
        *sorted(levels, key=lambda name: levels[name]),
        *sorted(others, key=lambda name: others[name]),  # controls last
    ]
    return {name: number for number, name in enumerate(names)}


class ArmMeter:
    """Computes the accuracy of arms on levels, with intervals."""

    def __init__(self, surface: Surface) -> None:
        self._level = surface.level
        self._reader = ArmReader(surface.items, surface.scores)

    def curve(
        self, arm: points.PlannedArm, task: str, measure: str, places: Sequence[Level]
    ) -> tuple[CurvePoint, ...]:
        """Returns an arm's accuracy on each level that has at least `MIN_ITEMS` items."""
        measured = (
            self.point(arm, task, measure, level, float(number), level.name)
            for number, level in enumerate(places)
        )
        return tuple(p for p in measured if p is not None and p.num_items >= MIN_ITEMS)

    def point(
        self, arm: points.PlannedArm, task: str, measure: str, level: Level, x: float, label: str
    ) -> CurvePoint | None:
        """Returns an arm's accuracy on a level; None if cells or items are missing."""
        place = (task, measure, level)
        accuracy = self._reader.accuracy(arm, place, self._level)
        if accuracy is None:
            return None
        return CurvePoint(
            x=x,
            label=label,
            mean=accuracy.estimate,
            low=accuracy.low,
            high=accuracy.high,
            num_items=len(self._reader.test_level(*place).columns),
        )


def _places(surface: Surface, task: str, measure: str) -> Sequence[Level]:
    """One level for each value of the measure if they are few, else the test levels."""
    values = np.unique(surface.items.test[task].values(measure))
    if len(values) <= MAX_VALUES:
        return [Level(name=f"{value:g}", low=value, high=value) for value in values.tolist()]
    levels = {
        row.point.test_level.name: row.point.test_level
        for row in surface.rows
        if (row.point.task, row.point.measure) == (task, measure)
    }
    return sorted(levels.values(), key=lambda level: (level.low + level.high, level.low))
