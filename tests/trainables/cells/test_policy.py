"""A policy's cell hands every field of its recipe to what samples and trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search_spaces.recipes import PolicyDPO
from trainables.cells import policy
from trainables.data.items import Item
from trainables.data.lab.preferences import preference_questions
from trainables.data.prompts.formats import get_prompt
from trainables.methods.base.interface import Answers
from trainables.methods.dpo.sampling import Sampling

RECIPE = PolicyDPO(
    labels="gold",
    num_questions=5,
    num_candidates=3,
    num_samples=2,
    temperature=0.7,
    max_new_tokens=9,
    beta=0.3,
    learning_rate=3e-3,
    epochs=7,
    batch_size=11,
    rank=6,
    alpha=13.0,
    max_grad_norm=0.4,
)
QUESTIONS = preference_questions()[:12]
BY_ID = {question.id: question for question in QUESTIONS}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the cell asked for, by purpose."""
    seen: dict[str, Any] = {}

    def sample(
        _: object, prompts: Mapping[str, str], sampling: Sampling, *names: object, **options: object
    ) -> Any:
        seen[str(names[-1])] = (sampling, tuple(prompts))
        seen.setdefault("ends", []).append(options["end"])
        return {
            id_: tuple(f" {number}\n" for number in range(sampling.num_samples)) for id_ in prompts
        }

    @contextmanager
    def train(context: object, recipe: PolicyDPO, base: object, pairs: object) -> Iterator[object]:
        seen["recipe"], seen["pairs"] = recipe, pairs
        yield SimpleNamespace(state=dict)

    monkeypatch.setattr(policy, "sample_texts", sample)
    monkeypatch.setattr(policy, "trained_policy", train)
    monkeypatch.setattr(policy, "answer_questions", lambda *_: Answers(log_probs=[np.zeros(2)]))
    monkeypatch.setattr(policy, "questions_of", lambda ids: tuple(map(BY_ID.__getitem__, ids)))
    return seen


def run(recipe: PolicyDPO) -> None:
    items = tuple(Item(id=q.id, question=q.text, choices=("1", "2"), answer=0) for q in QUESTIONS)
    context = SimpleNamespace(
        cell=SimpleNamespace(recipe=recipe, study_seed=0, seed=1),
        prompt=get_prompt("micro"),
        test=items[10:],
        log=lambda row: None,
    )
    base = SimpleNamespace(start_of=lambda prompt: ())
    policy.run_policy(context, base, items[:10], None)  # type: ignore[arg-type]


def test_every_field_reaches_the_sampling_and_the_training(seen: dict[str, Any]) -> None:
    run(RECIPE)
    asked = {"temperature": 0.7, "max_new_tokens": 9}
    candidates, questions = seen["candidates"]
    assert candidates == Sampling(num_samples=3, **asked)
    assert len(questions) == 5
    assert seen["test"][0] == Sampling(num_samples=2, **asked)
    assert seen["recipe"] == RECIPE


def test_a_policy_without_labels_is_the_base(seen: dict[str, Any]) -> None:
    run(RECIPE.model_copy(update={"labels": "none"}))
    assert "recipe" not in seen and "candidates" not in seen and "test" in seen


def test_all_texts_of_a_chat_end_with_its_end_of_turn(
    seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(RECIPE)
    monkeypatch.setattr(policy, "end_of_turn", lambda prompt: 77 if prompt else None)
    run(RECIPE)
    assert seen["ends"] == [None, None, 77, 77]
