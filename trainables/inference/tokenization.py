"""Tokenizes answers: each text is `prefix + prompt + choice`, tokenized as one string.

The common tokens of an item's choices are its context, the rest are its answers. A choice's scored
tokens are those that overlap its characters. Tokenizing every full text would cost more than a
small model's forward pass, so texts are cut at spaces that no token crosses, if the tokenizer
allows it (`_Cutter`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenizers import Encoding
from transformers import PreTrainedTokenizerFast as Tokenizer

from trainables.models.text_start import find_text_start

CUT = re.compile(r".*[A-Za-z0-9](?= \S)", re.DOTALL)
"""Up to the last place where one space follows a letter or digit: where a text may be cut."""

TOKEN_ACROSS_CUT = re.compile("[A-Za-z0-9][ \u0120\u2581]")
"""A token that reaches over such a place; U+0120 and U+2581 stand for the space in the vocabularies
of byte-level and of sentencepiece tokenizers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedItem:
    """One question and its choices, in tokens after the shared ones."""

    context: list[int]
    """Common to all choices and before every scored token."""
    answers: tuple[list[int], ...]
    """The rest of each choice's text."""
    num_scored: tuple[int, ...]
    """How many tokens at the end of each answer are scored."""
    num_chars: tuple[int, ...] = ()
    """Characters of each choice's text without surrounding white space; empty if the tokens were
    not made from text."""

    @property
    def longest(self) -> int:
        """Tokens of the item's longest text, without the shared ones."""
        return len(self.context) + max(len(answer) for answer in self.answers)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedItems:
    """All items of one call."""

    shared: list[int]
    """Start of every text of the call (start tokens and a prefix); encoded once. May be empty."""
    items: tuple[TokenizedItem, ...]


def tokenize_items(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    prefix: str | None = None,
    *,
    start: Sequence[int] | None = None,
) -> TokenizedItems:
    """Returns the tokens of every `prefix + prompt + choice`.

    Args:
        tokenizer: A fast tokenizer.
        prompts: One text per item.
        choices: Per item, its answer texts.
        prefix: Text in front of every prompt.
        start: Tokens in front of every text; None: those that the tokenizer adds itself.

    Raises:
        ValueError: If choices are missing, empty or equal, a choice has no token, or no token
            precedes a scored one.
    """
    _check_choices(prompts, choices)
    prefix = prefix or ""
    first = list(find_text_start(tokenizer).tokens if start is None else start)
    cutter = _find_cutter(tokenizer, prompts, choices, prefix, first)
    head, items = _tokenize(cutter, prompts, choices, prefix, first)
    return _share(head, items, keep=bool(prefix))


def _check_choices(prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> None:
    if len(prompts) != len(choices):
        raise ValueError(
            f"each prompt needs its choices, got {len(prompts)} prompts and {len(choices)} lists"
        )
    for index, texts in enumerate(choices):
        if isinstance(texts, str) or not texts or not all(text.strip() for text in texts):
            raise ValueError(f"choices[{index}] must be non-empty texts, got {texts!r}")
        if len(set(texts)) < len(texts):
            raise ValueError(f"choices[{index}] must differ from one another, got {texts!r}")


class _Cutter:
    """Tokenizes texts in parts that are certain to give the tokens of the whole.

    A part ends between a letter or digit and a space. Where no token of the vocabulary reaches over
    such a place, none can there, whatever is merged; and the rules that split text before merging
    must not look back. Some tokenizers (Llama-2's) add a space in front of every text; a part then
    drops its own leading space.

    Args:
        tokenizer: A fast tokenizer.
        cuts: Whether texts are cut at all.
        adds_space: Whether the tokenizer puts a space in front of a text.
    """

    def __init__(self, tokenizer: Tokenizer, *, cuts: bool, adds_space: bool = False) -> None:
        self.backend = tokenizer.backend_tokenizer
        self.backend.no_truncation()
        self.backend.no_padding()
        self.may_cut = cuts
        self.num_dropped = int(adds_space)

    def place(self, text: str) -> int:
        """Returns where the text may be cut, the later the better; 0: nowhere."""
        match = CUT.match(text) if self.may_cut else None
        return match.end() if match else 0

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Returns the texts' tokens without special ones."""
        return list(self.backend.encode_batch(list(texts), add_special_tokens=False))

    def encode_parts(self, parts: Sequence[str], is_first: Sequence[bool]) -> list[_Part]:
        """Returns the tokens of parts of texts; a part that is not the first begins at a cut."""
        drops = [0 if first else self.num_dropped for first in is_first]
        texts = [text[drop:] for text, drop in zip(parts, drops, strict=True)]
        return [
            _Part(ids=encoding.ids, ends=[end + drop for _, end in encoding.offsets])
            for encoding, drop in zip(self.encode(texts), drops, strict=True)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A part of a text as tokens, and where each ends in it."""

    ids: list[int]
    ends: list[int]


def _find_cutter(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    prefix: str,
    start: list[int],
) -> _Cutter:
    backend = tokenizer.backend_tokenizer
    if "(?<" not in str(backend.pre_tokenizer) and not any(
        map(TOKEN_ACROSS_CUT.search, backend.get_vocab())
    ):
        for adds_space in (False, True):
            cutter = _Cutter(tokenizer, cuts=True, adds_space=adds_space)
            if _cuts_agree(cutter, prompts, choices, prefix, start):
                return cutter
    return _Cutter(tokenizer, cuts=False)


def _cuts_agree(
    cutter: _Cutter,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    prefix: str,
    start: list[int],
) -> bool:
    """Returns whether parts give the tokens of the whole for the first, last, and longest item."""
    if not prompts:
        return True
    longest = max(range(len(prompts)), key=lambda index: len(prompts[index]))
    sample = sorted({0, len(prompts) - 1, longest})
    some_prompts = [prompts[index] for index in sample]
    some_choices = [choices[index] for index in sample]
    head, items = _tokenize(cutter, some_prompts, some_choices, prefix, start)
    whole = cutter.encode(
        [prefix + p + c for p, texts in zip(some_prompts, some_choices, strict=True) for c in texts]
    )
    parts = [head + item.context + answer for item in items for answer in item.answers]
    return parts == [start + encoding.ids for encoding in whole]


def _tokenize(
    cutter: _Cutter,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    prefix: str,
    start: list[int],
) -> tuple[list[int], tuple[TokenizedItem, ...]]:
    """Returns the tokens of the prefix up to its cut, and every item's from there on."""
    prefix_cut = cutter.place(prefix)
    rest = prefix[prefix_cut:]
    cuts = [cutter.place(prompt) for prompt in prompts]
    # A prompt that cannot be cut goes into the tails whole, and the rest of the prefix with it.
    middles = [
        rest + prompt[:cut] if cut else "" for prompt, cut in zip(prompts, cuts, strict=True)
    ]
    tails = [
        prompt[cut:] if cut else rest + prompt for prompt, cut in zip(prompts, cuts, strict=True)
    ]
    head_ids = start + (cutter.encode([prefix[:prefix_cut]])[0].ids if prefix_cut else [])
    is_first = not prefix_cut
    middle_parts = cutter.encode_parts(middles, [is_first] * len(middles))
    texts = [tail + text for tail, row in zip(tails, choices, strict=True) for text in row]
    are_first = [is_first and not cut for cut, row in zip(cuts, choices, strict=True) for _ in row]
    ends = iter(cutter.encode_parts(texts, are_first))
    items = []
    for index, row in enumerate(choices):
        parts = [next(ends) for _ in row]
        firsts = [_first_scored(part, len(tails[index])) for part in parts]
        item = _split_item(index, middle_parts[index].ids, parts, firsts, bool(head_ids))
        items.append(replace(item, num_chars=tuple(len(text.strip()) for text in row)))
    return head_ids, tuple(items)


def _first_scored(part: _Part, start: int) -> int:
    """Returns the index of the first token that reaches beyond character `start`."""
    first = len(part.ends)
    while first > 0 and part.ends[first - 1] > start:
        first -= 1
    return first


def _split_item(
    index: int,
    middle: list[int],
    parts: Sequence[_Part],
    firsts: Sequence[int],
    has_head: bool,
) -> TokenizedItem:
    """Returns the item with the cut between context and answers at the last common token."""
    ids = [part.ids for part in parts]
    for row, first in zip(ids, firsts, strict=True):
        if first == len(row):
            raise ValueError(f"choices[{index}]: the tokenizer makes no token of one of them")
    cut = min(common_length(ids), *firsts) if len(ids) > 1 else firsts[0]
    if not (has_head or middle or cut):
        raise ValueError(
            f"prompts[{index}]: the first token of the text would be scored, but no token precedes "
            "it; give a prompt that ends before its choices begin"
        )
    return TokenizedItem(
        context=middle + ids[0][:cut],
        answers=tuple(row[cut:] for row in ids),
        num_scored=tuple(len(row) - first for row, first in zip(ids, firsts, strict=True)),
    )


def _share(head: list[int], items: tuple[TokenizedItem, ...], *, keep: bool) -> TokenizedItems:
    """Moves the common start of all contexts to the shared tokens, if a prefix was given.

    Each item keeps at least one token, which predicts its first answer token.
    """
    contexts = [head + item.context for item in items]
    length = min(common_length(contexts), min(map(len, contexts)) - 1) if keep and items else 0
    return TokenizedItems(
        shared=contexts[0][:length] if length else [],
        items=tuple(
            replace(item, context=context[length:])
            for context, item in zip(contexts, items, strict=True)
        ),
    )


def common_length(rows: Sequence[list[int]] | Sequence[str]) -> int:
    """Returns how many leading tokens all rows share: those of the least and the greatest row."""
    least, greatest = min(rows), max(rows)
    for index, (a, b) in enumerate(zip(least, greatest, strict=False)):
        if a != b:
            return index
    return min(len(least), len(greatest))
