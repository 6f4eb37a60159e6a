"""Matches published numbers to the arms of a study, and computes ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from search_spaces.levels import Level
from search_spaces.recipes import AdapterTraining, Recipe, num_labels
from search_spaces.supervision import Labels
from study.analysis.names import last_part, recipe_labels
from study.analysis.published.papers import Bounds, Paper, PublishedResult
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.artifacts import points
from study.artifacts.items import MEASURE
from study.artifacts.plan import Plan
from study.statistics import sgr
from trainables.cells.planned import PlannedCell


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchedResult:
    """Our number with the coordinates of a published one."""

    method: str
    """Label of our recipe."""
    value: float | None
    """None for an SGR that is not resolved."""
    low: float | None
    high: float | None
    verdict: str = ""
    """Verdict of an SGR."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyArm:
    """Cells that differ only in their seed."""

    task: str
    measure: str | None
    model: str
    recipe: Recipe
    labels: Labels
    levels: tuple[Level | None, ...]
    """Levels of the labelled items; None for all levels together."""


class ArmMatcher:
    """Finds the arms of a study by the coordinates of published numbers."""

    def __init__(self, plan: Plan, surface: Surface, paper: Paper) -> None:
        self._surface = surface
        self._paper = paper
        self._space = plan.space
        self._reader = ArmReader(surface.items, surface.scores)
        self._names = recipe_labels(cell.cell.recipe for cell in plan.cells)
        self._arms: dict[StudyArm, list[PlannedCell]] = {}
        for cell in plan.cells:
            if cell.cell.self_training is None:
                self._arms.setdefault(_our_arm(cell), []).append(cell)
        self._rows: dict[frozenset[str], list[SurfaceRow]] = {}
        for row in surface.rows:
            self._rows.setdefault(frozenset(row.point.easy.cells), []).append(row)
        self._models = {arm.model for arm in self._arms}
        self._matched: set[StudyArm] = set()

    @property
    def alone(self) -> tuple[int, int]:
        """Number of our arms without a published number so far, and of all our arms."""
        return len(self._arms) - len(self._matched), len(self._arms)

    def matches(self, published: PublishedResult) -> Iterator[MatchedResult]:
        """Yields our numbers with the same coordinates, one a recipe."""
        measure = published.measure or self._any_measure(published.task)
        test = None if measure is None else self._test_level(published, measure)
        if measure is None or test is None:
            return
        matched: set[str] = set()
        for arm in self._arms:
            text = recipe_text(arm.recipe)
            is_known = published.measure is None and text in matched
            if is_known or not self._fits(arm, published, published.condition):
                continue
            where = (published.task, arm.measure or measure, test)
            value = self._value(published, arm, where)
            if value is not None:
                # A number without a measure matches every measure's draw of all levels; take one.
                matched.add(text)
                self._matched.add(arm)
                yield value

    def why_not(self, published: PublishedResult) -> str:
        """Returns the coordinate in which a published number has no match."""
        if last_part(published.model) not in self._models:
            return f"of {published.model}, which is not in this study"
        tasks = {(axis.task, axis.measure) for axis in self._space.tasks}
        if published.task not in {task for task, _ in tasks}:
            return f"of {published.task}, which is not in this study"
        if published.measure is not None and (published.task, published.measure) not in tasks:
            return f"of {published.task} by {published.measure}, which is not in this study"
        if any(self._fits(arm, published, published.condition) for arm in self._arms):
            return "of arms with unfinished cells, or without such test items or a hard arm"
        return (
            f"of {published.task} with {published.method} by labels, chain of thought or number of "
            "labels that this study does not have"
        )

    def _fits(self, arm: StudyArm, published: PublishedResult, condition: str) -> bool:
        is_zero_shot = condition == "zero-shot"
        recipe = arm.recipe
        return (
            arm.task == published.task
            and arm.model == last_part(published.model)
            and is_of_method(recipe, "zero-shot" if is_zero_shot else published.method)
            and (recipe.reasoning is not None) == published.reasoning
            and (is_zero_shot or num_labels(recipe) == published.num_labels)
            and (is_zero_shot or published.measure in (None, arm.measure))
            and _same_labels(arm.labels, published, condition)
            and self._same_levels(arm, condition)
        )

    def _same_levels(self, arm: StudyArm, condition: str) -> bool:
        if condition == "zero-shot":
            return not arm.levels
        if condition in ("all", "trivial"):
            return arm.levels == (None,)
        if len(arm.levels) != 1 or arm.levels[0] is None or arm.measure is None:
            return False
        wanted = self._level(arm.task, arm.measure, condition)
        return wanted is not None and _bounds(wanted) == _bounds(arm.levels[0])

    def _level(self, task: str, measure: str, name: str) -> Level | None:
        """Returns a level by the paper's bounds, or the space's if the paper cuts at quantiles."""
        known = self._paper.levels.get((task, measure))
        if known is not None:
            return (
                Level(name=name, low=known[name][0], high=known[name][1]) if name in known else None
            )
        for axis in self._space.tasks:
            if (axis.task, axis.measure, axis.scale) == (task, measure, "quantiles"):
                return next((level for level in axis.train_levels if level.name == name), None)
        return None

    def _any_measure(self, task: str) -> str | None:
        return next((axis.measure for axis in self._space.tasks if axis.task == task), None)

    def _test_level(self, published: PublishedResult, measure: str) -> Level | None:
        items = self._surface.items.test.get(published.task)
        if items is None or MEASURE + measure not in items.table.column_names:
            return None
        if published.test != "all":
            return self._level(published.task, measure, published.test)
        if measure in items.test_draws:
            return None  # sampled by level, so their union is not a sample of all items
        values = items.values(measure)
        return Level(name="every level", low=float(values.min()), high=float(values.max()))

    def _value(
        self, published: PublishedResult, arm: StudyArm, where: tuple[str, str, Level]
    ) -> MatchedResult | None:
        """Returns our number, or None if cells or items are missing."""
        if published.quantity == "sgr":
            return self._sgr(published, arm, where)
        accuracy = self._reader.accuracy(self._planned(arm), where, self._surface.level)
        if accuracy is None:
            return None
        return self._ours(arm, accuracy.estimate, accuracy.low, accuracy.high)

    def _sgr(
        self, published: PublishedResult, arm: StudyArm, where: tuple[str, str, Level]
    ) -> MatchedResult | None:
        hard_name = published.test if published.test != "all" else "hard"
        hard = next(
            (other for other in self._arms if self._is_partner(other, arm, hard_name)), None
        )
        rows = self._rows.get(frozenset(self._planned(arm).cells))
        if hard is None or not rows:
            return None
        test = self._reader.test_level(*where)
        arms = [rows[0].point.zero_shot, self._planned(arm), self._planned(hard)]
        if not len(test.columns) or not all(map(self._reader.is_finished, arms)):
            return None
        zero_shot, easy, hard_scores = (self._reader.arm(planned, *where) for planned in arms)
        for row in rows:
            if row.point.test_level == where[2] and not row.has_floor:
                return self._ours(arm, None, None, None, row.verdict or "")
        estimate = sgr.estimate_sgr_of_arms(
            zero_shot=zero_shot,
            easy=easy,
            hard=hard_scores,
            level=self._surface.level,
            clusters=test.clusters,
        )
        return self._ours(arm, estimate.value, estimate.low, estimate.high, estimate.verdict)

    def _is_partner(self, other: StudyArm, arm: StudyArm, condition: str) -> bool:
        """Returns whether another arm is the hard arm of this one."""
        return (
            (other.task, other.model) == (arm.task, arm.model)
            and other.recipe == arm.recipe
            and other.measure == arm.measure
            and other.labels == arm.labels
            and self._same_levels(other, condition)
        )

    def _planned(self, arm: StudyArm) -> points.PlannedArm:
        cells = self._arms[arm]
        return points.PlannedArm(
            cells=tuple(cell.id for cell in cells),
            draws=tuple(cell.draws.id for cell in cells if cell.draws is not None),
        )

    def _ours(
        self,
        arm: StudyArm,
        value: float | None,
        low: float | None,
        high: float | None,
        verdict: str = "",
    ) -> MatchedResult:
        return MatchedResult(
            method=self._names[recipe_text(arm.recipe)],
            value=value,
            low=low,
            high=high,
            verdict=verdict,
        )


def _our_arm(planned: PlannedCell) -> StudyArm:
    return StudyArm(
        task=planned.cell.task,
        measure=planned.measure,
        model=last_part(planned.model_name),
        recipe=planned.cell.recipe,
        labels=planned.cell.labels,
        levels=() if planned.draws is None else tuple(d.level for d in planned.draws.labelled),
    )


def is_of_method(recipe: Recipe, method: str) -> bool:
    """Returns whether a recipe has a paper's method; `qlora` is any adapter on a quantized base."""
    if method == "qlora":
        return isinstance(recipe, AdapterTraining) and recipe.quantization != "none"
    return recipe.method == method


def _same_labels(labels: Labels, published: PublishedResult, condition: str) -> bool:
    if condition == "trivial":
        return labels.kind == "trivial"
    if published.noise is not None:
        return labels == Labels(kind="paper noise", rate=published.noise)
    return labels.kind == "gold"


def _bounds(level: Level) -> Bounds:
    return (level.low, level.high)
