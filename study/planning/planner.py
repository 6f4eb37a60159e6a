"""Makes the plan: all distinct cells of a study and its points, checked before any cell runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search_spaces.recipes import trains_small_state
from search_spaces.space import Space
from search_spaces.supervision import Labels
from study.artifacts.contrasts import check_contrasts
from study.artifacts.plan import ModelFacts, Plan, collector_paused
from study.artifacts.points import NO_HARD_ARM, Point
from study.artifacts.policies import PolicyComparison
from study.planning.arms import Arms
from study.planning.axes import PreparedAxis, check_axis, load_tasks, prepare_axis, task_facts
from study.planning.cells import CellFactory, FindPrompt, ResolvedBase, find_prompt
from study.planning.conditions import ResolvedCondition, hard_level, plain, sources
from study.planning.model_checks import check_footprints, check_models
from study.planning.units import make_units, share_passes
from trainables.cells.planned import PlannedCell
from trainables.data.label_noise import num_wrong
from trainables.data.task import SplitTask
from trainables.models.resolve import resolve_model
from trainables.models.source import ModelSource
from trainables.storage import layout
from trainables.storage.filesystem import Storage


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Loaded tasks and models of a plan, which running it needs."""

    tasks: Mapping[str, SplitTask]
    models: Mapping[str, ModelSource]
    """Content -> source to load it from."""


def make_plan(
    space: Space,
    data_root: Path | None = None,
    storage: Storage | None = None,
    *,
    skip_bad_rows: bool = False,
) -> tuple[Plan, Inputs]:
    """Loads the tasks, resolves the models, and returns every distinct cell and point.

    Args:
        space: The study.
        data_root: Folder with local copies of data sets; None: the Hub.
        storage: The run folder, which model-based measures are read from.
        skip_bad_rows: Leave out rows that cannot be used, instead of stopping at the first.

    Raises:
        ValueError: If anything in the space cannot be run: an unknown task, measure, prompt or
            model, a level without items, a band with fewer items than a recipe's labels, broken
            data. No file has been written by then.
    """
    layout.check_space_name(space.name)
    check_footprints(space)
    space, tasks = load_tasks(space, data_root, storage, skip_bad_rows=skip_bad_rows)
    models = {model.name: resolve_model(model) for model in space.models}
    check_models(space, models)
    for axis in space.tasks:
        check_axis(space, axis, tasks[axis.task])
    axes = [prepare_axis(space, axis, tasks[axis.task]) for axis in space.tasks]
    inputs = Inputs(tasks=tasks, models={source.content: source for source in models.values()})
    return plan_space(space, axes, models), inputs


@collector_paused()
def plan_space(
    space: Space,
    axes: Sequence[PreparedAxis],
    models: Mapping[str, ModelSource],
    find_prompt: FindPrompt = find_prompt,
) -> Plan:
    """Returns every distinct cell and point of a space.

    Args:
        space: The study, its levels as values.
        axes: Its axes.
        models: Name of a base model of the space -> what it was resolved to.
        find_prompt: Finds prompt formats.

    Raises:
        ValueError: If the space has no point, a contrast has no pair of arms, or an unlabelled pool
            is empty.
    """
    factory = CellFactory(find_prompt)
    points: list[Point] = []
    policies: list[PolicyComparison] = []
    for axis in axes:
        for model in space.models:
            base = ResolvedBase(model=model, source=models[model.name])
            for recipe in axis.conditions:
                arms = Arms(space=space, factory=factory, axis=axis, base=base, recipe=recipe)
                points += _points(arms, policies)
    if not points:
        raise ValueError(
            "the space has no point: SGR needs labels that are easier than the hardest training "
            "level; give at least two train_levels, or train_on_all"
        )
    check_contrasts(space.contrasts, points)
    cells = _needed_cells(factory.planned, points, policies, keep=space.keep)
    units = make_units(cells)
    return Plan(
        space=space,
        tasks=tuple(task_facts(axis, factory) for axis in axes),
        models=tuple(ModelFacts.of(model.name, models[model.name]) for model in space.models),
        cells=share_passes(cells, units),
        units=tuple(tuple(cell.id for cell in unit) for unit in units),
        points=tuple(points),
        policies=tuple(policies),
    )


def _points(arms: Arms, policies: list[PolicyComparison]) -> Iterator[Point]:
    """Yields the points of one axis, base model and recipe; adds what policies are compared."""
    axis, conditions = arms.axis.axis, arms.axis.conditions[arms.recipe]
    zero_shot = arms.zero_shot()
    if arms.space.policy is not None:
        for condition in axis.conditions:
            comparison = arms.compare_policies(arms.space.policy, conditions[condition])
            policies += [] if comparison is None else [comparison]
    for test in axis.test_levels:
        ceiling = hard_level(axis, test)
        supervised = None if ceiling is None else conditions[plain(ceiling)]
        hard = None if supervised is None else arms.trained(supervised)
        for source in (conditions[condition] for condition in sources(axis, test)):
            if not source.is_served:
                continue
            point = Point(
                model=arms.base.model.name,
                num_params=arms.base.source.num_params,
                task=axis.task,
                measure=axis.measure,
                recipe=source.recipe,
                condition=source.condition.name,
                variant=source.variant(),
                train_level=source.train_level,
                test_level=test,
                hard_level=ceiling,
                difficulty_gap=arms.axis.hardness.gap(source.levels, test),
                num_labels=_num_labels(source),
                label_cost=source.condition.label_cost,
                noise_rate=_noise_rate(source.condition.labels, source.num_labels),
                pool_overlap=max(_overlap(arms.axis, each) for each in (source, supervised)),
                zero_shot=zero_shot,
                easy=arms.trained(source),
                hard=hard,
                reason=NO_HARD_ARM if ceiling is None else None,
            )
            yield from _rounds(point, arms, source)


def _overlap(axis: PreparedAxis, resolved: ResolvedCondition | None) -> float:
    """Returns the expected share of labels that two seeds' draws have in common."""
    if resolved is None:
        return 0.0
    sizes = [len(axis.task.pool_ids(axis.axis.measure, level)) for level in resolved.levels]
    return resolved.num_labels / len(sizes) / max(min(sizes), 1)


def _rounds(point: Point, arms: Arms, source: ResolvedCondition) -> Iterator[Point]:
    """Yields the point itself, or one a round where the condition trains itself."""
    options = source.condition.self_training
    if options is None:
        yield point
        return
    for number in range(1, source.condition.rounds + 1):
        yield point.model_copy(
            update={
                "num_labels": point.num_labels + options.n_validation,
                "threshold": options.threshold,
                "ssrm_round": number,
                "self_training": options,
                "easy": arms.trained(source, number),
                "start": point.easy,
            }
        )


def _num_labels(source: ResolvedCondition) -> int:
    """Returns the labels that one seed pays for: trivial examples only copy the form of items."""
    return 0 if source.condition.labels.kind == "trivial" else source.num_labels


def _noise_rate(labels: Labels, number: int) -> float | None:
    if not labels.rate:
        return None
    return num_wrong(labels.rate, number) / number if labels.kind == "noise" else labels.rate


def _needed_cells(
    cells: Mapping[str, PlannedCell],
    points: Iterable[Point],
    comparisons: Iterable[PolicyComparison],
    *,
    keep: str | None,
) -> tuple[PlannedCell, ...]:
    """Returns the cells of all points and comparisons, with their parents."""
    needed: set[str] = set()
    for point in points:
        for arm in (point.zero_shot, point.easy, point.hard, point.start):
            needed.update(() if arm is None else arm.cells)
    for comparison in comparisons:
        for arm in (comparison.base, comparison.before, comparison.after, comparison.gold):
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
        cell.model_copy(update={"keeps_state": True})
        if id_ in parents or (keep == "adapters" and trains_small_state(cell.cell.recipe))
        else cell
        for id_, cell in cells.items()
        if id_ in needed
    )
