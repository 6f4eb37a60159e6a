"""The section of the page on the study's design: levels, recipes and definitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.arc_parts import Part, joined, natural, table
from search_spaces.recipes import InContext, Recipe, num_labels
from search_spaces.space import TaskAxis
from study.formatting import DASH, band

SETTINGS = {
    "linear probe": ("l2", "layers", "solver"),
    "lora": ("learning_rate", "epochs", "batch_size", "rank", "alpha", "target_modules"),
}
"""Method -> the hyper-parameters that its recipe's row names."""

DEFINITIONS = (
    "SGR, the supervision gap recovered, is `(source - zero-shot) / (hard - zero-shot)`: the share "
    "of the gap between the pretrained model and the one trained on hard labels that the labels of "
    "the source recover ([definition](../statistics.md#sgr)). A point is `resolved` if the 95 % "
    "interval of the gap is above 0, and `resolved, imprecise` if the interval of its SGR is also "
    "wider than 1. `gap not resolvable`: the interval of the gap includes 0, so SGR has no bounded "
    "interval. `hard labels hurt`: it is below 0. `floor at chance`: zero-shot does not differ "
    "measurably from guessing, so part of the gain may be learning the answer format."
)


def design_lines(parts: Sequence[Part]) -> Iterator[str]:
    """Yields levels, recipes and definitions."""
    yield (
        "Each source of labels trains on one level, or on `all` of them; every model is tested on "
        "the same questions of each level. The study pools ARC's own splits and draws new ones.\n"
    )
    yield from table(
        ("by", "level", "values", "questions to train on", "tested", "available to test"),
        dict.fromkeys(_levels(parts)),
    )
    yield ""
    header = ("model", "method", "by", "prompt", "labels", "seeds", "settings", "how found")
    rows = dict.fromkeys(_recipes(parts))
    yield from table(header, sorted(rows, key=lambda row: tuple(map(natural, row[:4]))))
    yield (
        "\nThe prompt `open` asks the question alone, and each answer's text is scored; `default` "
        f"lists the choices.{_most_unlabelled(parts)}"
    )
    yield f"\n{DEFINITIONS}"


def _levels(parts: Sequence[Part]) -> Iterator[tuple[str, ...]]:
    for part in parts:
        for task in part.plan.tasks:
            for level in task.levels:
                if level.low is not None and level.high is not None:
                    sizes = (f"{n:,}" for n in (level.pool, level.test, level.whole_test))
                    yield (task.measure, level.level, band(level.low, level.high), *sizes)


def _recipes(parts: Sequence[Part]) -> Iterator[tuple[str, ...]]:
    for part in parts:
        space = part.plan.space
        for axis in space.tasks:
            for recipe in space.recipes(axis):
                for model in space.models:
                    yield (
                        model.name,
                        recipe.method,
                        axis.measure,
                        f"`{recipe.prompt or axis.prompt}`",
                        _numbers(recipe, axis),
                        str(space.seeds),
                        _settings(recipe),
                        _origin(recipe),
                    )


def _numbers(recipe: Recipe, axis: TaskAxis) -> str:
    """The labels of a seed, and the other numbers of the axis's conditions."""
    numbers = {c.n_train for c in axis.conditions if c.n_train is not None}
    others = sorted(numbers - {num_labels(recipe)})
    curve = f" (also {joined(map(str, others))})" if others else ""
    return f"{num_labels(recipe)}{curve}"


def _settings(recipe: Recipe) -> str:
    if isinstance(recipe, InContext):
        return f"k={recipe.k}"
    values = {name: getattr(recipe, name) for name in SETTINGS.get(recipe.method, ())}
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items()) or DASH


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " + ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _origin(recipe: Recipe) -> str:
    """How the recipe's values were found."""
    search, labels = getattr(recipe, "search", None), getattr(recipe, "search_labels", None)
    if search is None:
        return DASH if isinstance(recipe, InContext) else "defaults"
    split = ""
    if labels is not None:
        validation = labels - num_labels(recipe)
        split = f": {num_labels(recipe)} easy labels to train and {validation} to validate"
    return f"`study.tune`, search `{search}`{split}"


def _most_unlabelled(parts: Sequence[Part]) -> str:
    """The limit on the questions that self-training in context sees."""
    limits = {
        condition.self_training.max_unlabelled
        for part in parts
        for axis in part.plan.space.tasks
        for condition in axis.conditions
        if condition.self_training is not None
    } - {None}
    if not limits:
        return ""
    return (
        f" In-context self-training labels at most {max(filter(None, limits))} questions, because "
        "each needs a forward pass; the probe labels all."
    )
