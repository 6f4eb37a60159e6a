"""The plan: all distinct cells of a study and the points they serve, checked before one starts."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import PolicyDPO, TrainedRecipe, num_labels
from search_spaces.space import Space
from search_spaces.supervision import Condition, Labels
from study.artifacts.plan import ModelFacts, Plan
from study.artifacts.points import NO_HARD_ARM, Point
from study.artifacts.policies import PolicyComparison
from study.planning.adapter_checks import check_adapters
from study.planning.arms import Arms, Cells, only_level
from study.planning.axes import PreparedAxis, load_tasks, prepare_axis, task_facts
from study.planning.conditions import condition_recipe, serves
from study.planning.footprint_checks import check_footprints
from study.planning.levels import Hardness, hard_level, labelled_levels, sources
from study.planning.policies import compare_policies
from study.planning.pool_notes import pool_notes
from study.planning.units import make_units
from study.planning.variants import variant_label
from trainables.cells.planned import PlannedCell
from trainables.data.label_noise import num_wrong
from trainables.data.task import SplitTask
from trainables.models.resolve import resolve_model
from trainables.models.source import ModelSource
from trainables.storage import layout
from trainables.storage.filesystem import Storage


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What was loaded to make a plan and is needed to run it."""

    tasks: Mapping[str, SplitTask]
    models: Mapping[str, ModelSource]
    """Content -> where to load it from."""


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A plan makes values by the hundred thousand and drops few: looking for garbage costs 10 %."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_no_garbage_collection()
def make_plan(
    space: Space,
    data_root: Path | None = None,
    storage: Storage | None = None,
    *,
    skip_bad_rows: bool = False,
) -> tuple[Plan, Inputs]:
    """Loads the tasks, resolves the models, and returns every distinct cell and point.

    Args:
        space: What is asked for.
        data_root: Folder with local copies of data sets; None: the Hub.
        storage: The run folder, which model-based measures are read from.
        skip_bad_rows: Leave out rows that cannot be used, instead of stopping at the first.

    Raises:
        ValueError: If anything in the space cannot be run: an unknown task, measure, prompt or
            model, a level without items, a band with fewer items than a recipe's labels, broken
            data. Nothing has been written by then.
    """
    layout.check_space_name(space.name)
    check_footprints(space)
    space, tasks = load_tasks(space, data_root, storage, skip_bad_rows=skip_bad_rows)
    models = {model.name: resolve_model(model) for model in space.models}
    _check_dtypes(space, models)
    check_adapters(models.values(), [r for axis in space.tasks for r in space.recipes(axis)])
    axes = [prepare_axis(space, axis, tasks[axis.task]) for axis in space.tasks]
    builder = _Builder(space)
    points = [
        point
        for axis in axes
        for model in space.models
        for point in builder.points(axis, model, models[model.name])
    ]
    if not points:
        raise ValueError(
            "the space has no point: an SGR needs labels that are easier than the hardest training "
            "level, so give at least two train_levels or train_on_all"
        )
    cells = _needed_cells(builder.cells.planned, points, builder.comparisons)
    plan = Plan(
        space=space,
        tasks=tuple(task_facts(axis, pool_notes(builder.cells, axis)) for axis in axes),
        models=tuple(_model_facts(model, models[model.name]) for model in space.models),
        cells=cells,
        units=tuple(tuple(cell.id for cell in unit) for unit in make_units(cells)),
        points=tuple(points),
        policies=tuple(builder.comparisons),
    )
    inputs = Inputs(
        tasks=tasks,
        models={source.content: source for source in models.values()},
    )
    return plan, inputs


def _check_dtypes(space: Space, models: Mapping[str, ModelSource]) -> None:
    """Checks footprints again, now that the dtype of every `auto` is known."""
    resolved = tuple(
        model.model_copy(update={"dtype": models[model.name].dtype}) for model in space.models
    )
    check_footprints(space.model_copy(update={"models": resolved}))


class _Builder:
    """Makes the points of a space, and each cell they need once."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.cells = Cells(space)
        self.comparisons: list[PolicyComparison] = []

    def points(
        self, axis: PreparedAxis, model: BaseModelRef, source: ModelSource
    ) -> Iterator[Point]:
        """Yields the points of one axis and model, and plans their cells."""
        hardness = Hardness(axis.task, axis.axis)
        for recipe in self._space.recipes(axis.axis):
            arms = Arms(self.cells, axis, model, source, recipe)
            zero_shot = arms.zero_shot()
            if self._space.policy is not None:
                self._plan_policies(self._space.policy, axis, model, recipe, arms)
            for test in axis.axis.test_levels:
                ceiling = hard_level(axis.axis, test)
                hard = None if ceiling is None else arms.labelled(_plain(ceiling))
                for condition in sources(axis.axis, test):
                    if not serves(condition, recipe):
                        continue
                    used = condition_recipe(recipe, condition)
                    shared = Point(
                        model=model.name,
                        num_params=source.num_params,
                        task=axis.axis.task,
                        measure=axis.axis.measure,
                        recipe=used,
                        condition=condition.name,
                        variant=variant_label(condition, arms.differing),
                        train_level=only_level(axis.axis, condition),
                        test_level=test,
                        hard_level=ceiling,
                        difficulty_gap=hardness.gap(condition, test),
                        num_labels=_num_labels(condition, used),
                        label_cost=condition.label_cost,
                        noise_rate=_noise_rate(condition.labels, num_labels(used)),
                        pool_overlap=self._overlap(axis, recipe, condition, ceiling),
                        zero_shot=zero_shot,
                        easy=arms.labelled(condition),
                        hard=hard,
                        reason=NO_HARD_ARM if ceiling is None else None,
                    )
                    yield from _rounds(shared, arms, condition)

    def _plan_policies(
        self,
        policy: PolicyDPO,
        axis: PreparedAxis,
        model: BaseModelRef,
        recipe: TrainedRecipe,
        arms: Arms,
    ) -> None:
        for condition in axis.axis.conditions:
            self.comparisons += compare_policies(
                policy,
                arms,
                condition,
                model=model.name,
                task=axis.axis.task,
                used=condition_recipe(recipe, condition),
                variant=variant_label(condition, arms.differing),
            )

    def _overlap(
        self, axis: PreparedAxis, recipe: TrainedRecipe, condition: Condition, ceiling: Level | None
    ) -> float:
        def share(of: Condition) -> float:
            levels = labelled_levels(axis.axis, of)
            sizes = [len(axis.task.pool_ids(axis.axis.measure, level)) for level in levels]
            each = num_labels(condition_recipe(recipe, of)) / len(levels)
            return max(each / max(size, 1) for size in sizes)

        return max(share(condition), 0.0 if ceiling is None else share(_plain(ceiling)))


def _rounds(shared: Point, arms: Arms, condition: Condition) -> Iterator[Point]:
    """Yields the point itself, or one a round where the condition trains itself."""
    options = condition.self_training
    if options is None:
        yield shared
        return
    for number in range(1, condition.rounds + 1):
        yield shared.model_copy(
            update={
                "num_labels": shared.num_labels + options.n_validation,
                "threshold": options.threshold,
                "ssrm_round": number,
                "self_training": options,
                "easy": arms.self_trained(condition, number),
                "start": shared.easy,
            }
        )


def _num_labels(condition: Condition, recipe: TrainedRecipe) -> int:
    """Returns how many labels one seed pays for: trivial examples copy the form of items alone."""
    return 0 if condition.labels.kind == "trivial" else num_labels(recipe)


def _noise_rate(labels: Labels, number: int) -> float | None:
    if not labels.rate:
        return None
    return num_wrong(labels.rate, number) / number if labels.kind == "noise" else labels.rate


def _plain(level: Level) -> Condition:
    return Condition(name=level.name, levels=(level.name,))


def _needed_cells(
    cells: Mapping[str, PlannedCell],
    points: Iterable[Point],
    comparisons: Iterable[PolicyComparison],
) -> tuple[PlannedCell, ...]:
    """Returns the cells that some point or comparison is made of, and those they start from."""
    needed: set[str] = set()
    for point in points:
        for arm in (point.zero_shot, point.easy, point.hard, point.start):
            needed.update(() if arm is None else arm.cells)
    for found in comparisons:
        for arm in (found.base, found.before, found.after, found.gold):
            needed.update(arm.cells)
    parents: set[str] = set()
    waiting = list(needed)
    while waiting:
        parent = cells[waiting.pop()].cell.parent
        if parent is not None:
            parents.add(parent)
            if parent not in needed:
                needed.add(parent)
                waiting.append(parent)
    return tuple(
        cell.model_copy(update={"is_parent": True}) if id_ in parents else cell
        for id_, cell in cells.items()
        if id_ in needed
    )


def _model_facts(model: BaseModelRef, source: ModelSource) -> ModelFacts:
    return ModelFacts(
        name=model.name,
        content=source.content,
        dtype=source.dtype,
        num_params=source.num_params,
        num_layers=source.num_layers,
        hidden_size=source.hidden_size,
        vocab_size=source.vocab_size,
        num_expert_params=source.num_expert_params,
    )
