"""DPO: preferred answers become likelier, the base stays, and nothing else of the process moves."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.lab.preferences import preference_questions
from trainables.data.prompts.formats import get_prompt
from trainables.methods.dpo.candidates import LabelledPair
from trainables.methods.dpo.trainer import DPOSettings, train_policy
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
