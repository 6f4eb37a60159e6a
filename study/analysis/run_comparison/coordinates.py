"""Coordinates of arms and points, by which those of two studies are matched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from search_spaces.contrasts import ZERO_SHOT
from search_spaces.recipes import Recipe
from study.analysis.names import last_part, recipe_label, varying_factors
from study.analysis.surface import Surface
from study.analysis.surface_rows import SurfaceRow
from study.artifacts.plan import Plan
from study.artifacts.points import PlannedArm, Point


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRun:
    """One of the two studies."""

    address: str
    plan: Plan
    surface: Surface


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Coordinates:
    """Where an arm or a point is in a study, in names that do not depend on the study's files."""

    model: str
    task: str
    measure: str
    method: str
    """With the factors of the recipe that vary within one of the two studies."""
    labels: str
    """The source of supervision, with its threshold and round, or `zero-shot`."""
    test_level: str

    @property
    def text(self) -> str:
        """For a reader: `micro-l lora, easy -> hard (micro by steps)`."""
        task = f"{self.task} by {self.measure}"
        return f"{self.model} {self.method}, {self.labels} -> {self.test_level} ({task})"


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmAtPoint:
    """An arm on the test level of a point."""

    point: Point
    planned: PlannedArm
    accuracy: float | None
    """On the test level; None if cells are missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """The arms and the points of a study by their coordinates."""

    arms: Mapping[Coordinates, ArmAtPoint]
    points: Mapping[Coordinates, SurfaceRow]


def locate(first: ComparedRun, second: ComparedRun) -> tuple[Located, Located]:
    """Returns the arms and points of two studies in common coordinates.

    A model is named by the last part of its name where that is unique. A recipe is named by its
    method and the factors that vary within one of the studies; other factors may differ between
    them (`identity`).
    """
    runs = (first, second)
    varying: dict[str, tuple[str, ...]] = {}
    for run in runs:
        for method, names in varying_factors(_recipes(run.plan)).items():
            varying[method] = tuple(dict.fromkeys((*varying.get(method, ()), *names)))
    is_short = all(map(_have_distinct_ends, runs))

    def model_name(name: str) -> str:
        return last_part(name) if is_short else name

    def method_name(recipe: Recipe) -> str:
        return recipe_label(recipe, varying.get(recipe.method, ()))

    def located(run: ComparedRun) -> Located:
        recipes = {planned.id: planned.cell.recipe for planned in run.plan.cells}
        arms: dict[Coordinates, ArmAtPoint] = {}
        points: dict[Coordinates, SurfaceRow] = {}
        for row in run.surface.rows:
            point = row.point
            floor = recipes[point.zero_shot.cells[0]]
            named = [
                (ZERO_SHOT, floor, point.zero_shot, row.zero_shot),
                (point.source, point.recipe, point.easy, row.easy),
            ]
            if point.hard is not None and point.hard_level is not None:
                named.append((point.hard_level.name, point.recipe, point.hard, row.hard))
            for labels, recipe, planned, accuracy in named:
                place = Coordinates(
                    model=model_name(point.model),
                    task=point.task,
                    measure=point.measure,
                    method=method_name(recipe),
                    labels=labels,
                    test_level=point.test_level.name,
                )
                arm = ArmAtPoint(point=point, planned=planned, accuracy=accuracy)
                arms.setdefault(place, arm)
                if planned is point.easy:
                    points.setdefault(place, row)
        return Located(arms=arms, points=points)

    return located(first), located(second)


def _recipes(plan: Plan) -> Iterable[Recipe]:
    """The recipes that name arms: those of the points, and of their zero-shot cells."""
    cells = {planned.id: planned for planned in plan.cells}
    for point in plan.points:
        yield point.recipe
        yield cells[point.zero_shot.cells[0]].cell.recipe


def _have_distinct_ends(run: ComparedRun) -> bool:
    """Whether the last parts of a study's model names are distinct."""
    names = {point.model for point in run.plan.points}
    return len({last_part(name) for name in names}) == len(names)
