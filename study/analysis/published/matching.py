"""Arms of a study by the coordinates of published numbers, and our numbers at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from search_spaces.levels import Level
from search_spaces.recipes import AdapterTraining, Recipe, num_labels
from search_spaces.supervision import Labels
from study.analysis.names import recipe_labels
from study.analysis.published.result import Bounds, Paper, Published
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import recipe_text
from study.artifacts import points
from study.artifacts.items import MEASURE
from study.artifacts.plan import Plan
from study.statistics import sgr
from study.statistics.differences import estimate_contrast
from trainables.cells.planned import PlannedCell


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchedResult:
    """Our number at the coordinates of a published one."""

    method: str
    """Our recipe, told from others of the study."""
    value: float | None
    """None for an SGR whose gap is not resolved."""
    low: float | None
    high: float | None
    verdict: str = ""
    """Of an SGR."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyArm:
    """Cells that differ in their seed alone."""

    task: str
    measure: str | None
    model: str
    recipe: Recipe
    labels: Labels
    levels: tuple[Level | None, ...]
    """Of the labelled items; None: all."""


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
        self._models = {arm.model for arm in self._arms}
        self._matched: set[StudyArm] = set()

    @property
    def alone(self) -> tuple[int, int]:
        """How many of our arms no published number was found for so far, and how many there are."""
        return len(self._arms) - len(self._matched), len(self._arms)

    def matches(self, published: Published) -> Iterator[MatchedResult]:
        """Yields our numbers of the same coordinates, one a recipe."""
        measure = published.measure or self._any_measure(published.task)
        test = None if measure is None else self._test_level(published, measure)
        if measure is None or test is None:
            return
        seen: set[str] = set()
        for arm in self._arms:
            text = recipe_text(arm.recipe)
            is_known = published.measure is None and text in seen
            if is_known or not self._fits(arm, published, published.condition):
                continue
            where = (published.task, arm.measure or measure, test)
            value = self._value(published, arm, where)
            if value is not None:
                # Where a number is of no measure, every measure's own draw of all levels would do.
                seen.add(text)
                self._matched.add(arm)
                yield value

    def why_not(self, published: Published) -> str:
        """Says in which coordinate a published number has none of ours."""
        if _last_part(published.model) not in self._models:
            return f"of {published.model}, which is not in this study"
        tasks = {(axis.task, axis.measure) for axis in self._space.tasks}
        if published.task not in {task for task, _ in tasks}:
            return f"of {published.task}, which is not in this study"
        if published.measure is not None and (published.task, published.measure) not in tasks:
            return f"of {published.task} by {published.measure}, which is not in this study"
        if any(self._fits(arm, published, published.condition) for arm in self._arms):
            return "of arms whose cells are not finished, or with no such test item or hard arm"
        return (
            f"of {published.task} with {published.method} by labels, chain of thought or number of "
            "labels that this study does not have"
        )

    def _fits(self, arm: StudyArm, published: Published, condition: str) -> bool:
        is_zero_shot = condition == "zero-shot"
        recipe = arm.recipe
        return (
            arm.task == published.task
            and arm.model == _last_part(published.model)
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
        """Returns a level by the paper's bounds, or the space's own where it is a quantile."""
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

    def _test_level(self, published: Published, measure: str) -> Level | None:
        items = self._surface.items.test.get(published.task)
        if items is None or MEASURE + measure not in items.table.column_names:
            return None
        if published.test != "all":
            return self._level(published.task, measure, published.test)
        if measure in items.test_draws:
            return None  # levels were sampled: together they are no sample of all items
        values = items.values(measure)
        return Level(name="every level", low=float(values.min()), high=float(values.max()))

    def _value(
        self, published: Published, arm: StudyArm, where: tuple[str, str, Level]
    ) -> MatchedResult | None:
        """Returns our number, or None where cells or items are missing."""
        if published.quantity == "sgr":
            return self._sgr(published, arm, where)
        scores = self._scores(self._planned(arm), where)
        if scores is None:
            return None
        found = estimate_contrast(
            {"arm": scores},
            {"arm": 1.0},
            level=self._surface.level,
            clusters=self._reader.test_level(*where).clusters,
        )
        return self._ours(arm, found.estimate, found.low, found.high)

    def _sgr(
        self, published: Published, arm: StudyArm, where: tuple[str, str, Level]
    ) -> MatchedResult | None:
        hard_name = published.test if published.test != "all" else "hard"
        easy = self._planned(arm)
        hard = next((a for a in self._arms if self._is_partner(a, arm, hard_name)), None)
        parts = {
            "zero_shot": self._zero_shot_of(easy),
            "easy": easy,
            "hard": None if hard is None else self._planned(hard),
        }
        arms = {
            role: None if planned is None else self._scores(planned, where)
            for role, planned in parts.items()
        }
        found = {role: scores for role, scores in arms.items() if scores is not None}
        if len(found) < len(arms):
            return None
        fault = self._floor_fault(easy, where)
        if fault is not None:
            return self._ours(arm, None, None, None, fault)
        estimate = sgr.estimate_sgr_of_arms(
            **found,
            level=self._surface.level,
            clusters=self._reader.test_level(*where).clusters,
        )
        return self._ours(arm, estimate.value, estimate.low, estimate.high, estimate.verdict)

    def _is_partner(self, other: StudyArm, arm: StudyArm, condition: str) -> bool:
        """Says whether another arm is this one's hard arm."""
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

    def _zero_shot_of(self, source: points.PlannedArm) -> points.PlannedArm | None:
        """Returns the zero-shot arm of the points that an arm is the source of."""
        cells = set(source.cells)
        rows = (row.point for row in self._surface.rows if set(row.point.easy.cells) == cells)
        return next((point.zero_shot for point in rows), None)

    def _floor_fault(self, source: points.PlannedArm, where: tuple[str, str, Level]) -> str | None:
        """Returns why zero-shot is no zero for SGR at the source's point on a test level."""
        cells, test = set(source.cells), where[2]
        return next(
            (
                row.verdict
                for row in self._surface.rows
                if set(row.point.easy.cells) == cells
                and row.point.test_level == test
                and not row.has_floor
            ),
            None,
        )

    def _scores(
        self, planned: points.PlannedArm, where: tuple[str, str, Level]
    ) -> sgr.ArmScores | None:
        finished = self._surface.scores.records
        if not len(self._reader.test_level(*where).columns):
            return None
        if not all(id_ in finished for id_ in planned.cells):
            return None
        return self._reader.arm(planned, *where)

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
        model=_last_part(planned.model_name),
        recipe=planned.cell.recipe,
        labels=planned.cell.labels,
        levels=() if planned.draws is None else tuple(d.level for d in planned.draws.labelled),
    )


def is_of_method(recipe: Recipe, method: str) -> bool:
    """Says whether a paper means the recipe: by QLoRA an adapter on a base in 4 or in 8 bits."""
    if method == "qlora":
        return isinstance(recipe, AdapterTraining) and recipe.quantization != "none"
    return recipe.method == method


def _same_labels(labels: Labels, published: Published, condition: str) -> bool:
    if condition == "trivial":
        return labels.kind == "trivial"
    if published.noise is not None:
        return labels == Labels(kind="paper noise", rate=published.noise)
    return labels.kind == "gold"


def _bounds(level: Level) -> Bounds:
    return (level.low, level.high)


def _last_part(model: str) -> str:
    """Returns what a model is known by, wherever it lies: `Llama-2-70b-hf` of its path or owner."""
    return model.rstrip("/").rpartition("/")[2].casefold()
