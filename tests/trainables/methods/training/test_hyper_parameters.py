"""Trained weights against AdamW written out by hand: every hyper-parameter does what it says.

Nothing of the training is used here: the forward passes take a text at a time, the gradient is
clipped, the moments are updated and the learning rate is scheduled line by line.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from search_spaces.recipes import FullFineTuning, LoRA, WeightTraining
from tests.support.small_cells import POOL, PROMPT, TEST, inputs_of
from tests.support.tiny_models import naive_scores
from trainables.methods.base.interface import Example
from trainables.methods.dispatch import fit
from trainables.methods.training.loop import draw_batches
from trainables.models.loading import Base

ITEMS = POOL[:6]
assert len({len(item.choices) for item in ITEMS}) > 1
SMOOTHED = [
    Example(item=item, answer=(item.answer + place) % len(item.choices), weight=w, smoothing=s)
    for place, (item, w, s) in enumerate(
        zip(ITEMS, (1.0, 0.5, 1.0, 0.0, 1.0, 0.8), (0.4, 0.0, 0.9, 0.1, 0.4, 0.4), strict=True)
    )
]
PLAIN = [Example(item=item, answer=item.answer) for item in ITEMS]
FULL = FullFineTuning(n_train=6, learning_rate=1e-3, warm_up=0.25, epochs=5, batch_size=6)
LORA = LoRA(n_train=6, rank=3, alpha=5.0, learning_rate=1e-2, warm_up=0.25, epochs=5, batch_size=6)
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "learning_rate": {"learning_rate": 3e-4},
    "warm_up": {"warm_up": 0.55},
    "no warm_up": {"warm_up": 0.0},
    "epochs": {"epochs": 3},
    "batch_size": {"batch_size": 4},
    "weight_decay": {"weight_decay": 30.0},
    # Adam takes no notice of a gradient's size until it is near its epsilon.
    "max_grad_norm": {"max_grad_norm": 1e-6},
    "loss": {"loss": "text"},
}


def score(
    model: nn.Module, weights: Mapping[str, Tensor], base: Base, question: str, answer: str
) -> Tensor:
    """Returns the log-probability of the answer's text after the question, differentiable."""
    encoded = base.tokenizer(
        question + answer, add_special_tokens=False, return_offsets_mapping=True
    )
    ids = [base.tokenizer.bos_token_id, *encoded["input_ids"]]
    logits = functional_call(model, dict(weights), (torch.tensor([ids]),)).logits[0]
    log_prob_TV = logits.log_softmax(dim=-1)
    scored = [
        place for place, (_, end) in enumerate(encoded["offset_mapping"], 1) if end > len(question)
    ]
    return torch.stack([log_prob_TV[place - 1, ids[place]] for place in scored]).sum()


def item_loss(
    recipe: WeightTraining,
    model: nn.Module,
    weights: Mapping[str, Tensor],
    base: Base,
    one: Example,
) -> Tensor:
    question, texts = PROMPT.question(one.item), PROMPT.choice_texts(one.item)
    if recipe.loss == "text":
        return -one.weight * score(model, weights, base, question, texts[one.answer])
    scores = torch.stack([score(model, weights, base, question, text) for text in texts])
    log_probs = scores - scores.logsumexp(dim=0)
    target = torch.full_like(log_probs, one.smoothing / len(texts))
    target[one.answer] += 1.0 - one.smoothing
    return -one.weight * (target * log_probs).sum()


def rate_at(recipe: WeightTraining, update: int, number: int) -> float:
    """Rises over the warm-up's updates, rounded up, then falls in a line to a tenth."""
    rising = max(1, math.ceil(recipe.warm_up * number))
    if update <= rising:
        return recipe.learning_rate * update / rising
    return recipe.learning_rate * (1.0 - 0.9 * (update - rising) / (number - rising))


def by_hand(
    recipe: WeightTraining,
    base: Base,
    examples: Sequence[Example],
    trained: Mapping[str, Tensor],
    weights_of: Any,
    batches: Sequence[Sequence[int]],
) -> tuple[dict[str, Tensor], list[float]]:
    """Returns what AdamW makes of `trained`, and the loss of every update.

    Args:
        recipe: Hyper-parameters.
        base: The model.
        examples: Labelled items.
        trained: First values of what is trained.
        weights_of: Returns the model's weights, by name, for values of what is trained.
        batches: Items of every update.
    """
    model = copy.deepcopy(base.model)
    now = {name: value.clone() for name, value in trained.items()}
    first = {name: torch.zeros_like(value) for name, value in now.items()}
    second = {name: torch.zeros_like(value) for name, value in now.items()}
    losses = []
    for update, batch in enumerate(batches, 1):
        leaves = {name: value.clone().requires_grad_(True) for name, value in now.items()}
        weights = weights_of(leaves)
        parts = [item_loss(recipe, model, weights, base, examples[place]) for place in batch]
        loss = torch.stack(parts).sum() / len(batch)
        losses.append(float(loss.detach()))
        found = torch.autograd.grad(loss, list(leaves.values()))
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in found))
        clip = min(1.0, recipe.max_grad_norm / norm)
        rate = rate_at(recipe, update, len(batches))
        for name, gradient in zip(now, found, strict=True):
            gradient = gradient * clip
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient.square()
            step = (first[name] / (1 - 0.9**update)) / (
                (second[name] / (1 - 0.999**update)).sqrt() + 1e-8
            )
            now[name] = now[name] * (1.0 - rate * recipe.weight_decay) - rate * step
    return now, losses


def fitted_state(
    recipe: WeightTraining,
    base: Base,
    examples: Sequence[Example],
    start: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], list[float]]:
    rows: list[Mapping[str, float]] = []
    context = inputs_of(recipe, log=rows.append).context
    with fit(context, base, examples, start=start) as fitted:
        state = {name: value.clone() for name, value in fitted.state().items()}
    return state, [row["loss"] for row in rows]


def distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return math.sqrt(sum(float((first[n] - second[n]).double().square().sum()) for n in first))


def own_batches(recipe: WeightTraining) -> list[list[int]]:
    """One batch an epoch needs no order; smaller ones are drawn, and their sizes are checked."""
    if recipe.batch_size >= len(ITEMS):
        return [list(range(len(ITEMS)))] * recipe.epochs
    names = inputs_of(recipe).context.names
    batches = list(draw_batches(len(ITEMS), recipe, names))
    assert [len(batch) for batch in batches] == [4, 2] * recipe.epochs
    assert sorted(batches[0] + batches[1]) == list(range(len(ITEMS)))
    return batches


def check(
    recipe: WeightTraining,
    other: WeightTraining,
    base: Base,
    examples: Sequence[Example],
    trained: Mapping[str, Tensor],
    weights_of: Any,
    start: Mapping[str, Tensor] | None,
) -> None:
    """Compares a training with that by hand, which another recipe's training must not equal."""
    expected, losses = by_hand(recipe, base, examples, trained, weights_of, own_batches(recipe))
    found, logged = fitted_state(recipe, base, examples, start)
    moved = distance(expected, trained)
    assert logged == pytest.approx(losses, rel=2e-3, abs=1e-4)
    assert distance(found, expected) < 0.005 * moved
    if other != recipe:
        different, _ = by_hand(other, base, examples, trained, weights_of, own_batches(other))
        assert distance(different, expected) > 0.02 * moved


def full_weights(base: Base) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in base.model.named_parameters()}


@pytest.mark.parametrize("change", CHANGES)
def test_full_fine_tuning_follows_its_recipe(base: Base, change: str) -> None:
    recipe = FULL.model_copy(update=CHANGES[change])
    trained = full_weights(base)
    check(recipe, FULL, base, PLAIN, trained, lambda leaves: leaves, None)


def test_weights_and_smoothing_of_examples_with_2_to_4_choices(base: Base) -> None:
    check(FULL, FULL, base, SMOOTHED, full_weights(base), lambda leaves: leaves, None)


def lora_start(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns factors that are both not 0: at peft's start one has no gradient."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.05
        for name, value in sorted(state.items())
    }


def lora_weights(base: Base, recipe: LoRA) -> Any:
    """Returns the model's weights for factors: W + alpha / rank * B A."""
    frozen = full_weights(base)

    def weights_of(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights = dict(frozen)
        for name, down in leaves.items():
            if ".lora_A." not in name:
                continue
            up = leaves[name.replace(".lora_A.", ".lora_B.")]
            module = name.removeprefix("base_model.model.").split(".lora_A.")[0]
            target = f"{module}.weight"
            weights[target] = frozen[target] + recipe.alpha / recipe.rank * up @ down
        return weights

    return weights_of


@pytest.fixture(scope="module")
def start(base: Base) -> dict[str, Tensor]:
    state, _ = fitted_state(LORA.model_copy(update={"epochs": 1}), base, PLAIN)
    return lora_start(state)


@pytest.mark.parametrize(
    "change", [{"alpha": 40.0}, {"weight_decay": 30.0}, {"warm_up": 0.55}, {"loss": "text"}]
)
def test_an_adapter_follows_its_recipe(
    base: Base, start: dict[str, Tensor], change: Mapping[str, Any]
) -> None:
    recipe = LORA.model_copy(update=change)
    weights_of = lora_weights(base, recipe)
    expected, losses = by_hand(recipe, base, PLAIN, start, weights_of, own_batches(recipe))
    found, logged = fitted_state(recipe, base, PLAIN, start)
    assert logged == pytest.approx(losses, rel=2e-3, abs=1e-4)
    assert distance(found, expected) < 0.005 * distance(expected, start)
    other, _ = by_hand(LORA, base, PLAIN, start, lora_weights(base, LORA), own_batches(LORA))
    assert distance(other, expected) > 0.02 * distance(expected, start)


@pytest.mark.parametrize("rank", [2, 5])
@pytest.mark.parametrize("target_modules", ["all-linear", "attention"])
def test_an_adapter_has_its_rank_on_its_modules_and_scores_with_it(
    base: Base, rank: int, target_modules: str
) -> None:
    changes = {"rank": rank, "target_modules": target_modules, "epochs": 2}
    recipe = LORA.model_copy(update=changes)
    context = inputs_of(recipe).context
    with fit(context, base, PLAIN) as fitted:
        state = {name: value.clone() for name, value in fitted.state().items()}
        answers = fitted.answer(TEST[:3]).log_probs
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert {min(shape) for shape in shapes.values()} == {rank}
    attention, perceptron = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate", "up", "down"}
    layers = 3 * len(attention | perceptron) if target_modules == "all-linear" else 3 * 2
    assert len(shapes) == 2 * layers
    if target_modules == "attention":
        assert {name.split(".lora_")[0].split(".")[-1] for name in shapes} == {"q_proj", "v_proj"}
    model = copy.deepcopy(base.model)
    with torch.no_grad():
        for name, weight in lora_weights(base, recipe)(state).items():
            model.get_parameter(name).copy_(weight)
    expected = naive_scores(
        model,
        base.tokenizer,
        [PROMPT.question(item) for item in TEST[:3]],
        [PROMPT.choice_texts(item) for item in TEST[:3]],
    )
    assert answers is not None
    for row, wanted in zip(answers, expected, strict=True):
        torch.testing.assert_close(torch.tensor(row), torch.tensor(wanted), atol=1e-3, rtol=0.0)


@pytest.mark.parametrize("dropout", [0.0, 0.25, 0.6])
def test_dropout_zeroes_its_share_and_scales_the_rest_in_training_alone(
    base: Base, dropout: float
) -> None:
    recipe = LORA.model_copy(update={"dropout": dropout})
    dropped: list[tuple[Tensor, Tensor]] = []
    is_answering = False

    def watch(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Dropout) and module.training:
            assert not is_answering
            dropped.append((given[0].detach(), output.detach()))

    with _watched(watch), fit(inputs_of(recipe).context, base, PLAIN) as fitted:
        is_answering = True
        fitted.answer(TEST[:2])
    if dropout == 0.0:
        assert dropped == []
        return
    before, after = (torch.cat([pair[i].flatten() for pair in dropped]) for i in (0, 1))
    is_kept = after != 0
    assert float((~is_kept[before != 0]).float().mean()) == pytest.approx(dropout, abs=0.01)
    torch.testing.assert_close(after[is_kept], before[is_kept] / (1.0 - dropout))


class _watched:
    """Calls the hook for every module's forward pass for a while."""

    def __init__(self, hook: Any) -> None:
        self.hook = hook

    def __enter__(self) -> None:
        self.handle = nn.modules.module.register_module_forward_hook(self.hook)

    def __exit__(self, *_: object) -> None:
        self.handle.remove()
