"""A study whose data or weights are not here: what it would run, counted from the space alone.

Nothing is fetched. Counts of cells are exact but for draws that happen to be of equal items; counts
of items and weights are published ones; times follow from stated assumptions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import Recipe, TrainedRecipe
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import Condition, SelfTraining
from study.artifacts.costs import StudyCost
from study.cost.flops import CHARS_PER_TOKEN, TaskSize, recipe_flop, training_flop
from study.cost.jobs import PricedJob, PricingOptions
from study.cost.memory import ModelShape
from study.cost.model_sizes import MODELS, ModelSize
from study.cost.pricer import Pricer
from study.planning.axes import load_tasks, prepare_axis
from study.planning.conditions import cell_draws, condition_recipe, serves, zero_shot_recipe
from study.planning.levels import hard_level, sources
from trainables.data.prompts.formats import get_prompt
from trainables.data.tasks.published_sizes import FACTS
from trainables.data.tasks.registry import find_task
from trainables.errors import UnavailableError
from trainables.models.chat_templates import CHAT, plain_name
from trainables.models.resolve import HUB_NAME, resolve_model

GENERATED_TASKS = frozenset({"micro", "micro_preferences"})
"""They need no data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellKind:
    """What the cells of one arm share, whatever their model and seed."""

    task: str
    recipe: Recipe
    self_training: SelfTraining | None
    copies: int
    """Cells a model: one a seed, or one where nothing is drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """A space in numbers."""

    num_points: int
    kinds: tuple[CellKind, ...]
    num_models: int

    @property
    def cells_by_method(self) -> Mapping[str, int]:
        """Distinct cells of all models."""
        counts: Counter[str] = Counter()
        for kind in self.kinds:
            counts[kind.recipe.method] += kind.copies * self.num_models
        return counts

    @property
    def num_cells(self) -> int:
        """Distinct cells of all models and methods."""
        return sum(self.cells_by_method.values())


def count(space: Space) -> Outlook:
    """Returns the points and distinct cells of a space, as the plan would have them."""
    counter = _Counter(space)
    num_points = sum(
        counter.points(axis, recipe) for axis in space.tasks for recipe in space.recipes(axis)
    )
    return Outlook(
        num_points=num_points * len(space.models),
        kinds=tuple(counter.kinds.values()),
        num_models=len(space.models),
    )


class _Counter:
    """Walks a space as the planner does, with names of draws in place of drawn items."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.kinds: dict[tuple[object, ...], CellKind] = {}

    def points(self, axis: TaskAxis, recipe: TrainedRecipe) -> int:
        """Returns the number of points of a recipe a model, and notes the cells they need."""
        number = 0
        needed: dict[Condition, None] = {}
        for test in axis.test_levels:
            served = [c for c in sources(axis, test) if serves(c, recipe)]
            number += sum(c.rounds if c.self_training is not None else 1 for c in served)
            needed |= dict.fromkeys(served)
            ceiling = hard_level(axis, test)
            if served and ceiling is not None:
                needed[Condition(name=ceiling.name, levels=(ceiling.name,))] = None
        for condition in needed:
            last = 0 if condition.self_training is None else condition.rounds
            for round_ in range(last + 1):
                self._add(axis, recipe, condition, round_)
        if needed:
            self._add_zero_shot(axis, recipe)
        return number

    def _add_zero_shot(self, axis: TaskAxis, recipe: TrainedRecipe) -> None:
        base = zero_shot_recipe(axis, recipe, free_form=find_task(axis.task).free_form)
        self._note((axis.task, _prompt(axis, base), base), axis.task, base, None, 1)

    def _add(
        self, axis: TaskAxis, recipe: TrainedRecipe, condition: Condition, round_: int
    ) -> None:
        used = condition_recipe(recipe, condition)
        draws = cell_draws(self._space, axis, recipe, condition, 0)
        labelled = tuple(draw.names for draw in draws.labelled)
        shared = (axis.task, _prompt(axis, recipe), used, labelled, condition.labels)
        options = condition.self_training
        if round_ == 0 or options is None:
            self._note(shared, axis.task, used, None, self._space.seeds)
            return
        if round_ > 1 and options.targets != "pseudo":
            # The rounds before are those of the pseudo-labels themselves.
            chain = options.model_copy(update={"targets": "pseudo"})
            before = condition.model_copy(update={"self_training": chain})
            for earlier in range(1, round_):
                self._add(axis, recipe, before, earlier)
        pools = draws.unlabelled[:round_] if options.admission == "by-level" else draws.unlabelled
        drawn = tuple(draw.names for draw in (*pools, *draws.validation))
        self._note((*shared, options, round_, drawn), axis.task, used, options, self._space.seeds)

    def _note(
        self,
        key: tuple[object, ...],
        task: str,
        recipe: Recipe,
        options: SelfTraining | None,
        copies: int,
    ) -> None:
        kind = CellKind(task=task, recipe=recipe, self_training=options, copies=copies)
        self.kinds.setdefault(key, kind)


def _prompt(axis: TaskAxis, recipe: Recipe) -> str:
    name = axis.prompt_of(recipe)
    hashed = get_prompt(axis.task, plain_name(name)).hash
    return f"{CHAT}{hashed}" if name.startswith(CHAT) else hashed


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOutlook:
    """A model of a space, as far as it is known without its weights."""

    name: str
    num_params: int | None
    num_active: int | None
    """Weights that a token meets: fewer than there are in a mixture of experts."""
    is_here: bool
    shape: ModelShape


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOutlook:
    """A task of a space, as far as it is known without its data."""

    name: str
    size: TaskSize | None
    is_here: bool
    """Its data was loaded, and its axes were checked."""


def look_at_tasks(
    space: Space, data_root: Path | None, *, skip_bad_rows: bool = False
) -> Iterator[TaskOutlook]:
    """Yields the tasks; data that is here is loaded and checked as in a plan.

    Raises:
        ValueError: If data that is here cannot be used.
    """
    for name in dict.fromkeys(axis.task for axis in space.tasks):
        if data_root is not None or name in GENERATED_TASKS:
            axes = tuple(axis for axis in space.tasks if axis.task == name)
            alone = space.model_copy(update={"tasks": axes})
            try:
                found, tasks = load_tasks(alone, data_root, skip_bad_rows=skip_bad_rows)
            except UnavailableError:
                found, tasks = space, {}
            if tasks:
                sizes = [prepare_axis(found, axis, tasks[name]).size for axis in found.tasks]
                # Axes may score different numbers of test items: an estimate takes the most.
                size = max(sizes, key=lambda size: size.num_test)
                yield TaskOutlook(name=name, size=size, is_here=True)
                continue
        yield TaskOutlook(name=name, size=_published_size(name), is_here=False)


def _published_size(task: str) -> TaskSize | None:
    facts = FACTS.get(task)
    if facts is None:
        return None
    return TaskSize(
        num_test=facts.num_items,
        num_items=facts.num_items,
        tokens_per_item=facts.characters / CHARS_PER_TOKEN,
        num_choices=facts.num_choices,
    )


def look_at_models(space: Space) -> Iterator[ModelOutlook]:
    """Yields the models with what is known of their size.

    Raises:
        ValueError: If a model that is here cannot be used.
    """
    for model in space.models:
        size, dtype = _weights(model)
        num_params = None if size is None else size.num_params
        yield ModelOutlook(
            name=model.name,
            num_params=num_params,
            num_active=None if size is None else size.num_active,
            is_here=dtype is not None,
            shape=ModelShape(
                num_params=num_params,
                dtype=dtype or (UNKNOWN_DTYPE if model.dtype == "auto" else model.dtype),
                num_expert_params=0 if size is None else size.num_expert,
            ),
        )


UNKNOWN_DTYPE = "bfloat16"
"""Counted for `auto` where the weights are not here: what most models are published in."""


def _weights(model: BaseModelRef) -> tuple[ModelSize | None, str | None]:
    """Returns the model's weights as far as they are known, and its dtype where it is here."""
    if HUB_NAME.fullmatch(model.name) and not Path(model.name).expanduser().exists():
        return MODELS.get(model.name), None
    found = resolve_model(model)
    if found.num_params is None:
        return None, found.dtype
    size = ModelSize(
        num_params=found.num_params,
        num_active=found.num_params,
        num_expert=found.num_expert_params,
    )
    return size, found.dtype


def price_outlook(
    space: Space,
    outlook: Outlook,
    models: Iterable[ModelOutlook],
    sizes: Mapping[str, TaskSize | None],
    pricing: PricingOptions,
) -> StudyCost:
    """Returns what a space would cost; not known where a model's or a task's size is not.

    Args:
        space: What is asked for.
        outlook: Its cells.
        models: Its models.
        sizes: Task name -> size, None where it is not known.
        pricing: What nodes cost.
    """
    models = tuple(models)
    is_sized = all(sizes[kind.task] is not None for kind in outlook.kinds)
    shapes = {
        model.name: model.shape if is_sized else replace(model.shape, num_params=None)
        for model in models
    }
    jobs = [
        job
        for model in models
        for kind in outlook.kinds
        for job in _jobs(model, kind, sizes[kind.task])
    ]
    return Pricer(space, shapes, jobs, pricing, {}).study(jobs)


def _jobs(model: ModelOutlook, kind: CellKind, size: TaskSize | None) -> Iterator[PricedJob]:
    flop = training = 0.0
    if size is not None and model.num_active is not None:
        flop = recipe_flop(kind.recipe, kind.self_training, model.num_active, size)
        training = training_flop(kind.recipe, kind.self_training, model.num_active, size)
    yield PricedJob(
        model=model.name,
        recipe=kind.recipe,
        num_cells=kind.copies,
        flop=kind.copies * flop,
        training_flop=kind.copies * training,
    )
