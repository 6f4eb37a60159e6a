"""Model-based hardness: by which models, trained how, and on how many items."""

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
    of them, and is cut at quantiles. Size 0, the base as it is, is always measured
    (`scored_sizes` says which score uses it).
    """

    name: str = Field(default="mdl", pattern=r"^[a-z][a-z0-9_-]*$", max_length=100)
    models: tuple[BaseModelRef, ...] = ()
    """Whose probabilities they are; empty: the space's models."""
    method: Annotated[ZeroShot | TrainedRecipe, Field(discriminator="method")] = ZeroShot()
    """How the models are trained, and asked: its own number of labels gives way to `sizes`, and
    without a prompt of its own it has the task's default one."""
    sizes: tuple[PositiveInt, ...] = ()
    """Training sizes above 0, rising; none where the method is zero-shot. The paper's: 5, 20, 80,
    340, 900."""
    seeds: PositiveInt = Field(default=5, le=10_000)
    """Draws of each size. An item is scored by the draws that it is not in."""

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
        """Returns how a model is trained on so many items."""
        if size and not isinstance(self.method, ZeroShot):
            return with_num_labels(self.method, size)
        return ZeroShot(
            quantization=self.method.quantization,
            scoring=self.method.scoring,
            orders=self.method.orders,
            prompt=self.method.prompt,
        )

    def by_models(self, models: Sequence[BaseModelRef]) -> ModelHardness:
        """Returns the same with its models named, in a space of these models."""
        return self.model_copy(update={"models": self.models or tuple(models)})

    @property
    def identity(self) -> ModelHardness:
        """The same without what is execution: what its values depend on."""
        models = (model.model_copy(update={"footprint": None}) for model in self.models)
        return self.model_copy(update={"models": tuple(models)})

    def makes(self, measure: str) -> bool:
        """Says whether a measure of this name is one of its own, if there is such a one."""
        return measure.startswith(f"{self.name}:")

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures that its models make: the means first."""
        means = [f"{self.name}:{score}" for score in SCORES]
        return (*means, *(f"{mean}:{model.name}" for mean in means for model in self.models))
