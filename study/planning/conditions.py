"""Conditions resolved against an axis and a recipe: levels, numbers of labels, and draws.

A condition is resolved once; the plan, its cells and its checks all read the resolved value. What
tells conditions of one name apart is here too, because a study may sweep how a condition trains
itself: points have fields for threshold, round, number of labels and noise rate, and every other
difference becomes part of the variant label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from search_spaces.frozen import FrozenModel
from search_spaces.levels import Level
from search_spaces.recipes import (
    AdapterTraining,
    TrainedRecipe,
    ZeroShot,
    num_labels,
    with_num_labels,
)
from search_spaces.space import Floor, Space, TaskAxis
from search_spaces.supervision import Condition, SelfTraining
from trainables.data.draws import CellDraws, Draw, Use
from trainables.data.prompts.formats import INSTRUCTED
from trainables.models.chat_templates import CHAT

_LEVELS = ("levels", "unlabelled")
"""Fields of a condition that name the levels it draws from."""

_OPTIONS = tuple(name for name in SelfTraining.model_fields if name != "threshold")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedCondition:
    """A condition of an axis, with everything that follows from the axis and a recipe."""

    axis: TaskAxis
    condition: Condition
    recipe: TrainedRecipe
    """With the condition's number of labels."""
    levels: tuple[Level | None, ...]
    """Levels of the labelled items; (None,): the whole pool."""
    differing: tuple[str, ...] = ()
    """Fields in which conditions of this name differ, in fixed order."""

    @property
    def num_labels(self) -> int:
        """Labelled items that one seed trains on."""
        return num_labels(self.recipe)

    @property
    def num_validation(self) -> int:
        """Labelled items that only calibrate."""
        options = self.condition.self_training
        return 0 if options is None else options.n_validation

    @property
    def wanted(self) -> Iterable[tuple[Level | None, int]]:
        """Each labelled level with the labelled and validation items its pool has to provide."""
        shares = _shares(self.num_labels + self.num_validation, len(self.levels))
        return zip(self.levels, shares, strict=True)

    @property
    def train_level(self) -> Level | None:
        """The level of all labels; None if they come from several levels."""
        names = self.condition.levels
        return self.axis.train_level(names[0]) if len(names) == 1 else None

    @property
    def is_served(self) -> bool:
        """Whether the recipe can train under the condition.

        Self-training selects by confidence, and a generated answer has none.
        """
        return self.condition.self_training is None or self.recipe.reasoning is None

    @property
    def pseudo_labelled(self) -> ResolvedCondition:
        """The same condition trained on pseudo-labels: the rounds that a control starts from."""
        options = self.condition.self_training
        if options is None or options.targets == "pseudo":
            return self
        options = options.model_copy(update={"targets": "pseudo"})
        return replace(self, condition=self.condition.model_copy(update={"self_training": options}))

    def variant(self, *, trains_itself: bool = True) -> str:
        """Returns the label that tells the condition from others of its name; often empty.

        Args:
            trains_itself: False: for the cells before the first round of self-training.

        Example: `rule quantile, start continue`.
        """
        options = self.condition.self_training if trains_itself else None
        parts = []
        for name in self.differing:
            if name in _OPTIONS:
                if options is not None:
                    parts.append(_words(name, getattr(options, name)))
            elif options is not None or name == "levels":
                parts.append(_words(name, getattr(self.condition, name)))
        return ", ".join(parts)

    def is_control(self, *, trains_itself: bool) -> bool:
        """Returns whether a cell is the result of the condition, and the condition a control."""
        is_result = (self.condition.self_training is not None) == trains_itself
        return self.condition.control and is_result

    def draws(self, study_seed: int, seed: int) -> CellDraws:
        """Returns the draws of a cell, including its validation items and unlabelled pool."""

        def draw(level: Level | None, number: int | None, use: Use) -> Draw:
            return Draw(
                task=self.axis.task,
                measure=self.axis.measure,
                level=level,
                n=number,
                study_seed=study_seed,
                seed=seed,
                use=use,
            )

        def drawn(number: int, use: Use) -> tuple[Draw, ...]:
            shares = _shares(number, len(self.levels))
            return tuple(
                draw(level, share, use)
                for level, share in zip(self.levels, shares, strict=True)
                if share or use == "train"
            )

        options = self.condition.self_training
        if options is None:
            return CellDraws(labelled=drawn(self.num_labels, "train"))
        pools: Sequence[Level | None] = [
            self.axis.train_level(name) for name in self.condition.unlabelled
        ]
        return CellDraws(
            labelled=drawn(self.num_labels, "train"),
            validation=drawn(self.num_validation, "validation"),
            unlabelled=tuple(
                draw(level, options.max_unlabelled, "unlabelled") for level in pools or [None]
            ),
        )


def resolve_conditions(
    axis: TaskAxis, recipe: TrainedRecipe
) -> Mapping[Condition, ResolvedCondition]:
    """Returns every condition of an axis, plain ones first, resolved for a recipe."""
    differing = _differences(axis.conditions)
    return {
        condition: ResolvedCondition(
            axis=axis,
            condition=condition,
            recipe=recipe
            if condition.n_train is None
            else with_num_labels(recipe, condition.n_train),
            levels=tuple(axis.train_level(name) for name in condition.levels) or (None,),
            differing=differing.get(condition.name, ()),
        )
        for condition in (*axis.plain_conditions, *axis.conditions)
    }


def plain(level: Level) -> Condition:
    """Returns the condition whose labels all come from one training level."""
    return Condition(name=level.name, levels=(level.name,))


def sources(axis: TaskAxis, test_level: Level) -> tuple[Condition, ...]:
    """Returns the source conditions of a test level.

    Two levels are no source: the hardest training level, which is no easy supervision, and the
    level that contains the test level, which is the ceiling.
    """
    ceiling = hard_level(axis, test_level)
    left_out = {axis.train_levels[-1].name} | ({ceiling.name} if ceiling else set())
    kept = [condition for condition in axis.plain_conditions if condition.name not in left_out]
    return (*kept, *axis.conditions)


def hard_level(axis: TaskAxis, test_level: Level) -> Level | None:
    """Returns the narrowest training level that contains the test level, or None."""
    containing = [level for level in axis.train_levels if level.contains(test_level)]
    return min(containing, key=lambda level: level.high - level.low, default=None)


def zero_shot_recipe(axis: TaskAxis, recipe: TrainedRecipe, *, free_form: bool) -> ZeroShot:
    """Returns how the untrained base answers: the zero of the recipe's SGR.

    The base is scored as the recipe is. For a recipe with reasoning, the axis names the floor. An
    untrained scalar head would be random: in its place the base compares the choices in all orders.

    Args:
        axis: Names the floor and the prompts.
        recipe: How the base is trained.
        free_form: Whether the task's answers are free, so that it has no choices.
    """
    is_scalar = isinstance(recipe, AdapterTraining) and recipe.head == "scalar"
    shared = ZeroShot(
        quantization=recipe.quantization,
        scoring=recipe.scoring,
        orders="all" if is_scalar else recipe.orders,
    )
    floor = floor_of(axis, recipe, free_form=free_form)
    if floor == "choices":
        return shared
    prompt = None if is_scalar else recipe.prompt
    if floor == "instructed":
        is_chat = axis.prompt_of(recipe).startswith(CHAT)
        prompt = f"{CHAT}{INSTRUCTED}" if is_chat else INSTRUCTED
    return shared.model_copy(update={"prompt": prompt, "reasoning": recipe.reasoning})


def floor_of(axis: TaskAxis, recipe: TrainedRecipe, *, free_form: bool) -> Floor:
    """Returns the floor of a recipe, with `auto` resolved."""
    if recipe.reasoning is None:
        return "as_trained"
    if axis.floor == "auto":
        return "instructed" if free_form else "choices"
    return axis.floor


def policy_draws(space: Space, axis: TaskAxis, seed: int) -> CellDraws:
    """Returns the order in which a policy is asked the questions of the pool."""
    draw = Draw(
        task=axis.task,
        measure=None,
        level=None,
        n=None,
        study_seed=space.study_seed,
        seed=seed,
        use="policy",
    )
    return CellDraws(labelled=(draw,))


def split_draw(space: Space, task: str) -> int:
    """Returns the largest number of items that any draw of the space takes from one level."""
    if space.split_for is not None:
        return space.split_for
    return max(
        number
        for axis in space.tasks
        if axis.task == task
        for recipe in space.recipes(axis)
        for resolved in resolve_conditions(axis, recipe).values()
        for _, number in resolved.wanted
    )


def _differences(conditions: Iterable[Condition]) -> Mapping[str, tuple[str, ...]]:
    """Returns, by name, the fields in which conditions of one name differ."""
    namesakes: dict[str, list[Condition]] = {}
    for condition in conditions:
        namesakes.setdefault(condition.name, []).append(condition)
    differing = {}
    for name, members in namesakes.items():
        options = [m.self_training for m in members if m.self_training is not None]
        differing[name] = (*_varying(_LEVELS, members), *_varying(_OPTIONS, options))
    return differing


def _varying(fields: Iterable[str], values: Sequence[FrozenModel]) -> list[str]:
    return [name for name in fields if len({getattr(value, name) for value in values}) > 1]


def _words(name: str, value: object) -> str:
    if value is None or value == ():
        text = "all"
    elif isinstance(value, tuple):
        text = "+".join(value)
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {text}"


def _shares(number: int, parts: int) -> list[int]:
    """Returns a number in whole parts; the first parts take the remainder, one each."""
    return [number // parts + (index < number % parts) for index in range(parts)]
