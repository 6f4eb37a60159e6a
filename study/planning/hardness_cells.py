"""Plans the cells of model-based hardness: every model, training size and draw of a task.

Each cell trains from the base, without a parent, although the draws are nested. Any item may be
drawn for training, except the test items that a data set defines; a cell is scored on all other
items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from search_spaces.base_models import BaseModelRef
from search_spaces.explain import count
from search_spaces.frozen import digest
from search_spaces.hardness import ModelHardness
from search_spaces.recipes import ZeroShot
from search_spaces.space import Space
from study.artifacts.plan import ModelFacts, Plan, PlannedTask
from study.cost.flops import task_size
from study.planning.cells import CellFactory, ResolvedBase, ScoredTask
from study.planning.hardness.values import HardnessSource
from study.planning.model_checks import check_footprints, check_models
from study.planning.planner import Inputs
from study.planning.units import make_units
from trainables.cells.planned import PlannedCell
from trainables.data.draws import CellDraws, Draw
from trainables.data.splits import make_split, paper_split
from trainables.data.task import Split, SplitTask, TaskData
from trainables.data.tasks.registry import load_task
from trainables.models.resolve import resolve_model
from trainables.models.source import ModelSource
from trainables.storage import layout

DEFAULT_PROMPT = "default"
"""Name of the prompt format that every task has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HardnessPlan:
    """A plan without points, and the measures that its records are made into."""

    plan: Plan
    inputs: Inputs
    sources: tuple[HardnessSource, ...]


def wanted_hardness(space: Space) -> tuple[tuple[str, ModelHardness], ...]:
    """Returns every task that an axis cuts by model-based hardness, with that hardness.

    Raises:
        ValueError: If there is none.
    """
    wanted = dict.fromkeys(
        (axis.task, hardness.by_models(space.models))
        for axis in space.tasks
        for hardness in space.hardness
        if hardness.makes(axis.measure)
    )
    if not wanted:
        raise ValueError(
            f"space {space.name!r} has no axis that is cut by a model-based measure: give it "
            "hardness=(ModelHardness(...),) and a TaskAxis with measure='mdl:prequential'"
        )
    return tuple(wanted)


def plan_hardness(
    space: Space, data_root: Path | None = None, *, skip_bad_rows: bool = False
) -> HardnessPlan:
    """Returns the cells of every model-based measure that cuts an axis of the space.

    Raises:
        ValueError: If there is no such measure, a task, model or prompt cannot be used, or a task
            has fewer items than the largest training size.
    """
    layout.check_space_name(space.name)
    wanted = wanted_hardness(space)
    names = dict.fromkeys(task for task, _ in wanted)
    data = {
        name: load_task(name, data_root, skip_bad_rows, space.source_of(name)) for name in names
    }
    tasks = {name: SplitTask(data=task, split=_split(task)) for name, task in data.items()}
    trainings = [
        _training(space, hardness)
        for _, hardness in wanted
        if not isinstance(hardness.method, ZeroShot)
    ]
    for training in trainings:
        check_footprints(training)
    used = dict.fromkeys(model for _, hardness in wanted for model in hardness.models)
    models = {model: resolve_model(model) for model in used}
    for training in trainings:
        check_models(training, {model.name: models[model] for model in training.models})
    sources = tuple(
        _source(tasks[task], hardness, models, space.study_seed) for task, hardness in wanted
    )
    inputs = Inputs(tasks=tasks, models={source.content: source for source in models.values()})
    return HardnessPlan(plan=_plan(space, tasks, models, sources), inputs=inputs, sources=sources)


def _split(task: TaskData) -> Split:
    """Returns every item as the test and as the pool; a test that the data defines is no pool."""
    split = paper_split(task)
    if not task.test:
        return split
    pool = make_split(task, n_train=1).pool
    hashed = digest({"test": split.test, "pool": pool})
    return replace(split, pool=pool, split_hash=hashed, notes=())


def _training(space: Space, hardness: ModelHardness) -> Space:
    """Returns the space with the hardness's models and method instead."""
    axes = tuple(axis.model_copy(update={"methods": ()}) for axis in space.tasks)
    changes = {"models": hardness.models, "methods": (hardness.method,), "tasks": axes}
    return space.model_copy(update={**changes, "policy": None})


def _plan(
    space: Space,
    tasks: Mapping[str, SplitTask],
    models: Mapping[BaseModelRef, ModelSource],
    sources: Iterable[HardnessSource],
) -> Plan:
    cells = {
        cell.id: cell
        for source in sources
        for by_size in source.cells.values()
        for draws in by_size.values()
        for cell in draws
    }
    by_name = {model.name: model for model in (*space.models, *models)}
    return Plan(
        space=space.model_copy(
            update={"name": f"{space.name}.measures", "models": tuple(by_name.values())}
        ),
        tasks=tuple(_task_facts(tasks[source.task], source) for source in sources),
        models=tuple(ModelFacts.of(model.name, source) for model, source in models.items()),
        cells=tuple(cells.values()),
        units=tuple(tuple(cell.id for cell in unit) for unit in make_units(cells.values())),
        points=(),
    )


def _source(
    task: SplitTask,
    hardness: ModelHardness,
    models: Mapping[BaseModelRef, ModelSource],
    study_seed: int,
) -> HardnessSource:
    name, num_items = task.data.name, len(task.split.pool)
    if task.data.free_form:
        raise ValueError(f"task {name} has free answers: hardness {hardness.name!r} needs choices")
    if hardness.sizes and hardness.sizes[-1] >= num_items:
        raise ValueError(
            f"task {name} has {count(num_items, 'item')} to train on, and hardness "
            f"{hardness.name!r} uses "
            f"{hardness.sizes[-1]}, which leaves no item to score; use smaller sizes"
        )
    factory, scored = CellFactory(), ScoredTask(task=task, size=task_size(task))

    def cells(model: BaseModelRef, size: int) -> Iterator[PlannedCell]:
        recipe = hardness.recipe(size)
        for draws in _draws(hardness, size, name, study_seed):
            yield factory.make(
                scored,
                ResolvedBase(model=model, source=models[model]),
                recipe,
                draws,
                name=f"{size} items" if size else recipe.method,
                prompt=recipe.prompt or DEFAULT_PROMPT,
                study_seed=study_seed if size else 0,
            )

    return HardnessSource(
        task=name,
        hardness=hardness,
        contents={model.name: models[model].content for model in hardness.models},
        cells={
            model.name: {size: tuple(cells(model, size)) for size in (0, *hardness.sizes)}
            for model in hardness.models
        },
    )


def _draws(
    hardness: ModelHardness, size: int, task: str, study_seed: int
) -> Iterator[CellDraws | None]:
    """Yields the draw of each seed from the whole task; smaller draws are parts of larger ones."""
    if not size:
        yield None
        return
    for seed in range(hardness.seeds):
        draw = Draw(task=task, measure=None, level=None, n=size, study_seed=study_seed, seed=seed)
        yield CellDraws(labelled=(draw,))


def _task_facts(task: SplitTask, source: HardnessSource) -> PlannedTask:
    size = task_size(task)
    return PlannedTask(
        task=source.task,
        measure=source.hardness.name,
        scale="quantiles",
        source=task.data.source,
        licence=task.data.licence,
        data_hash=task.data.data_hash,
        split_hash=task.split.split_hash,
        num_test=len(task.split.test),
        levels=(),
        notes=task.data.loading_notes,
        num_skipped=len(task.data.skipped),
        mean_tokens=size.tokens_per_item,
        longest_tokens=size.longest_tokens,
    )
