"""A space: the axes of a study and its contrasts, as pure values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Literal, TypeVar

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from search_spaces.base_models import BaseModelRef, EngineName, Footprint
from search_spaces.contrasts import START, ZERO_SHOT, Arm, Contrast
from search_spaces.data_source import Columns, DataSource, Ordered, check_source
from search_spaces.frozen import FrozenModel
from search_spaces.hardness import ModelHardness
from search_spaces.levels import RESERVED_NAMES, Level, check_disjoint
from search_spaces.policy_check import check_policy
from search_spaces.recipes import (
    PolicyDPO,
    Recipe,
    TrainedRecipe,
    trains_small_state,
    with_num_labels,
)
from search_spaces.supervision import ALL, Condition

__all__ = [
    "Arm",
    "BaseModelRef",
    "Columns",
    "Contrast",
    "DataSource",
    "EngineName",
    "Footprint",
    "Level",
    "ModelHardness",
    "Ordered",
    "Space",
    "TaskAxis",
]


Floor = Literal["auto", "choices", "instructed", "as_trained"]
"""How the zero-shot arm of a recipe with reasoning answers, which is the zero of its SGR.
`choices`: the given choices are scored without reasoning (arXiv:2401.06751). `instructed`: the
answer is generated after an instruction that defines its ending. `as_trained`: it is generated with
the recipe's prompt, whose format an untrained model may not follow. `auto`: `choices` if the task
has choices, `instructed` if its answers are free."""


T = TypeVar("T", str, int, float)

Recipes = tuple[Annotated[TrainedRecipe, Field(discriminator="method")], ...]


class TaskAxis(FrozenModel):
    """A task, its hardness measure, and the levels to train and to test on."""

    task: str
    """A shipped task, or your own data: `hub:owner/name`, `hub:owner/name:config`, `jsonl:NAME`,
    `csv:NAME`, `parquet:NAME`, or a function that returns a table, `my_study.py:items`."""
    data: DataSource | None = None
    """Columns, splits and revision of own data; all axes of a task have the same."""
    measure: str
    train_levels: tuple[Level, ...] = Field(min_length=1)
    """From easy to hard. Each is a condition, named after the level."""
    test_levels: tuple[Level, ...] = Field(min_length=1)
    train_on_all: bool = True
    """Adds the condition `all`: a draw from the pools of all levels together."""
    scale: Literal["ordinal", "quantiles"] = "ordinal"
    """How the measure was cut, which decides the unit of the difficulty gap: that of the measure
    (`ordinal`), or percentile ranks (`quantiles`)."""
    bounds: Literal["values", "quantiles"] = "values"
    """Kind of the levels' bounds: values of the measure, or its quantiles over all items, in [0, 1]
    and without gaps, which the plan turns into values."""
    test_items: int | None = Field(default=None, ge=2)
    """Most test items of each test level that the cells of this axis are scored on: the first of a
    seeded order, so 300 contain the 100. Bounds the cost of a large test set, and widens the
    intervals. None: every test item of the task. Cells of another number are other cells."""
    prompt: str = "default"
    """Name of the task's prompt format; `chat:` in front puts the base model's own chat template
    around it."""
    reasoning_prompt: str = "reasoned"
    """Name of the format that recipes with reasoning use."""
    floor: Floor = "auto"
    """Zero-shot arm of recipes with reasoning; other recipes have the choices scored in theirs."""
    conditions: tuple[Condition, ...] = ()
    """Sources of supervision besides the training levels and `all`."""
    methods: Recipes = ()
    """Recipes of this task alone; empty: the space's."""

    @model_validator(mode="after")
    def _source_fits_the_task(self) -> TaskAxis:
        check_source(self.task, self.data)
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> TaskAxis:
        for field in ("train_levels", "test_levels"):
            _refuse_repeats(field, (level.name for level in getattr(self, field)))
        lows = [level.low for level in self.train_levels]
        if any(first >= second for first, second in pairwise(lows)):
            raise ValueError(
                "train_levels must go from easy to hard: each begins above the one before, got "
                + ", ".join(f"{level.name!r} from {level.low:g}" for level in self.train_levels)
            )
        by_name = {level.name: level for level in self.train_levels}
        for level in self.test_levels:
            if by_name.get(level.name, level) != level:
                raise ValueError(
                    f"level {level.name!r} is [{by_name[level.name].low:g}, "
                    f"{by_name[level.name].high:g}] for training and [{level.low:g}, "
                    f"{level.high:g}] for testing: one name, one band"
                )
        return self

    @model_validator(mode="after")
    def _quantiles_are_quantiles(self) -> TaskAxis:
        if self.bounds == "values":
            return self
        if self.scale != "quantiles":
            raise ValueError("bounds that are quantiles need scale='quantiles'")
        ends = [0.0, *(level.high for level in self.train_levels)]
        if [*(level.low for level in self.train_levels), 1.0] != ends:
            got = ", ".join(f"{level.low:g} to {level.high:g}" for level in self.train_levels)
            raise ValueError(
                "train_levels cut at quantiles cover [0, 1], each from where the one before ends; "
                f"got {got}"
            )
        other = sorted({level.name for level in self.test_levels if level not in self.train_levels})
        if other:
            raise ValueError(
                "test_levels of an axis that is cut at quantiles are training levels, got "
                f"{', '.join(other)}"
            )
        return self

    @model_validator(mode="after")
    def _conditions_name_levels(self) -> TaskAxis:
        _refuse_repeats("conditions", (repr(condition) for condition in self.conditions))
        levels = {level.name for level in self.train_levels}
        for condition in self.conditions:
            if condition.name in levels | RESERVED_NAMES:
                raise ValueError(
                    f"a condition may not be named {condition.name!r}: that is the plain condition"
                )
            for name in (*condition.levels, *condition.unlabelled):
                if name not in levels:
                    raise ValueError(
                        f"condition {condition.name!r} names the level {name!r}; train_levels are "
                        + ", ".join(sorted(levels))
                    )
            order = [
                level.name for level in self.train_levels if level.name in condition.unlabelled
            ]
            if tuple(order) != condition.unlabelled:
                raise ValueError(
                    f"condition {condition.name!r}: unlabelled levels go from easy to hard, each "
                    f"once: {tuple(order)}, got {condition.unlabelled}"
                )
            labelled = [self.train_level(name) for name in condition.levels]
            try:
                check_disjoint(labelled, may_meet=self.bounds == "quantiles")
            except ValueError as error:
                raise ValueError(f"condition {condition.name!r}: {error}") from error
        return self

    @property
    def plain_conditions(self) -> tuple[Condition, ...]:
        """A condition for each training level, and `all` if `train_on_all`."""
        plain = [Condition(name=level.name, levels=(level.name,)) for level in self.train_levels]
        return (*plain, Condition(name=ALL)) if self.train_on_all else tuple(plain)

    def prompt_of(self, recipe: Recipe) -> str:
        """Returns the name of the prompt format that a recipe is used with."""
        return recipe.prompt or (self.prompt if recipe.reasoning is None else self.reasoning_prompt)

    def train_level(self, name: str) -> Level:
        """Returns the training level of this name."""
        return next(level for level in self.train_levels if level.name == name)


class Space(FrozenModel):
    """Everything a study could run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    """Folder of the study under the output folder."""
    models: tuple[BaseModelRef, ...] = Field(min_length=1)
    tasks: tuple[TaskAxis, ...] = Field(min_length=1)
    methods: Recipes = Field(min_length=1)
    """Recipes; a method may have several."""
    seeds: PositiveInt = Field(default=5, le=10_000)
    """Number of training draws: seeds 0 .. seeds - 1."""
    study_seed: NonNegativeInt = 0
    split: Literal["frozen", "paper"] = "frozen"
    """`frozen`: one split, test items are never trained on. `paper`: every item may be drawn, and a
    cell is tested on all that it did not train on (arXiv:2401.06751), to compare with the paper."""
    split_for: PositiveInt | None = None
    """Labels of the largest draw that the pools are made for; None: the largest of the space. A
    study that will grow to more labels says how many: other pools are another split, and no cell
    of the old one is used again."""
    contrasts: tuple[Contrast, ...] = ()
    level: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Confidence of the intervals."""
    footprint: Footprint = Footprint()
    policy: PolicyDPO | None = None
    """Trains policies on what each self-trained reward model prefers, before and after, and
    compares them under the gold reward of the task."""
    hardness: tuple[ModelHardness, ...] = ()
    """Model-based measures that its axes name; `python -m study.measure` makes them."""
    keep: Literal["adapters"] | None = None
    """Trained states that stay in the run folder besides those that other cells start from.
    `adapters`: of every cell that trains an adapter or a probe. Finished cells without one run
    again, with the same numbers."""

    @model_validator(mode="after")
    def _nothing_twice(self) -> Space:
        _refuse_repeats("models", (model.name for model in self.models))
        _refuse_repeats("tasks", (f"{axis.task} by {axis.measure}" for axis in self.tasks))
        _refuse_repeats("methods", (recipe.model_dump_json() for recipe in self.methods))
        _refuse_repeats("hardness", (hardness.name for hardness in self.hardness))
        return self

    @model_validator(mode="after")
    def _a_task_has_one_source(self) -> Space:
        for axis in self.tasks:
            if axis.data != self.source_of(axis.task):
                raise ValueError(
                    f"the axes of {axis.task} have different data: give all axes of a task the "
                    "same DataSource"
                )
        return self

    @model_validator(mode="after")
    def _paper_split_labels_no_test_item(self) -> Space:
        trains_itself = [
            condition.name
            for axis in self.tasks
            for condition in axis.conditions
            if condition.self_training is not None
        ]
        if self.split == "paper" and trains_itself:
            raise ValueError(
                f"condition {trains_itself[0]!r} trains itself, and with split 'paper' its "
                "unlabelled items would be the test items; use split='frozen'"
            )
        return self

    @model_validator(mode="after")
    def _model_based_measures_are_made(self) -> Space:
        for hardness in self.hardness:
            made = hardness.by_models(self.models).measures
            for axis in self.tasks:
                if hardness.makes(axis.measure) and axis.measure not in made:
                    raise ValueError(
                        f"{axis.task} by {axis.measure!r}: hardness {hardness.name!r} makes "
                        + ", ".join(map(repr, made))
                    )
        return self

    @model_validator(mode="after")
    def _policies_can_be_judged(self) -> Space:
        if self.policy is not None:
            check_policy(
                self.policy,
                tasks=[axis.task for axis in self.tasks],
                recipes=[recipe for axis in self.tasks for recipe in self.recipes(axis)],
                trains_itself=any(c.self_training for axis in self.tasks for c in axis.conditions),
            )
        return self

    @model_validator(mode="after")
    def _keeps_something(self) -> Space:
        recipes = [recipe for axis in self.tasks for recipe in self.recipes(axis)]
        if self.keep == "adapters" and not any(map(trains_small_state, recipes)):
            methods = ", ".join(dict.fromkeys(recipe.method for recipe in recipes))
            raise ValueError(
                "keep='adapters' needs a recipe that trains an adapter or a probe (LoRA, QLoRA, "
                f"LinearProbe), and the space has only {methods}: leave it out"
            )
        return self

    def source_of(self, task: str) -> DataSource | None:
        """Returns where the rows of one of its tasks are."""
        return next((axis.data for axis in self.tasks if axis.task == task), None)

    def footprint_of(self, model: BaseModelRef) -> Footprint:
        """Returns what a worker group for cells of this base model takes."""
        return model.footprint or self.footprint

    def recipes(self, axis: TaskAxis) -> tuple[TrainedRecipe, ...]:
        """Returns the recipes that an axis of this space is run with."""
        return axis.methods or self.methods

    @model_validator(mode="after")
    def _contrasts_name_what_there_is(self) -> Space:
        for contrast in self.contrasts:
            axes = self._axes_of(contrast)
            levels = {level.name for axis in axes for level in axis.test_levels}
            _check_known("test_level", contrast.test_level, levels)
            for arm in (contrast.first, contrast.second):
                self._check_arm(arm, axes)
            if contrast.second.condition == START:
                self._check_starts(contrast.first.condition, axes)
        return self

    def _check_arm(self, arm: Arm, axes: Sequence[TaskAxis]) -> None:
        """Checks that the axes have an arm, one field after the other."""
        all_conditions = [c for axis in axes for c in (*axis.plain_conditions, *axis.conditions)]
        names = {condition.name for condition in all_conditions}
        _check_known("condition", arm.condition, names | {ZERO_SHOT, START})
        mine = [c for c in all_conditions if c.name == arm.condition]
        methods = {recipe.method for axis in axes for recipe in self.recipes(axis)}
        _check_known("method", arm.method, methods)
        _check_known("model", arm.model, {model.name for model in self.models})
        thresholds = {c.threshold for c in mine if c.threshold is not None}
        _check_known("threshold", arm.threshold, thresholds)
        rounds = {n + 1 for c in mine if c.self_training is not None for n in range(c.rounds)}
        _check_known("round", arm.round, rounds)
        numbers = {None} if arm.condition in (ZERO_SHOT, START) else {c.n_train for c in mine}
        recipes = {
            recipe if n is None else with_num_labels(recipe, n)
            for axis in axes
            for recipe in self.recipes(axis)
            for n in numbers
        }
        if arm.recipe is not None and arm.recipe not in recipes:
            raise ValueError(
                f"contrast with recipe={arm.recipe!r}: condition {arm.condition!r} has no such "
                "recipe"
            )

    def _check_starts(self, name: str, axes: Sequence[TaskAxis]) -> None:
        starts = {c.name for axis in axes for c in axis.conditions if c.self_training is not None}
        if name not in starts:
            raise ValueError(
                f"contrast of {name!r} with its start: it has no self-training, so it starts from "
                "nothing"
            )

    def _axes_of(self, contrast: Contrast) -> list[TaskAxis]:
        """Returns the axes that a contrast is declared for."""
        _check_known("task", contrast.task, {axis.task for axis in self.tasks})
        axes = [axis for axis in self.tasks if contrast.task in (None, axis.task)]
        _check_known("measure", contrast.measure, {axis.measure for axis in axes})
        return [axis for axis in axes if contrast.measure in (None, axis.measure)]


def _check_known(field: str, value: T | None, known: Collection[T]) -> None:
    if value is not None and value not in known:
        names = ", ".join(map(str, sorted(known))) or "none"
        raise ValueError(f"contrast with {field}={value!r}: the space has {names}")


def _refuse_repeats(what: str, names: Iterable[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"{what}: given more than once: {', '.join(repeated)}")
