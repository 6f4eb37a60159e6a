"""Model-based hardness: its models, their training and its training sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from search_spaces.base_models import BaseModelRef
from search_spaces.frozen import FrozenModel
from search_spaces.recipes import Recipe, TrainedRecipe, ZeroShot, with_num_labels

SCORES = ("label_probability", "prequential")
"""`label_probability`: the paper's score, 1 - mean probability of the gold answer over the training
sizes (arXiv:2401.06751, appendix A). `prequential`: the expected codelength of the gold answer in
bits (arXiv:1802.07044)."""


def scored_sizes(score: str, sizes: Iterable[int]) -> tuple[int, ...]:
    """Returns the training sizes that a score uses.

    A codelength begins with the untrained base, size 0. The paper's score uses size 0 for a
    zero-shot method alone.
    """
    trained = tuple(size for size in sizes if size > 0)
    return trained if score == "label_probability" and trained else (0, *trained)


class ModelHardness(FrozenModel):
    """Minimum description length (MDL) of every item, by each of some models and by their mean.

    Its measures are `<name>:<score>`, the mean, and `<name>:<score>:<model>`; a task axis names one
    of them, and is cut at quantiles. Size 0, the untrained base, is always measured (`scored_sizes`
    gives the sizes of each score).
    """

    name: str = Field(default="mdl", pattern=r"^[a-z][a-z0-9_-]*$", max_length=100)
    models: tuple[BaseModelRef, ...] = ()
    """Models that measure the hardness; empty: the models of the space."""
    method: Annotated[ZeroShot | TrainedRecipe, Field(discriminator="method")] = ZeroShot()
    """Training and scoring of the models. `sizes` replaces its number of labels; without a prompt
    it uses the task's default one."""
    sizes: tuple[PositiveInt, ...] = ()
    """Rising training sizes above 0; none for a zero-shot method. The paper's: 5, 20, 80, 340,
    900."""
    seeds: PositiveInt = Field(default=5, le=10_000)
    """Draws of each size. An item is scored by the draws without it."""

    @model_validator(mode="after")
    def _sizes_fit_the_method(self) -> ModelHardness:
        if isinstance(self.method, ZeroShot) != (not self.sizes):
            raise ValueError(
                f"hardness {self.name!r}: method {self.method.method!r} with sizes={self.sizes}: "
                "zero-shot has no training sizes, every other method has at least one"
            )
        if any(first >= second for first, second in pairwise(self.sizes)):
            raise ValueError(f"hardness {self.name!r}: sizes must rise, got {self.sizes}")
        return self

    @model_validator(mode="after")
    def _no_model_counts_twice(self) -> ModelHardness:
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"hardness {self.name!r}: a model is given twice in {names}")
        return self

    @model_validator(mode="after")
    def _answers_are_chosen(self) -> ModelHardness:
        if self.method.reasoning is not None:
            raise ValueError(
                f"hardness {self.name!r}: a generated answer has no probability; use a method "
                "without reasoning"
            )
        return self

    def recipe(self, size: int) -> Recipe:
        """Returns how a model is trained on a number of items."""
        if size and not isinstance(self.method, ZeroShot):
            return with_num_labels(self.method, size)
        return ZeroShot(
            quantization=self.method.quantization,
            scoring=self.method.scoring,
            orders=self.method.orders,
            prompt=self.method.prompt,
        )

    def by_models(self, models: Sequence[BaseModelRef]) -> ModelHardness:
        """Returns the same with explicit models: its own, or those of the space."""
        return self.model_copy(update={"models": self.models or tuple(models)})

    @property
    def identity(self) -> ModelHardness:
        """The same without execution: everything that its values depend on."""
        models = (model.model_copy(update={"footprint": None}) for model in self.models)
        return self.model_copy(update={"models": tuple(models)})

    def makes(self, measure: str) -> bool:
        """Returns whether a measure of this name would be one of this hardness."""
        return measure.startswith(f"{self.name}:")

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of its measures, the means first."""
        means = [f"{self.name}:{score}" for score in SCORES]
        return (*means, *(f"{mean}:{model.name}" for mean in means for model in self.models))
