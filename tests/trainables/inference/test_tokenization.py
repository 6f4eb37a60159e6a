"""Answers as tokens: cutting texts changes no token, and the scored tokens are the choice's."""

from __future__ import annotations

import pytest

from tests.support.tiny_models import TOKENIZERS, make_items, make_tokenizer
from trainables.inference.tokenization import TokenizedItems, _Cutter, tokenize_items

ITEMS = make_items(30, seed=2)
PROMPTS = [f"Question: {item.question}\nAnswer:" for item in ITEMS]
CHOICES = [[f" {choice}" for choice in item.choices] for item in ITEMS]
ODD_PROMPTS = [
    "",
    "a",
    "a  b",
    "\n\n",
    "5 apples and\t6  pears:\n",
    "caf\u00e9 cr\u00e8me \u4e2d\u6587",
    "x y ",
]
ODD_CHOICES = [
    ["b", " b", "  b"],
    [" c d", "c d"],
    [".", "?!"],
    ["\u00e9", " \u4e2d"],
    ["a b c", "a b"],
]


def texts_of(tokenized: TokenizedItems) -> list[list[int]]:
    return [
        tokenized.shared + item.context + answer
        for item in tokenized.items
        for answer in item.answers
    ]


@pytest.mark.parametrize("prefix", [None, "", "ab cd ef: gh\n\n", "ab ", "\u00e9"])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_tokens_are_those_of_the_whole_text(kind: str, prefix: str | None) -> None:
    tokenizer = make_tokenizer(kind)
    pairs = [(p, c) for p in ODD_PROMPTS for c in ODD_CHOICES] if kind == "bytes" else []
    prompts = [*PROMPTS, *(p for p, _ in pairs)]
    choices = [*CHOICES, *(c for _, c in pairs)]
    whole = [
        [0, *tokenizer((prefix or "") + prompt + choice, add_special_tokens=False)["input_ids"]]
        for prompt, texts in zip(prompts, choices, strict=True)
        for choice in texts
    ]
    assert texts_of(tokenize_items(tokenizer, prompts, choices, prefix)) == whole


@pytest.mark.parametrize("kind", ["bytes", "bytes prefixed", "prepended", "metaspace"])
def test_a_long_prefix_is_tokenised_a_few_times_only(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole texts of a few examples each would take a large model's tokenizer minutes a cell."""
    tokenizer, seen, encode = make_tokenizer(kind), [0], _Cutter.encode

    def counted(self: _Cutter, texts: list[str]) -> object:
        seen[0] += sum(map(len, texts))
        return encode(self, texts)

    monkeypatch.setattr(_Cutter, "encode", counted)
    prefix = "\n\n".join(PROMPTS[:20]) + "\n\n"
    tokenize_items(tokenizer, PROMPTS, CHOICES, prefix)
    whole = sum(len(prefix + p + c) for p, row in zip(PROMPTS, CHOICES, strict=True) for c in row)
    assert seen[0] < 0.4 * whole


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_choice_of_one_letter_is_scored_behind_any_cut(kind: str) -> None:
    tokenizer = make_tokenizer(kind)
    prompt, texts = "ab cd ef:", ["a", "bc"]
    (item,) = tokenize_items(tokenizer, [prompt], [texts], "gh ij\n\n").items
    whole = [
        tokenizer("gh ij\n\n" + prompt + text, return_offsets_mapping=True)["offset_mapping"]
        for text in texts
    ]
    start = len("gh ij\n\n" + prompt)
    assert item.num_scored == tuple(sum(end > start for _, end in row) for row in whole)


def test_scored_tokens_overlap_the_choice() -> None:
    tokenizer = make_tokenizer("bytes")
    tokenized = tokenize_items(tokenizer, PROMPTS, CHOICES)
    for prompt, texts, item in zip(PROMPTS, CHOICES, tokenized.items, strict=True):
        for text, answer, scored in zip(texts, item.answers, item.num_scored, strict=True):
            encoded = tokenizer(prompt + text, return_offsets_mapping=True)
            ends = [end for _, end in encoded["offset_mapping"]]
            assert scored == sum(end > len(prompt) for end in ends)
            assert tokenizer.decode(answer[-scored:]) == text


def test_the_context_is_all_that_the_choices_share_before_their_scored_tokens() -> None:
    tokenizer = make_tokenizer("words")
    tokenized = tokenize_items(tokenizer, ["ab:", "ab:"], [[" x y", " x z"], [" x", " y"]])
    lengths = [(len(item.context), [len(a) for a in item.answers]) for item in tokenized.items]
    assert lengths == [(3, [2, 2]), (3, [1, 1])]  # BOS, word, colon; then the answers alone


def test_a_prefix_is_shared_as_far_as_the_tokens_agree() -> None:
    tokenizer = make_tokenizer("bytes")
    prefix = "ab cd ef: gh\n\n"
    tokenized = tokenize_items(tokenizer, PROMPTS, CHOICES, prefix)
    own = tokenizer(prefix, add_special_tokens=False)["input_ids"]
    assert tokenized.shared[1 : len(own)] == own[: len(own) - 1]
    assert min(len(item.context) for item in tokenized.items) >= 1
    assert tokenize_items(tokenizer, PROMPTS, CHOICES).shared == []


def test_truncation_and_padding_of_the_tokenizer_file_are_not_applied() -> None:
    tokenizer = make_tokenizer("bytes")
    expected = texts_of(tokenize_items(tokenizer, PROMPTS, CHOICES))
    tokenizer.backend_tokenizer.enable_truncation(5)
    tokenizer.backend_tokenizer.enable_padding(length=90)
    assert texts_of(tokenize_items(tokenizer, PROMPTS, CHOICES)) == expected


def test_the_bos_can_be_left_to_the_text() -> None:
    tokenizer = make_tokenizer("bytes")
    with_bos = tokenize_items(tokenizer, PROMPTS, CHOICES)
    without = tokenize_items(tokenizer, PROMPTS, CHOICES, start=())
    assert texts_of(with_bos) == [[0, *text] for text in texts_of(without)]


def test_prompts_and_choices_must_match() -> None:
    with pytest.raises(ValueError, match="2 prompts and 1 lists"):
        tokenize_items(make_tokenizer("bytes"), ["a", "b"], [[" c"]])
