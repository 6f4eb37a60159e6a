"""Recipe search: the searched hyper-parameters and their ranges, the result, and its file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from search_spaces.explain import explain
from search_spaces.frozen import FrozenModel, digest
from search_spaces.levels import Level
from search_spaces.recipes import (
    InContext,
    LinearProbe,
    TrainedRecipe,
    WeightTraining,
    num_updates,
    updates_per_epoch,
)


class LogUniform(FrozenModel):
    """A positive number, uniform on a logarithmic scale."""

    kind: Literal["log-uniform"] = "log-uniform"
    low: PositiveFloat
    high: PositiveFloat

    @model_validator(mode="after")
    def _is_interval(self) -> LogUniform:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        return self

    def holds(self, value: Any) -> bool:
        """Returns whether the value is in the range."""
        return bool(self.low <= value <= self.high)


class IntRange(FrozenModel):
    """A whole number, both ends included."""

    kind: Literal["int"] = "int"
    low: PositiveInt
    high: PositiveInt

    @model_validator(mode="after")
    def _is_interval(self) -> IntRange:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, got {self.low} and {self.high}")
        return self

    def holds(self, value: Any) -> bool:
        """Returns whether the value is in the range."""
        return bool(self.low <= value <= self.high)


class Choice(FrozenModel):
    """One of some values, without an order."""

    kind: Literal["choice"] = "choice"
    values: tuple[float | int | str | tuple[str, ...], ...] = Field(min_length=2)

    def holds(self, value: Any) -> bool:
        """Returns whether the value is one of them."""
        return value in self.values


Range = Annotated[LogUniform | IntRange | Choice, Field(discriminator="kind")]

EPOCHS = IntRange(low=1, high=8)

ADAPTER_RANGES: Mapping[str, Range] = {
    "learning_rate": LogUniform(low=1e-5, high=5e-3),
    "rank": Choice(values=(4, 8, 16, 32, 64)),
    "epochs": EPOCHS,
    "batch_size": Choice(values=(8, 16, 32, 64)),
    "warm_up": Choice(values=(0.0, 0.1, 0.2)),
}

RANGES: Mapping[str, Mapping[str, Range]] = {
    "lora": ADAPTER_RANGES,
    "qlora": ADAPTER_RANGES,
    "full fine-tuning": {
        "learning_rate": LogUniform(low=1e-6, high=1e-3),
        "epochs": EPOCHS,
    },
    "linear probe": {
        "l2": LogUniform(low=1e-2, high=1e3),
        "layers": Choice(values=(("middle",), ("last",), ("middle", "last"))),
    },
    "in-context": {"k": IntRange(low=1, high=16)},
}
"""Method -> hyper-parameter -> searched range."""


def ranges_of(recipe: TrainedRecipe) -> dict[str, Range]:
    """Returns the ranges of a recipe's method, without those that the recipe does not use."""
    ranges = dict(RANGES[recipe.method])
    if isinstance(recipe, LinearProbe) and recipe.solver == "paper":
        del ranges["l2"]  # the paper's solver ignores it
    if isinstance(recipe, WeightTraining) and recipe.min_updates == recipe.max_updates is not None:
        del ranges["epochs"]  # the number of updates is fixed
    return ranges


HASH_LENGTH = 16
"""Hex digits of a history's hash, as in a cell's id; labels show it."""


class Trial(FrozenModel):
    """One tried recipe."""

    parameters: dict[str, Any]
    values: tuple[float, ...]
    """Accuracy on the validation items after each epoch; a method without epochs has one value."""
    state: Literal["complete", "pruned", "failed"]
    reason: str | None = None
    """Why the trial failed."""

    @property
    def value(self) -> float | None:
        """The last value of a completed trial; None for any other."""
        return self.values[-1] if self.state == "complete" else None


class History(FrozenModel):
    """The search, its labels and every trial. Its hash is part of the found recipe.

    It does not depend on the machine or the time.
    """

    model: str
    """Content of the base model."""
    dtype: str
    task: str
    measure: str
    level: Level
    """Level of all items: the easiest training level."""
    prompt: str
    start: TrainedRecipe = Field(discriminator="method")
    """The recipe of the space, which provides the values that are not searched."""
    ranges: dict[str, Range]
    study_seed: int
    seed: int
    """Seed of the training draw, the validation draw and the sampler."""
    items_hash: str
    """Hash of the labelled and the validation items, including gold."""
    num_labelled: PositiveInt
    num_validation: PositiveInt
    trials: tuple[Trial, ...] = ()
    """In order of completion."""

    @property
    def num_pruned(self) -> int:
        """Number of trials that were stopped early."""
        return sum(trial.state == "pruned" for trial in self.trials)

    @property
    def num_labels(self) -> int:
        """Labelled items that the search used, for training and validation."""
        return self.num_labelled + self.num_validation

    @property
    def hash(self) -> str:
        """First digits of the SHA-256 of the history."""
        # The start was not found by a search, so it has no search labels.
        content = self.model_dump(mode="json", exclude={"start": {"search_labels"}})
        return digest(content, length=HASH_LENGTH)


class FoundRecipe(FrozenModel):
    """The content of a search's file: the winner, and how it was found."""

    recipe: TrainedRecipe | None = Field(default=None, discriminator="method")
    """None until the search has all its trials."""
    history: History
    model_name: str
    num_labels: int
    """Easy labels that the search used, for training and validation."""
    num_pruned: int
    seconds: tuple[float, ...] = ()
    """Of each trial."""
    packages: dict[str, str] = Field(default_factory=dict)
    """Package -> version that the trials were run with."""

    @model_validator(mode="after")
    def _recipe_carries_its_history(self) -> FoundRecipe:
        if self.recipe is not None and self.recipe.search != self.history.hash:
            raise ValueError(
                "the recipe does not carry the hash of this history, so the file was edited. To "
                "use other values, write the recipe into a space, without `search`"
            )
        return self


def with_parameters(recipe: TrainedRecipe, parameters: Mapping[str, Any]) -> TrainedRecipe:
    """Returns the recipe with a trial's values.

    Raises:
        ValueError: If the method has no such hyper-parameter, or a value is invalid.
    """
    return type(recipe).model_validate({**recipe.model_dump(), **parameters})


def num_epochs(recipe: TrainedRecipe) -> int:
    """Returns the number of values of a completed trial of this recipe."""
    if not isinstance(recipe, WeightTraining):
        return 1
    per_epoch = updates_per_epoch(recipe, recipe.n_train)
    return math.ceil(num_updates(recipe, recipe.n_train) / per_epoch)


def most_examples(start: TrainedRecipe, ranges: Mapping[str, Range]) -> int:
    """Returns the largest number of labelled items that a trial of a search needs."""
    if not isinstance(start, InContext):
        return start.n_train
    k = ranges.get("k")
    return k.high if isinstance(k, IntRange) else start.k


def tuned(path: str | Path) -> TrainedRecipe:
    """Returns the recipe that `python -m study.tune` found, for use in a space's `methods`.

    Its `search` is the hash of its history, which is part of its cells' ids; `search_labels` is the
    number of labels that the search used.

    Args:
        path: The search's file, `<out>/<space>/tune/<model>-<task>-<measure>-<method>.json`.

    Raises:
        ValueError: If there is no such file, it is not a search's file, it was edited, or its
            search is unfinished.
    """
    try:
        result = FoundRecipe.model_validate_json(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise ValueError(f"no tuned recipe at {str(path)!r}: {error.strerror}") from error
    except ValidationError as error:
        raise ValueError(
            f"{str(path)!r} is not a search's file of this version: {explain(error)}"
        ) from error
    if result.recipe is None:
        raise ValueError(
            f"the search in {str(path)!r} is unfinished: run the command that started it again"
        )
    return result.recipe.model_copy(update={"search_labels": result.history.num_labels})
