"""The scorer against one whole forward per choice, on random models of many architectures."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from tests.support.tiny_models import (
    TOKENIZERS,
    make_items,
    make_model,
    make_tokenizer,
    naive_scores,
    words,
)
from trainables.inference.scoring import find_packing_fault, score_choices
from trainables.inference.tokenization import tokenize_items

ITEMS = make_items(12)
PROMPTS = [f"Question: {item.question}\nAnswer:" for item in ITEMS]
CHOICES = [[f" {choice}" for choice in item.choices] for item in ITEMS]
PREFIX = f"Question: {' '.join(words()[:15])}?\nAnswer: {words()[3]}\n\n"
ARCHITECTURES = ["llama", "mistral", "qwen2", "gemma2", "gpt2", "gpt_neox", "mixtral"]


def worst_difference(got: list[np.ndarray], expected: list[np.ndarray]) -> float:
    assert [row.shape for row in got] == [row.shape for row in expected]
    return max(float(np.abs(a - b).max()) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("prefix", [None, PREFIX], ids=["zero-shot", "prefix"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_scores_like_one_forward_per_choice(name: str, prefix: str) -> None:
    model, tokenizer = make_model(name), make_tokenizer("bytes")
    expected = naive_scores(model, tokenizer, PROMPTS, CHOICES, prefix or "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the slow way would warn
        got = score_choices(model, tokenizer, PROMPTS, CHOICES, prefix=prefix, token_budget=200)
    assert worst_difference(got, expected) < 1e-4
    assert got[0].dtype == np.float64


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_are_packed_in_16_bits_too(name: str) -> None:
    model, tokenizer = make_model(name), make_tokenizer("bytes")
    expected = naive_scores(model, tokenizer, PROMPTS, CHOICES, PREFIX)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = score_choices(model.bfloat16(), tokenizer, PROMPTS, CHOICES, prefix=PREFIX)
    assert 1e-4 < worst_difference(got, expected) < 0.3


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("adds_bos", [True, False], ids=["bos added", "bos not added"])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_tokenizer_scores_like_one_forward_per_choice(
    kind: str, adds_bos: bool, side: str
) -> None:
    model, tokenizer = make_model("llama"), make_tokenizer(kind, adds_bos=adds_bos, side=side)
    expected = naive_scores(model, tokenizer, PROMPTS, CHOICES, PREFIX)
    got = score_choices(model, tokenizer, PROMPTS, CHOICES, prefix=PREFIX)
    assert tokenizer.pad_token_id is None
    assert worst_difference(got, expected) < 1e-4


def test_a_token_over_the_boundary_is_scored_whole() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("merging")
    prompts, choices = (
        ["Question: ab?\nAns", "Question: ab?\nAnswer"],
        [["wer: c", "x"], [":", "d"]],
    )
    whole = tokenizer("Question: ab?\nAnswer: c", add_special_tokens=False)
    parts = tokenizer(prompts[0], add_special_tokens=False)["input_ids"]
    assert whole["input_ids"][: len(parts)] != parts  # the boundary does merge
    got = score_choices(model, tokenizer, prompts, choices)
    assert worst_difference(got, naive_scores(model, tokenizer, prompts, choices)) < 1e-4


def test_a_prefix_that_merges_with_the_prompts_is_cut_back() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("merging")
    prompts, prefix = (
        ["tion: ab?\nAnswer:", "tion: cd?\nAnswer:"],
        "Question: ab?\nAnswer: ef\nQues",
    )
    choices = [[" ab", " cde"]] * 2
    got = score_choices(model, tokenizer, prompts, choices, prefix=prefix)
    assert worst_difference(got, naive_scores(model, tokenizer, prompts, choices, prefix)) < 1e-4


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gpt2"])
def test_the_token_budget_changes_nothing_that_matters(name: str) -> None:
    model, tokenizer = make_model(name), make_tokenizer("bytes")
    one, many = (
        score_choices(model, tokenizer, PROMPTS, CHOICES, prefix=PREFIX, token_budget=budget)
        for budget in (1, 10_000)
    )
    assert worst_difference(one, many) < 1e-4


def test_equal_calls_give_equal_bytes() -> None:
    model, tokenizer = make_model("gemma2"), make_tokenizer("bytes")
    first = score_choices(model, tokenizer, PROMPTS, CHOICES, prefix=PREFIX)
    score_choices(model, tokenizer, PROMPTS[:3], CHOICES[:3])
    torch.manual_seed(1)
    second = score_choices(model, tokenizer, PROMPTS, CHOICES, prefix=PREFIX)
    assert [row.tobytes() for row in first] == [row.tobytes() for row in second]


def test_an_architecture_that_cannot_pack_is_scored_the_slow_way_and_says_so() -> None:
    model, tokenizer = make_model("bloom"), make_tokenizer("bytes")
    with pytest.warns(UserWarning, match="one full forward per choice: BloomForCausalLM takes no"):
        got = score_choices(model, tokenizer, PROMPTS, CHOICES, prefix=PREFIX, token_budget=300)
    assert worst_difference(got, naive_scores(model, tokenizer, PROMPTS, CHOICES, PREFIX)) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_ignores_positions_is_found_by_comparing(dtype: torch.dtype) -> None:
    model, tokenizer = make_model("llama").to(dtype), make_tokenizer("bytes")
    for layer in model.model.layers:  # positions matter more than 16 bits blur
        layer.self_attn.q_proj.weight.data *= 40.0
        layer.self_attn.v_proj.weight.data *= 40.0
    forward = model.model.forward
    model.model.forward = lambda **inputs: forward(**{**inputs, "position_ids": None})
    tokenized = tokenize_items(tokenizer, PROMPTS, CHOICES)
    assert "differs by" in (find_packing_fault(model, tokenized) or "")
    with pytest.warns(UserWarning, match="differs by"):
        got = score_choices(model, tokenizer, PROMPTS, CHOICES)
    allowed = 1e-4 if dtype == torch.float32 else 0.3
    assert worst_difference(got, naive_scores(model, tokenizer, PROMPTS, CHOICES)) < allowed


def test_ten_shot_costs_a_twentieth_of_the_tokens() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("words")
    items = make_items(200, seed=5, least_choices=4)
    prompts = [f"Question: {item.question}\nAnswer:" for item in items]
    choices = [[f" {choice}" for choice in item.choices] for item in items]
    shots = [f"{prompt}{texts[0]}" for prompt, texts in zip(prompts, choices, strict=True)]
    prefix = "\n\n".join(shots[:10]) + "\n\n"
    seen = 0

    def count(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: object) -> None:
        nonlocal seen
        seen += args[0].numel()

    model.get_input_embeddings().register_forward_hook(count)
    score_choices(model, tokenizer, prompts, choices, prefix=prefix)
    naive = sum(
        1 + len(tokenizer(prefix + prompt + choice, add_special_tokens=False)["input_ids"])
        for prompt, texts in zip(prompts, choices, strict=True)
        for choice in texts
    )
    assert naive / seen > 20


def test_the_model_is_left_as_it_was() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("bytes")
    head = model.get_output_embeddings()
    score_choices(model, tokenizer, PROMPTS, CHOICES, prefix=PREFIX)
    assert model.get_output_embeddings() is head
    assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, model.config.vocab_size)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([], r"choices\[0\] must be non-empty"),
        ([" a", ""], r"choices\[0\] must be non-empty"),
        ([" a", "  "], r"choices\[0\] must be non-empty"),
        ([" a", " b", " a"], r"choices\[0\] must differ"),
    ],
)
def test_empty_or_equal_choices_are_refused(choices: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_choices(make_model("llama"), make_tokenizer("bytes"), ["x"], [choices])


def test_a_text_longer_than_the_context_is_refused_by_number() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("words")
    prompts = [PROMPTS[0], "a b " * 200]
    with pytest.raises(ValueError, match=r"prompts\[1\].* 4\d\d tokens.* holds 256"):
        score_choices(model, tokenizer, prompts, CHOICES[:2])


def test_a_first_token_without_anything_before_it_is_refused() -> None:
    model = make_model("llama")
    with pytest.raises(ValueError, match=r"prompts\[0\]: the first token"):
        score_choices(model, make_tokenizer("bytes", bos=False), [""], [["ab", "cd"]])
    assert score_choices(model, make_tokenizer("bytes"), [""], [["ab", "cd"]])[0].shape == (2,)


def test_no_items_are_no_scores() -> None:
    assert score_choices(make_model("llama"), make_tokenizer("bytes"), [], []) == []
