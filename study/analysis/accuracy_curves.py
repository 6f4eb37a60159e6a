"""Accuracy curves: against difficulty for every condition, and against a factor of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.levels import Level
from study.analysis.names import hidden_rounds, recipe_labels, source_label
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import SurfaceRow, recipe_factors, recipe_text
from study.artifacts import points
from study.artifacts.condition_kinds import ConditionKind
from study.statistics.across_points.crossing import Crossing
from study.statistics.differences import estimate_contrast

MAX_VALUES = 12
"""Values of a measure that are shown one by one; with more, the test levels are shown."""

MIN_ITEMS = 5
"""Test items that a value needs to be shown: fewer say nothing."""

CURVE_FACTORS = ("threshold", "ssrm_round")
"""Axes of self-training along which curves run; those of labels are in `label_curves`."""

_PANELS: Mapping[ConditionKind, str] = {"self-training": "self-training", "control": "controls"}


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """Mean accuracy of one arm at one place; fractions."""

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
    is_log: bool = False
    """Places are drawn at equal ratios."""
    crossing: Crossing | None = None
    """Where the curves of easy and of hard labels cross, in the unit of the axis."""


def difficulty_panels(surface: Surface, *, max_panels: int | None = None) -> tuple[CurvePanel, ...]:
    """Returns accuracy against difficulty: a panel a model and recipe, a curve a condition.

    Self-training and its controls have panels of their own, each with zero-shot, the labels that
    it starts from, and hard labels beside it.
    """
    meter = ArmMeter(surface)
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    several_tasks = len({(row.point.task, row.point.measure) for row in surface.rows}) > 1
    hidden = hidden_rounds(surface.rows)
    panels: dict[tuple[str, ...], dict[str, points.PlannedArm]] = {}
    for row in surface.rows:
        point = row.point
        method = labels[recipe_text(point.recipe)]
        method += "" if row.role == "labels" else f", {_PANELS[row.role]}"
        key = (point.task, point.measure, point.model, method)
        panels.setdefault(key, {}).update(named_arms(row, hidden))
    order = condition_order(surface)
    made = []
    for (task, measure, model, method), arms in list(panels.items())[:max_panels]:
        places = _places(surface, task, measure)
        curves = tuple(
            Curve(name=name, points=meter.curve(arm, task, measure, places))
            for name, arm in sorted(arms.items(), key=lambda entry: order[entry[0]])
        )
        made.append(
            CurvePanel(
                row=method,
                column=f"{model}, {task}" if several_tasks else model,
                x_title=measure,
                curves=tuple(curve for curve in curves if curve.points),
            )
        )
    return tuple(panel for panel in made if panel.curves)


def factor_panels(surface: Surface, *, max_panels: int | None = None) -> tuple[CurvePanel, ...]:
    """Returns accuracy against each option of self-training that the study varies."""
    meter = ArmMeter(surface)
    several_tasks = len({(row.point.task, row.point.measure) for row in surface.rows}) > 1
    found: dict[tuple[str, ...], dict[str, list[CurvePoint]]] = {}
    for factor in CURVE_FACTORS:
        values = [_factor(row, factor) for row in surface.rows]
        if len(set(values) - {None}) < 2:
            continue
        hidden = hidden_rounds(surface.rows) | {factor}
        for row, value in zip(surface.rows, values, strict=True):
            if value is None or row.role == "control":
                continue
            point = row.point
            rest = recipe_labels((point.recipe,), without=frozenset({factor}))
            method = f"{rest[recipe_text(point.recipe)]} on {point.test_level.name}"
            where = f"{point.task} by {point.measure}" if several_tasks else ""
            key = (point.model, method, factor, where)
            if key not in found and len(found) == max_panels:
                continue
            place = meter.point(
                point.easy, point.task, point.measure, point.test_level, value, f"{value:g}"
            )
            if place is not None:
                curves = found.setdefault(key, {})
                curves.setdefault(source_label(point, hidden), []).append(place)
    return tuple(
        CurvePanel(
            row=method,
            column=f"{model}, {where}" if where else model,
            x_title=factor,
            curves=tuple(
                Curve(name=name, points=tuple(sorted(curve, key=lambda p: p.x)))
                for name, curve in curves.items()
            ),
        )
        for (model, method, factor, where), curves in found.items()
    )


def named_arms(
    row: SurfaceRow, hidden: frozenset[str] = frozenset()
) -> dict[str, points.PlannedArm]:
    """Returns the arms of a point by the source of labels they are trained on.

    Args:
        row: The point.
        hidden: What a source need not name (`labels.hidden_rounds`).
    """
    point = row.point
    arms = {"zero-shot": point.zero_shot, source_label(point, hidden): point.easy}
    if point.start is not None:
        arms["start" if point.train_level is None else point.train_level.name] = point.start
    if point.hard is not None and point.hard_level is not None:
        arms[point.hard_level.name] = point.hard
    return arms


def condition_order(surface: Surface) -> dict[str, int]:
    """Numbers the conditions: zero-shot, from easy to hard, the others in the space's order."""
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
    """Measures the accuracy of arms on levels, with intervals."""

    def __init__(self, surface: Surface) -> None:
        self._finished = surface.scores.records
        self._level = surface.level
        self._reader = ArmReader(surface.items, surface.scores)

    def curve(
        self, arm: points.PlannedArm, task: str, measure: str, places: Sequence[Level]
    ) -> tuple[CurvePoint, ...]:
        """Returns an arm's accuracy at each place that has items enough."""
        found = (
            self.point(arm, task, measure, level, float(number), level.name)
            for number, level in enumerate(places)
        )
        return tuple(p for p in found if p is not None and p.num_items >= MIN_ITEMS)

    def point(
        self, arm: points.PlannedArm, task: str, measure: str, level: Level, x: float, label: str
    ) -> CurvePoint | None:
        """Returns an arm's accuracy on a level; None where cells or items are missing."""
        test_level = self._reader.test_level(task, measure, level)
        if not len(test_level.columns) or not all(id_ in self._finished for id_ in arm.cells):
            return None
        found = estimate_contrast(
            {"arm": self._reader.arm(arm, task, measure, level)},
            {"arm": 1.0},
            level=self._level,
            clusters=test_level.clusters,
        )
        return CurvePoint(
            x=x,
            label=label,
            mean=found.estimate,
            low=found.low,
            high=found.high,
            num_items=len(test_level.columns),
        )


def _places(surface: Surface, task: str, measure: str) -> Sequence[Level]:
    """The measure's values one by one where they are few, else the test levels."""
    values = np.unique(surface.items.test[task].values(measure))
    if len(values) <= MAX_VALUES:
        return [Level(name=f"{value:g}", low=value, high=value) for value in values.tolist()]
    levels = {
        row.point.test_level.name: row.point.test_level
        for row in surface.rows
        if (row.point.task, row.point.measure) == (task, measure)
    }
    return sorted(levels.values(), key=lambda level: (level.low + level.high, level.low))


def _factor(row: SurfaceRow, name: str) -> float | None:
    point = row.point
    own = {"threshold": point.threshold, "ssrm_round": point.ssrm_round}
    value = own[name] if name in own else recipe_factors(point.recipe).get(name)
    return float(value) if isinstance(value, int | float) else None
