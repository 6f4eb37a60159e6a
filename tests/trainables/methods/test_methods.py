"""Cells of every method: right numbers, equal bytes whatever ran before, nothing left behind."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from search_spaces.recipes import InContext
from tests.support.small_cells import (
    ITEMS,
    LONG,
    NUM_LABELS,
    POOL,
    PROMPT,
    RECIPES,
    TEST,
    answers_of,
    bytes_of,
    frozen,
    inputs_of,
    run,
)
from tests.support.tiny_models import naive_scores
from trainables.cells.run import make_examples, run_cell
from trainables.data.items import Item
from trainables.data.prompts.formats import trivial_items
from trainables.errors import DataError
from trainables.inference.hidden_states import StateCache
from trainables.inference.scoring import score_choices
from trainables.methods.base.interface import Example
from trainables.methods.dispatch import fit, restore
from trainables.models.loading import Base


@pytest.mark.parametrize("method", RECIPES)
def test_a_cell_gives_equal_bytes_whatever_ran_before(base: Base, method: str) -> None:
    shared = StateCache()
    first = run(base, method)
    for other in RECIPES:
        run(base, other, states=shared)
    torch.manual_seed(99)
    random.seed(99)
    torch.rand(7)
    state = torch.get_rng_state()
    assert bytes_of(run(base, method, states=shared)) == bytes_of(first)
    assert torch.equal(torch.get_rng_state(), state)
    assert [row.shape for row in first.log_probs] == [(len(item.choices),) for item in TEST]
    assert all(row.dtype == np.float64 for row in first.log_probs)


@pytest.mark.parametrize("method", RECIPES)
def test_the_method_that_the_recipe_names_is_fitted(base: Base, method: str) -> None:
    inputs = inputs_of(RECIPES[method], POOL[: NUM_LABELS[method]])
    state = run_cell(replace(inputs, keeps_state=True), base).state
    assert state is not None
    if method in ("lora", "dropout"):
        assert state and all("lora_" in name for name in state)
        return
    weights = {name for name, _ in base.model.named_parameters()}
    parts = {
        "zero-shot": set(),
        "in-context": {"examples"},
        "linear probe": {"layers", "mean", "std", "weight"},
        "full fine-tuning": weights,
    }
    assert state.keys() == parts[method]


def test_zero_shot_scores_the_answers_after_the_question(base: Base) -> None:
    expected = naive_scores(
        base.model,
        base.tokenizer,
        [PROMPT.question(item) for item in TEST],
        [PROMPT.choice_texts(item) for item in TEST],
    )
    for got, wanted in zip(run(base, "zero-shot").log_probs, expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_in_context_shows_the_labelled_items_in_their_order(base: Base) -> None:
    examples = [(item, item.answer) for item in POOL[:3]]
    expected = naive_scores(
        base.model,
        base.tokenizer,
        [PROMPT.prompt(item, examples) for item in TEST],
        [PROMPT.choice_texts(item) for item in TEST],
    )
    scores = run(base, "in-context")
    assert scores.notes == ()
    for got, wanted in zip(scores.log_probs, expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_examples_that_do_not_fit_are_dropped_from_the_end_and_counted(base: Base) -> None:
    shown = POOL[:9]
    examples = [(item, item.answer) for item in shown]
    scores = answers_of(inputs_of(InContext(k=len(shown)), shown), base)
    dropped = [int(note.split(": ")[1].split(" of")[0]) for note in scores.notes]
    counts = [int(note.split(" items")[0]) for note in scores.notes]
    assert sum(counts) == len(TEST) and len(set(dropped)) > 1
    lengths = [
        [
            max(
                len(base.tokenizer(PROMPT.prompt(item, examples[:kept]) + text).input_ids)
                for text in PROMPT.choice_texts(item)
            )
            for kept in range(len(shown) + 1)
        ]
        for item in TEST
    ]
    kept = [max(k for k, length in enumerate(row) if length <= 256) for row in lengths]
    assert sorted(len(shown) - k for k in kept) == sorted(
        number for number, count in zip(dropped, counts, strict=True) for _ in range(count)
    )
    expected = naive_scores(
        base.model,
        base.tokenizer,
        [PROMPT.prompt(i, examples[:k]) for i, k in zip(TEST, kept, strict=True)],
        [PROMPT.choice_texts(item) for item in TEST],
    )
    for got, wanted in zip(scores.log_probs, expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("method", RECIPES)
def test_a_restored_state_answers_byte_for_byte(base: Base, method: str) -> None:
    context = inputs_of(RECIPES[method]).context
    examples = make_examples(context, POOL[: NUM_LABELS[method]])
    with fit(context, base, examples) as fitted:
        expected, state = fitted.answer(TEST), fitted.state()
    with restore(context, base, state) as again:
        assert bytes_of(again.answer(TEST)) == bytes_of(expected)
        assert {k: v.tolist() for k, v in again.state().items()} == {
            k: v.tolist() for k, v in state.items()
        }


def test_the_state_of_a_prompt_has_ids_and_no_text_of_the_data(base: Base) -> None:
    context = inputs_of(RECIPES["in-context"]).context
    turned = replace(POOL[1], choices=POOL[1].choices[::-1])  # as an unlabelled item is shown
    placeholder = trivial_items(POOL[:1], "seed")[0]
    items = (POOL[0], turned, placeholder)
    with fit(context, base, [Example(item=i, answer=1) for i in items]) as fitted:
        expected, state = fitted.answer(TEST), fitted.state()
    stored = bytes(state["examples"].tolist()).decode()
    texts = [text for item in items[:2] for text in (item.question, *item.choices)]
    assert min(map(len, texts)) > 4 and not any(text in stored for text in texts)
    assert all(item.id in stored for item in items)
    with restore(context, base, state) as again:
        assert bytes_of(again.answer(TEST)) == bytes_of(expected)
    others = replace(context, items=ITEMS[:3])
    with (
        pytest.raises(DataError, match="not items of the task"),
        restore(others, base, state) as again,
    ):
        pass


@pytest.mark.parametrize("method", ["zero-shot", "in-context", "lora"])
def test_the_recipe_says_how_answers_are_scored(base: Base, method: str) -> None:
    sums = run(base, method).log_probs
    found = {}
    for scoring in ("per-token", "per-char", "pmi"):
        recipe = RECIPES[method].model_copy(update={"scoring": scoring})
        inputs = inputs_of(recipe, POOL[: NUM_LABELS[method]])
        found[scoring] = answers_of(inputs, base).log_probs
    for item, row, per_char in zip(TEST, sums, found["per-char"], strict=True):
        np.testing.assert_allclose(per_char, row / [len(choice) for choice in item.choices])
    alone = [Item(id=i.id, question="", choices=i.choices, answer=i.answer) for i in TEST]
    if method == "zero-shot":
        prior = run(base, method, test=tuple(alone)).log_probs
        for row, scaled, expected in zip(sums, found["pmi"], prior, strict=True):
            np.testing.assert_allclose(scaled, row - expected, atol=1e-4)
    pairs = zip(found["per-token"], sums, strict=True)
    assert all(np.abs(row).max() < np.abs(whole).max() for row, whole in pairs)


@pytest.mark.parametrize("num_shown", [3, 9])
def test_pmi_behind_examples_is_that_of_the_public_function(base: Base, num_shown: int) -> None:
    shown = POOL[:num_shown]
    recipe = InContext(k=num_shown, scoring="pmi")
    found = answers_of(inputs_of(recipe, shown), base)
    examples = [(item, item.answer) for item in shown]
    limit = base.model.config.max_position_embeddings
    for item, row in zip(TEST, found.log_probs, strict=True):
        choices = PROMPT.choice_texts(item)
        kept = num_shown
        while max(_length(base, PROMPT.prompt(item, examples[:kept]) + c) for c in choices) > limit:
            kept -= 1
        front = "".join(PROMPT.example(*one) + PROMPT.separator for one in examples[:kept])
        expected = score_choices(
            base.model,
            base.tokenizer,
            [PROMPT.question(item)],
            [choices],
            prefix=front,
            scoring="pmi",
            domain_prompt=PROMPT.template.format(question="", options=""),
        )
        np.testing.assert_allclose(row, expected[0], atol=1e-4)


def _length(base: Base, text: str) -> int:
    return len(base.tokenizer(text).input_ids)


@pytest.mark.parametrize("method", ["zero-shot", "in-context", "linear probe", "lora"])
def test_an_item_that_does_not_fit_alone_is_named(base: Base, method: str) -> None:
    labelled = POOL[: NUM_LABELS[method]]
    for inputs in (
        inputs_of(RECIPES[method], labelled, (*TEST, LONG), items=(*ITEMS, LONG)),
        frozen(method, labelled, (*TEST, LONG)),
    ):
        with pytest.raises(ValueError, match=r"item 'too-long': .* context"):
            run_cell(inputs, base)
