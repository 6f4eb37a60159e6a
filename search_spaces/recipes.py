"""Recipes: per method, the hyper-parameters that change the numbers.

A default is stated here and nowhere else. What is missing from a recipe (workers, micro-batches,
devices) is execution, and is no part of a cell's identity.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from search_spaces.frozen import FrozenModel

Quantization = Literal["none", "nf4", "int8"]
"""How the frozen base is held: as loaded, bitsandbytes NF4, or bitsandbytes LLM.int8."""

Scoring = Literal["sum", "per-token", "per-char", "pmi"]
"""How an answer text is scored: the sum of its tokens' log-probabilities, that sum per token or per
character, or less the answer's own log-probability without the question (PMI)."""

Orders = Literal["given", "all"]
"""Orders of the choices that an item's probabilities are averaged over: the one it has, or all
(both of a pair, the k rotations of k choices)."""


class Reasoning(FrozenModel):
    """The answer is generated after a chain of thought, greedily, and read off the text."""

    max_new_tokens: PositiveInt = 256
    """An item whose text is longer than this has no answer; that is counted."""
    reading: Literal[3] = 3
    """Version of how the answer is read off the text (`trainables.data.prompts.answers`): raised
    when the same text would give another answer, or a record says more of it (3: which texts
    could not be read)."""


class _Recipe(FrozenModel):
    quantization: Quantization = "none"
    scoring: Scoring = "sum"
    orders: Orders = "given"
    prompt: str | None = None
    """Name of the task's prompt format; None: the one that the axis names."""
    reasoning: Reasoning | None = None
    """None: the given choices are scored."""


class ZeroShot(_Recipe):
    """The base model as it is: softmax over the choices' scores."""

    method: Literal["zero-shot"] = "zero-shot"


class _Labelled(_Recipe):
    """What uses labels may have been searched for with some of them."""

    search: str | None = None
    """Hash of the search that the values come from (`search_spaces.tuning`); None: chosen by
    hand. Cells of a found recipe are not those of the same values without their history."""
    search_labels: PositiveInt | None = None
    """Labelled items that this search used, to train on and to judge by: paid once, whatever the
    number of cells."""


class InContext(_Labelled):
    """`k` labelled examples in front of every question: one prompt per seed."""

    method: Literal["in-context"] = "in-context"
    k: PositiveInt = 8
    """Examples in the prompt; 8 and 10 are the paper's (arXiv:2401.06751, section 4)."""


class LinearProbe(_Labelled):
    """A linear score on frozen hidden states of question + answer, softmax over the choices."""

    method: Literal["linear probe"] = "linear probe"
    n_train: PositiveInt = 160
    layers: tuple[Literal["middle", "last"] | int, ...] = Field(
        default=("middle", "last"), min_length=1
    )
    """Hidden states taken at the last token of question + answer, concatenated; a number counts
    them from the embeddings, 0."""
    solver: Literal["newton", "paper"] = "newton"
    """`newton`: the one minimum of the penalised loss. `paper`: the released code's SGD."""
    l2: PositiveFloat = 1.0
    """Weight of the ridge penalty on z-normalised features: total loss = sum of cross-entropies
    over the training items + l2 / 2 * |w|^2. The `paper` solver has a penalty of its own."""
    reasoning: None = None
    """A probe chooses; it cannot generate."""


class _Trained(_Labelled):
    """What training of weights has in common, be they an adapter's or the model's own."""

    n_train: PositiveInt = 160
    loss: Literal["choices", "text"] = "choices"
    """`choices`: cross-entropy over the choices' summed log-probabilities. `text`: language-model
    loss on the right answer's text, with its reasoning where the prompt has it: the mean over items
    of the summed loss of their tokens. Of a verdict of one token (prompts `letter`) `text` is the
    cross-entropy over the vocabulary, and `choices` that over the verdicts alone."""
    learning_rate: PositiveFloat = 1e-4
    """Peak; a linear rise, then linear decay to a tenth at the last update."""
    warm_up: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the updates over which the learning rate rises; 0: it begins at its peak."""
    epochs: PositiveInt = 3
    batch_size: PositiveInt = 32
    """Items per optimizer update, whatever the micro-batch; the last batch of an epoch may be
    smaller, nothing is dropped."""
    min_updates: PositiveInt | None = None
    """Training goes on past its epochs until it has made so many optimizer updates; for small draws
    the paper's rule is 10 (arXiv:2401.06751). None: the epochs alone decide."""
    max_updates: PositiveInt | None = None
    """Training ends after so many updates, in mid-epoch too. Equal to `min_updates`, any number of
    labels makes that many."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    max_grad_norm: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _updates_are_an_interval(self) -> Self:
        if (self.min_updates or 0) > (self.max_updates or math.inf):
            raise ValueError(
                "min_updates must not be above max_updates, got "
                f"{self.min_updates} and {self.max_updates}"
            )
        return self

    @model_validator(mode="after")
    def _text_is_learned_where_it_is_generated(self) -> Self:
        if self.reasoning is not None and self.loss != "text":
            raise ValueError(
                f"{type(self).__name__} with reasoning generates its answer and has no choices to "
                f"learn from: give it loss='text', got loss={self.loss!r}"
            )
        return self


class _Adapter(_Trained):
    """Low-rank adapters on a frozen base (arXiv:2106.09685)."""

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    """LoRA scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    target_modules: Literal["all-linear", "attention"] = "all-linear"
    """Layers of the text model. `attention`: its query and value projections, or the fused one
    where the architecture has one."""
    head: Literal["language model", "scalar"] = "language model"
    """`scalar`: a reward head on the last token of question + answer in place of the vocabulary:
    with two choices a Bradley-Terry model."""

    @model_validator(mode="after")
    def _rewards_are_of_choices(self) -> Self:
        if self.head == "scalar" and self.loss != "choices":
            raise ValueError(
                "a scalar head gives no probability to text: with head='scalar' the loss is "
                f"'choices', got {self.loss!r}"
            )
        if self.head == "scalar" and self.scoring != "sum":
            raise ValueError(
                "a scalar head gives one reward per choice: with head='scalar' the scoring is "
                f"'sum', got {self.scoring!r}"
            )
        return self


class LoRA(_Adapter):
    """Low-rank adapters on a base as loaded, or in LLM.int8 (arXiv:2208.07339)."""

    method: Literal["lora"] = "lora"
    quantization: Literal["none", "int8"] = "none"


class QLoRA(_Adapter):
    """Low-rank adapters on a base in NF4 with double quantization (arXiv:2305.14314)."""

    method: Literal["qlora"] = "qlora"
    quantization: Literal["nf4"] = "nf4"


class FullFineTuning(_Trained):
    """All weights of an unquantized base are trained."""

    method: Literal["full fine-tuning"] = "full fine-tuning"
    quantization: Literal["none"] = "none"
    learning_rate: PositiveFloat = 1e-5


class PolicyDPO(_Recipe):
    """A policy by direct preference optimization (arXiv:2305.18290) on pairs of its own answers.

    The base writes answers to questions, a reward model says which of two is the better one, and
    the base is trained on that. The loss is trl's.
    """

    method: Literal["dpo"] = "dpo"
    labels: Literal["reward model", "gold", "none"] = "reward model"
    """Who says which answer is better: the reward model that the cell starts from; the task's own
    gold reward, an upper bound; or nobody, and the policy is the base as it is."""
    num_questions: PositiveInt = 400
    """Questions that the policy answers for its training, at most: those of the pool's items."""
    num_candidates: PositiveInt = Field(default=4, ge=2)
    """Answers to each of them, of which the first two different ones are a pair."""
    num_samples: PositiveInt = 4
    """Answers to each test question, whose rewards say what the policy is worth."""
    temperature: float = Field(default=1.0, ge=0.0)
    max_new_tokens: PositiveInt = 6
    beta: PositiveFloat = 0.1
    """Weight of staying near the base; 0.1 is the default of the method's paper."""
    learning_rate: PositiveFloat = 1e-4
    epochs: PositiveInt = 3
    batch_size: PositiveInt = 16
    """Pairs of an update."""
    rank: PositiveInt | None = None
    """Of a LoRA adapter on all linear layers; None: all weights are trained."""
    alpha: PositiveFloat = 32.0
    max_grad_norm: PositiveFloat = 1.0
    prompt: str | None = "text"
    """Format of a question without answers: the policy writes them."""
    quantization: Literal["none"] = "none"
    reasoning: None = None


PAPER_LORA = LoRA(
    quantization="int8",
    rank=16,
    alpha=32.0,
    dropout=0.1,
    target_modules="attention",
    learning_rate=1e-4,
    warm_up=0.0,
    epochs=3,
    batch_size=50,
    weight_decay=1e-5,
)
"""The paper's fine-tuning (arXiv:2401.06751, section 4 and appendix D), which it calls QLoRA: its
base is in LLM.int8. 12 updates at 160 labels, 3 of 50 items and one of 10 an epoch. The released
code drops what is left of an accumulation and makes 9 or 10; nothing is dropped here. Adam's
moments are held in 32 bits here, there in 8."""


AdapterTraining = LoRA | QLoRA
"""A recipe that trains an adapter and leaves the base as it is."""

WeightTraining = AdapterTraining | FullFineTuning
"""A recipe that trains weights by gradient steps."""

TrainedRecipe = InContext | LinearProbe | LoRA | QLoRA | FullFineTuning
"""A recipe that uses labelled training items."""

Recipe = Annotated[ZeroShot | TrainedRecipe | PolicyDPO, Field(discriminator="method")]


def num_updates(recipe: WeightTraining, num_items: int) -> int:
    """Returns how many optimizer updates a training on so many items makes."""
    number = updates_per_epoch(recipe, num_items) * recipe.epochs
    number = max(number, recipe.min_updates or number)
    return min(number, recipe.max_updates or number)


def updates_per_epoch(recipe: WeightTraining, num_items: int) -> int:
    """Returns how many batches hold every item once."""
    return math.ceil(num_items / recipe.batch_size)


def with_fixed_updates(recipe: WeightTraining) -> WeightTraining:
    """Returns the recipe with the updates that its own number of labels makes, for any number.

    Conditions with fewer labels, or with pseudo-labels, then differ in their labels alone.
    """
    number = num_updates(recipe, recipe.n_train)
    return recipe.model_copy(update={"min_updates": number, "max_updates": number})


def num_labels(recipe: Recipe) -> int:
    """Returns how many labelled items a cell of this recipe uses."""
    if isinstance(recipe, InContext):
        return recipe.k
    return 0 if isinstance(recipe, ZeroShot | PolicyDPO) else recipe.n_train


def with_num_labels(recipe: TrainedRecipe, number: int) -> TrainedRecipe:
    """Returns the recipe with another number of labelled items."""
    field = "k" if isinstance(recipe, InContext) else "n_train"
    return recipe.model_copy(update={field: number})
