"""Recipes: per method, the hyper-parameters that change the numbers.

Defaults are stated only here. Execution (workers, micro-batches, devices) is not part of a recipe,
nor of a cell's identity.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from search_spaces.frozen import FrozenModel

Quantization = Literal["none", "nf4", "int8"]
"""Format of the frozen base: as loaded, bitsandbytes NF4, or bitsandbytes LLM.int8."""

Scoring = Literal["sum", "per-token", "per-char", "pmi"]
"""Score of an answer text: the sum of its tokens' log-probabilities, that sum per token or per
character, or that sum minus the answer's log-probability without the question (PMI)."""

Orders = Literal["given", "all"]
"""Orders of the choices that an item's probabilities are averaged over: the given one, or all
(both of a pair, the k rotations of k choices)."""


class Reasoning(FrozenModel):
    """Generates a chain of thought and the answer greedily, and extracts the answer."""

    max_new_tokens: PositiveInt = 256
    """A longer text counts as an item without an answer."""
    reading: Literal[3] = 3
    """Version of the answer extraction (`trainables.data.prompts.answers`): raised when the same
    text would give another answer, or records get more fields (3: which texts have no answer)."""


class _Recipe(FrozenModel):
    quantization: Quantization = "none"
    scoring: Scoring = "sum"
    orders: Orders = "given"
    prompt: str | None = None
    """Name of the task's prompt format; None: that of the axis."""
    reasoning: Reasoning | None = None
    """None: the given choices are scored."""

    @model_validator(mode="after")
    def _generated_answers_have_no_scores(self) -> Self:
        for name, usual in (("orders", "given"), ("scoring", "sum")):
            value = getattr(self, name)
            if self.reasoning is not None and value != usual:
                raise ValueError(
                    f"{type(self).__name__} with reasoning generates one answer and scores no "
                    f"choices: set {name}={usual!r} or reasoning=None, got {name}={value!r}"
                )
        return self


class ZeroShot(_Recipe):
    """The untrained base model: softmax over the choices' scores."""

    method: Literal["zero-shot"] = "zero-shot"


class _Labelled(_Recipe):
    """A recipe that uses labels, and may come from a search that used some too."""

    search: str | None = None
    """Hash of the search that found the values (`search_spaces.tuning`); None: the user chose them.
    The hash is part of the cells' ids."""
    search_labels: PositiveInt | None = None
    """Labelled items that this search used for training and validation, once for all cells."""


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
    """Layers whose hidden states at the last token of question + answer are concatenated; numbers
    start at 0, the embeddings."""
    solver: Literal["converged", "paper"] = "converged"
    """`converged`: the minimum of the penalised loss. `paper`: SGD as in the released code."""
    l2: PositiveFloat = 1.0
    """Weight of the ridge penalty on z-normalised features: total loss = sum of cross-entropies
    over the training items + l2 / 2 * |w|^2. The `paper` solver ignores it."""
    reasoning: None = None
    """A probe cannot generate."""


class _Trained(_Labelled):
    """Fields shared by all recipes that train weights, of an adapter or of the model."""

    n_train: PositiveInt = 160
    loss: Literal["choices", "text"] = "choices"
    """`choices`: cross-entropy over the choices' summed log-probabilities. `text`: language-model
    loss on the right answer's text, including reasoning if the prompt has it: tokens are summed,
    items are averaged. For a verdict of one token (prompts `letter`), `text` is cross-entropy over
    the vocabulary and `choices` is cross-entropy over the verdicts."""
    learning_rate: PositiveFloat = 1e-4
    """Peak of the schedule: linear warm-up, then linear decay to a tenth at the last update."""
    warm_up: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the updates that warm up; 0: the learning rate starts at its peak."""
    epochs: PositiveInt = 3
    batch_size: PositiveInt = 32
    """Items per optimizer update, for any micro-batch size; the last batch of an epoch may be
    smaller, and no item is dropped."""
    min_updates: PositiveInt | None = None
    """Training continues past its epochs up to this number of optimizer updates; the paper uses 10
    for small draws (arXiv:2401.06751). None: the epochs decide."""
    max_updates: PositiveInt | None = None
    """Training ends after this number of updates, even within an epoch. If it equals `min_updates`,
    any number of labels gives the same number of updates."""
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
    """Layers of the text model. `attention`: the query and value projections, or the fused
    projection of architectures that have one."""
    head: Literal["language model", "scalar"] = "language model"
    """`scalar`: a reward head on the last token of question + answer instead of the vocabulary;
    with two choices, a Bradley-Terry model."""

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
    """Low-rank adapters on an unquantized base, or on one in LLM.int8 (arXiv:2208.07339)."""

    method: Literal["lora"] = "lora"
    quantization: Literal["none", "int8"] = "none"


class QLoRA(_Adapter):
    """Low-rank adapters on a base in NF4 with double quantization (arXiv:2305.14314)."""

    method: Literal["qlora"] = "qlora"
    quantization: Literal["nf4"] = "nf4"


class FullFineTuning(_Trained):
    """Trains all weights of an unquantized base."""

    method: Literal["full fine-tuning"] = "full fine-tuning"
    quantization: Literal["none"] = "none"
    learning_rate: PositiveFloat = 1e-5


class PolicyDPO(_Recipe):
    """A policy by direct preference optimization (arXiv:2305.18290) on pairs of sampled answers.

    The base writes answers to questions, a reward model picks the better one of two, and the base
    is trained on these preferences.
    """

    method: Literal["dpo"] = "dpo"
    labels: Literal["reward model", "gold", "none"] = "reward model"
    """Source of the preferences: the reward model that the cell starts from; the task's gold
    reward, an upper bound; or none, for the untrained base."""
    num_questions: PositiveInt = 400
    """Most questions that the policy answers for its training, taken from the pool."""
    num_candidates: PositiveInt = Field(default=4, ge=2)
    """Answers to each of them; the first two different ones form a pair."""
    num_samples: PositiveInt = 4
    """Answers to each test question; their rewards measure the policy."""
    temperature: float = Field(default=1.0, ge=0.0)
    max_new_tokens: PositiveInt = 6
    beta: PositiveFloat = 0.1
    """Strength of the penalty for leaving the base; 0.1 is the default of the DPO paper."""
    learning_rate: PositiveFloat = 1e-4
    epochs: PositiveInt = 3
    batch_size: PositiveInt = 16
    """Pairs per update."""
    rank: PositiveInt | None = None
    """Rank of a LoRA adapter on all linear layers; None: all weights are trained."""
    alpha: PositiveFloat = 32.0
    max_grad_norm: PositiveFloat = 1.0
    prompt: str | None = "text"
    """Format of a question without answers, which the policy writes."""
    quantization: Literal["none"] = "none"
    orders: Literal["given"] = "given"
    """A policy's answers are scored without the other choices, so they have no order."""
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
"""The paper's fine-tuning (arXiv:2401.06751, section 4 and appendix D), which it calls QLoRA: the
base is in LLM.int8. 160 labels make 12 updates: three batches of 50 items and one of 10 per epoch.
The released code drops incomplete accumulations and makes 9 or 10; here no item is dropped. Adam's
moments have 32 bits here and 8 bits there."""


AdapterTraining = LoRA | QLoRA
"""A recipe that trains an adapter on a frozen base."""

WeightTraining = AdapterTraining | FullFineTuning
"""A recipe that trains weights by gradient steps."""

TrainedRecipe = InContext | LinearProbe | LoRA | QLoRA | FullFineTuning
"""A recipe that uses labelled training items."""

Recipe = Annotated[ZeroShot | TrainedRecipe | PolicyDPO, Field(discriminator="method")]


def trains_small_state(recipe: Recipe) -> bool:
    """Returns whether a recipe trains an adapter or a probe, which is small next to its base."""
    if isinstance(recipe, PolicyDPO):
        return recipe.labels != "none" and recipe.rank is not None
    return isinstance(recipe, AdapterTraining | LinearProbe)


def num_updates(recipe: WeightTraining, num_items: int) -> int:
    """Returns the optimizer updates of a training on a number of items."""
    number = updates_per_epoch(recipe, num_items) * recipe.epochs
    number = max(number, recipe.min_updates or number)
    return min(number, recipe.max_updates or number)


def updates_per_epoch(recipe: WeightTraining, num_items: int) -> int:
    """Returns the number of batches that contain every item once."""
    return math.ceil(num_items / recipe.batch_size)


def with_fixed_updates(recipe: WeightTraining) -> WeightTraining:
    """Returns the recipe with the same number of updates for any number of labels.

    Conditions with fewer labels, or with pseudo-labels, then differ only in their labels.
    """
    number = num_updates(recipe, recipe.n_train)
    return recipe.model_copy(update={"min_updates": number, "max_updates": number})


def num_labels(recipe: Recipe) -> int:
    """Returns the number of labelled items that a cell of this recipe uses."""
    if isinstance(recipe, InContext):
        return recipe.k
    return 0 if isinstance(recipe, ZeroShot | PolicyDPO) else recipe.n_train


def with_num_labels(recipe: TrainedRecipe, number: int) -> TrainedRecipe:
    """Returns the recipe with another number of labelled items."""
    field = "k" if isinstance(recipe, InContext) else "n_train"
    return recipe.model_copy(update={field: number})
