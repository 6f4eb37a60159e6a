"""Scales of scores, against one whole forward per choice and counts made by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.support.tiny_models import make_items, make_model, make_tokenizer, naive_scores, words
from trainables.data.prompts.formats import get_prompt
from trainables.inference.normalization import (
    SCORINGS,
    domain_prompt_of,
    normalize_scores,
    tokenize_domain,
)
from trainables.inference.scoring import score_choices, score_items
from trainables.inference.tokenization import TokenizedItem, TokenizedItems, tokenize_items
from trainables.models.chat import with_chat_template

ITEMS = make_items(6, seed=4)
PROMPTS = [f"Question: {item.question}\nAnswer:" for item in ITEMS]
CHOICES = [[f" {choice}" for choice in item.choices] for item in ITEMS]
PREFIX = f"Question: {' '.join(words()[:9])}?\nAnswer: {words()[3]}\n\n"


def assert_equal_scores(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert [row.shape for row in got] == [row.shape for row in expected]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


MERGING = (["Question: ab?\nAns", "Question: ab?\nAnswer"], [["wer: c", "x"], [":", "d"]])
"""Texts where a token reaches over the boundary of some choices and not of others."""


@pytest.mark.parametrize(
    ("kind", "prompts", "choices"),
    [
        ("words", PROMPTS, CHOICES),
        ("bytes", PROMPTS, CHOICES),
        ("merging", PROMPTS, CHOICES),
        ("merging", *MERGING),
    ],
)
def test_per_token_is_the_mean_over_the_tokens_that_overlap_the_choice(
    kind: str, prompts: list[str], choices: list[list[str]]
) -> None:
    model, tokenizer = make_model("llama"), make_tokenizer(kind)
    expected = naive_scores(model, tokenizer, prompts, choices)
    for row, prompt, texts in zip(expected, prompts, choices, strict=True):
        for index, text in enumerate(texts):
            encoded = tokenizer(
                prompt + text, add_special_tokens=False, return_offsets_mapping=True
            )
            row[index] /= sum(end > len(prompt) for _, end in encoded["offset_mapping"])
    got = score_choices(model, tokenizer, prompts, choices, scoring="per-token")
    assert_equal_scores(got, expected)


def test_per_char_divides_by_the_text_without_outer_white_space() -> None:
    model, tokenizer = make_model("gpt2"), make_tokenizer("bytes")
    choices = [[" ab", " a b c "], ["caf\u00e9", "\u4e2d\u6587 x"]]
    sums = naive_scores(model, tokenizer, PROMPTS[:2], choices)
    got = score_choices(model, tokenizer, PROMPTS[:2], choices, scoring="per-char")
    # Code points: \u00e9 is one character (of two bytes), \u4e2d\u6587 are two (of six).
    assert_equal_scores(got, [sums[0] / [2, 5], sums[1] / [4, 4]])


@pytest.mark.parametrize("prefix", [None, PREFIX], ids=["zero-shot", "prefix"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "bloom"])
def test_pmi_takes_off_the_log_probability_without_the_question(name: str, prefix: str) -> None:
    model, tokenizer = make_model(name), make_tokenizer("bytes")
    conditional = naive_scores(model, tokenizer, PROMPTS, CHOICES, prefix or "")
    prior = naive_scores(model, tokenizer, ["Answer:"] * len(CHOICES), CHOICES, prefix or "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if name == "bloom" else "error")
        got = score_choices(
            model,
            tokenizer,
            PROMPTS,
            CHOICES,
            prefix=prefix,
            scoring="pmi",
            domain_prompt="Answer:",
        )
    assert_equal_scores(got, [a - b for a, b in zip(conditional, prior, strict=True)])


def test_pmi_of_a_question_that_says_nothing_is_zero() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("bytes")
    got = score_choices(
        model, tokenizer, ["Answer:"], [CHOICES[0]], scoring="pmi", domain_prompt="Answer:"
    )
    np.testing.assert_allclose(got[0], 0, atol=1e-5)


def test_the_tokens_of_the_domain_prompt_are_encoded_once() -> None:
    tokenized = tokenize_domain(make_tokenizer("bytes"), "Answer:", CHOICES, PREFIX)
    assert [len(item.context) for item in tokenized.items] == [1] * len(CHOICES)
    assert len(tokenized.shared) > 10


def test_sum_is_the_default_and_leaves_the_sums_as_they_are() -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("bytes")
    tokenized = tokenize_items(tokenizer, PROMPTS, CHOICES)
    first, second = score_items(model, tokenized), score_items(model, tokenized, "sum")
    assert [row.tobytes() for row in first.log_probs] == [r.tobytes() for r in second.log_probs]
    assert_equal_scores(first.log_probs, naive_scores(model, tokenizer, PROMPTS, CHOICES))


@pytest.mark.parametrize(
    ("task", "name", "expected"),
    [
        ("micro", "default", "\nAnswer:"),
        ("arc", "default", "Question: \n\nAnswer:"),
        ("strategyqa", "default", "Q: \nA:"),
    ],
)
def test_the_domain_prompt_is_the_format_without_question_and_choices(
    task: str, name: str, expected: str
) -> None:
    assert domain_prompt_of(get_prompt(task, name)) == expected


def test_a_chat_models_domain_prompt_stands_in_its_template() -> None:
    tokenizer = make_tokenizer("bytes")
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    prompt = with_chat_template(get_prompt("strategyqa"), tokenizer)
    assert domain_prompt_of(prompt) == "<user>Q: \nA:<assistant>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scoring": "mean"}, "one of sum, per-token, per-char, pmi, got 'mean'"),
        ({"scoring": "pmi"}, "needs a domain prompt"),
    ],
)
def test_a_scoring_that_cannot_be_is_refused_before_the_model_runs(
    options: dict[str, str], message: str
) -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("bytes")
    model.forward = None
    with pytest.raises(ValueError, match=message):
        score_choices(model, tokenizer, PROMPTS, CHOICES, **options)


def test_per_char_refuses_items_without_text() -> None:
    item = TokenizedItem(context=[1, 2], answers=([3], [4, 5]), num_scored=(1, 2))
    tokenized = TokenizedItems(shared=[], items=(item,))
    sums = [np.array([-1.0, -4.0])]
    assert normalize_scores(sums, tokenized, "per-token")[0].tolist() == [-1.0, -2.0]
    with pytest.raises(ValueError, match="made of texts"):
        normalize_scores(sums, tokenized, "per-char")


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [("sum", [-1.0, -4.0]), ("per-token", [-1.0, -2.0]), ("pmi", [1.0, -1.0])],
)
def test_pmi_alone_reads_the_sums_of_the_domain(scoring: str, expected: list[float]) -> None:
    item = TokenizedItem(context=[1, 2], answers=([3], [4, 5]), num_scored=(1, 2))
    tokenized = TokenizedItems(shared=[], items=(item,))
    domain = [np.array([-2.0, -3.0])]
    found = normalize_scores([np.array([-1.0, -4.0])], tokenized, scoring, domain)
    assert found[0].tolist() == expected


@pytest.mark.parametrize("scoring", SCORINGS)
def test_no_items_have_no_scores(scoring: str) -> None:
    model, tokenizer = make_model("llama"), make_tokenizer("bytes")
    got = score_choices(model, tokenizer, [], [], scoring=scoring, domain_prompt="Answer:")
    assert got == []
