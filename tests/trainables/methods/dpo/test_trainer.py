"""DPO: preferred answers become likelier, the base stays, and nothing else of the process moves."""

from __future__ import annotations

import copy
import math
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.lab.preferences import preference_questions
from trainables.data.prompts.formats import get_prompt
from trainables.methods.dpo.candidates import LabelledPair
from trainables.methods.dpo.trainer import DPOSettings, train_policy
from trainables.models.chat import with_chat_template
from trainables.models.loading import Base

PROMPT = get_prompt("micro")
SETTINGS = DPOSettings(epochs=2, batch_size=4)
QUESTIONS = preference_questions()[:8]
PAIRS = [
    LabelledPair(
        id=question.id,
        question=question.text,
        chosen=str(question.problem.answer),
        rejected=str(question.problem.answer + 3),
    )
    for question in QUESTIONS
]


@pytest.fixture(scope="module")
def base() -> Base:
    folder = MICRO_MODELS["micro-s"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return Base(
        model=model.requires_grad_(False),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device=torch.device("cpu"),
    )


@pytest.fixture(scope="module")
def curve() -> list[Mapping[str, float]]:
    return []


@pytest.fixture(scope="module")
def policy(base: Base, curve: list[Mapping[str, float]]) -> Base:
    return train_policy(base, PAIRS, PROMPT, SETTINGS, 0, 1, log=curve.append)


def weights(policy: Base) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in policy.model.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def log_ratio(policy: Base, pair: LabelledPair) -> float:
    """Log-probability of the chosen answer less that of the rejected one, text by text."""
    sums = []
    for answer in (pair.chosen, pair.rejected):
        prompt = policy.tokenizer(f"{pair.question}\nAnswer:").input_ids
        rest = policy.tokenizer(f" {answer}\n", add_special_tokens=False).input_ids
        logits = policy.model(input_ids=torch.tensor([prompt + rest])).logits[0, :-1]
        log_probs = log_softmax(logits, dim=-1)[torch.arange(len(prompt + rest) - 1)]
        places = range(len(prompt) - 1, len(prompt + rest) - 1)
        sums.append(sum(float(log_probs[p, (prompt + rest)[p + 1]]) for p in places))
    return sums[0] - sums[1]


def test_the_first_loss_is_that_of_no_preference_and_updates_are_counted(
    policy: Base, curve: list[Mapping[str, float]]
) -> None:
    assert [row["step"] for row in curve] == [1, 2, 3, 4]
    assert abs(curve[0]["loss"] - np.log(2)) < 1e-4


def check_learnt(base: Base, trained: Base) -> None:
    assert min(log_ratio(trained, pair) - log_ratio(base, pair) for pair in PAIRS) > 0
    shipped = AutoModelForCausalLM.from_pretrained(MICRO_MODELS["micro-s"], dtype=torch.float32)
    assert same(shipped.state_dict(), base.model.state_dict())
    assert trained.model.state_dict().keys() == base.model.state_dict().keys()
    assert not trained.model.training
    assert not any(part.requires_grad for part in trained.model.parameters())


def test_chosen_answers_become_likelier_than_rejected_ones(base: Base, policy: Base) -> None:
    check_learnt(base, policy)


def test_an_adapter_is_trained_and_added_in(base: Base) -> None:
    settings = replace(SETTINGS, rank=4, learning_rate=1e-3)
    check_learnt(base, train_policy(base, PAIRS, PROMPT, settings, 0, 1))


def test_other_names_draw_another_order(base: Base, policy: Base) -> None:
    assert not same(weights(train_policy(base, PAIRS, PROMPT, SETTINGS, 0, 2)), weights(policy))


def test_a_worker_of_a_group_trains_alone_and_its_process_is_as_it_was(
    base: Base, policy: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    for name, value in {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    random.seed(5)
    torch.manual_seed(5)
    before, environment = random_states(), dict(os.environ)
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        trained = train_policy(base, PAIRS[::-1], PROMPT, SETTINGS, 0, 1)
    finally:
        torch.distributed.destroy_process_group()
    assert same(weights(trained), weights(policy))
    assert random_states() == before
    assert dict(os.environ) == environment


def random_states() -> tuple[object, ...]:
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    return random.getstate(), numpy_state, torch.get_rng_state().tolist()


def test_no_pairs_are_refused(base: Base) -> None:
    with pytest.raises(ValueError, match="no pairs to train a policy on"):
        train_policy(base, [], PROMPT, SETTINGS, 0)


def test_a_policy_in_bf16_is_trained_as_far_as_one_in_fp32(base: Base, policy: Base) -> None:
    """Its weights are stepped in fp32 and cast once, at the end."""
    half = replace(base, model=copy.deepcopy(base.model).bfloat16())
    trained = train_policy(half, PAIRS, PROMPT, SETTINGS, 0, 1)
    assert {weight.dtype for weight in trained.model.parameters()} == {torch.bfloat16}
    size = wanted = 0.0
    start, exact, exact_start = weights(half), weights(policy), weights(base)
    for name, weight in weights(trained).items():
        update = exact[name] - exact_start[name]
        cast = (start[name].float() + update).bfloat16()
        size += float((weight.float() - start[name].float()).abs().sum())
        wanted += float((cast.float() - start[name].float()).abs().sum())
    assert wanted > 0
    assert size == pytest.approx(wanted, rel=0.05)


def pair_margins(
    base: Base, weights: Mapping[str, Tensor], pairs: Sequence[LabelledPair]
) -> Tensor:
    """Returns chosen less rejected log-probabilities, a pair each, differentiable."""
    margins = []
    for pair in pairs:
        sums = []
        for answer in (pair.chosen, pair.rejected):
            prompt = base.tokenizer(f"{pair.question}\nAnswer:").input_ids
            rest = base.tokenizer(f" {answer}\n", add_special_tokens=False).input_ids
            ids = torch.tensor([prompt + rest])
            logits = functional_call(base.model, dict(weights), (ids,)).logits[0, :-1]
            scored = log_softmax(logits, dim=-1).gather(1, ids[0, 1:, None])[:, 0]
            sums.append(scored[len(prompt) - 1 :].sum())
        margins.append(sums[0] - sums[1])
    return torch.stack(margins)


def trained_by_hand(
    base: Base, pairs: Sequence[LabelledPair], settings: DPOSettings
) -> list[float]:
    """Returns the loss of every update of all weights by AdamW, one batch an epoch."""
    now = {name: value.detach().clone() for name, value in base.model.named_parameters()}
    with torch.no_grad():
        reference = pair_margins(base, now, pairs)
    first = {name: torch.zeros_like(value) for name, value in now.items()}
    second = {name: torch.zeros_like(value) for name, value in now.items()}
    losses, rising = [], math.ceil(0.1 * settings.epochs)
    for update in range(settings.epochs):
        leaves = {name: value.clone().requires_grad_(True) for name, value in now.items()}
        difference = pair_margins(base, leaves, pairs) - reference
        loss = (1.0 + (-settings.beta * difference).exp()).log().mean()
        losses.append(float(loss.detach()))
        found = torch.autograd.grad(loss, list(leaves.values()))
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in found))
        clip = min(1.0, settings.max_grad_norm / norm)
        falls = (settings.epochs - update) / (settings.epochs - rising)
        rate = settings.learning_rate * (update / rising if update < rising else falls)
        for name, gradient in zip(now, found, strict=True):
            first[name] = 0.9 * first[name] + 0.1 * gradient * clip
            second[name] = 0.999 * second[name] + 0.001 * (gradient * clip).square()
            spread = (second[name] / (1 - 0.999 ** (update + 1))).sqrt()
            now[name] -= rate * first[name] / (1 - 0.9 ** (update + 1)) / (spread + 1e-8)
    return losses


BY_HAND = DPOSettings(beta=0.2, learning_rate=2e-4, epochs=4, batch_size=4)


@pytest.mark.parametrize(
    "change",
    [
        {"beta": 2.0},
        {"learning_rate": 5e-5},
        {"epochs": 3},
        {"max_grad_norm": 1e-6},  # Adam notices a gradient's size near its epsilon alone
    ],
)
def test_updates_are_those_of_adamw_on_the_papers_loss(
    base: Base, change: dict[str, float]
) -> None:
    settings = replace(BY_HAND, **change)
    pairs = sorted(PAIRS[:4], key=lambda pair: pair.id)
    rows: list[Mapping[str, float]] = []
    train_policy(base, pairs, PROMPT, settings, 0, 1, log=rows.append)
    losses, others = trained_by_hand(base, pairs, settings), trained_by_hand(base, pairs, BY_HAND)
    # The loss that an update starts from says where the updates before it have led.
    assert [row["loss"] for row in rows] == pytest.approx(losses, rel=0.05, abs=2e-3)
    assert len(losses) != len(others) or abs(losses[2] - others[2]) > 0.05


def test_a_batch_holds_its_pairs(base: Base) -> None:
    rows: list[Mapping[str, float]] = []
    settings = replace(SETTINGS, epochs=1, batch_size=3)
    train_policy(base, PAIRS, PROMPT, settings, 0, 1, log=rows.append)
    assert [row["step"] for row in rows] == [1, 2, 3]  # 8 pairs: 3, 3 and 2


@pytest.mark.parametrize("rank", [2, 5])
def test_an_adapters_update_has_its_rank_and_grows_with_alpha(base: Base, rank: int) -> None:
    # Two updates, the first at a learning rate of 0: the up factor moves once, by Adam's sign.
    settings = replace(SETTINGS, epochs=2, batch_size=8, rank=rank, learning_rate=1e-3)
    changes = []
    for alpha in (32.0, 64.0):
        policy = train_policy(base, PAIRS, PROMPT, replace(settings, alpha=alpha), 0, 1)
        weight = policy.model.model.layers[0].mlp.down_proj.weight
        changes.append((weight - base.model.model.layers[0].mlp.down_proj.weight).double())
    values = torch.linalg.svdvals(changes[1])
    assert int((values > 1e-3 * values[0]).sum()) == rank
    torch.testing.assert_close(changes[1], 2.0 * changes[0], rtol=0.05, atol=float(values[0]) / 100)


def test_a_chat_template_that_writes_the_bos_trains_on_one(base: Base, policy: Base) -> None:
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ (bos_token if m.role == 'user' else ' ') + m.content }}"
        "{% endfor %}"
    )
    chat = with_chat_template(PROMPT, tokenizer)
    assert same(weights(train_policy(base, PAIRS, chat, SETTINGS, 0, 1)), weights(policy))
