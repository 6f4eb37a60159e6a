"""Greedy generation: continues prompts until they are finished or have used their budget.

Prompts of similar length are continued side by side with a key-value cache
(`trainables.inference.decoding`); their common prefix is encoded once. A finished row leaves the
batch. Architectures whose cache does not support this are detected by comparing two prompts; they
encode the whole text for every token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerFast as Tokenizer

from trainables.distributed.sharded_model import first_workers
from trainables.inference.decoding import CachedRows, Decoder, WholeTexts, filled_up
from trainables.inference.packed_forward import encode_shared
from trainables.inference.scoring import max_positions, structural_fault
from trainables.inference.tokenization import common_length
from trainables.models.oom import is_out_of_memory
from trainables.models.text_start import find_text_start

TAIL = 8
"""Tokens of the prompt that are decoded with the new ones, because some tokenizers drop a leading
space when they decode."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """A model's continuation of a prompt."""

    text: str
    """Up to a stop string, or through the end of the match that finished it."""
    tokens: tuple[int, ...]
    """All generated tokens, including those of a stop string or EOS."""
    stopped: Literal["stop", "eos", "budget"]
    """Reason: a stop string or match, an end token, or the number of tokens."""

    @property
    def num_tokens(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingCriteria:
    """When generation of a text stops."""

    max_new_tokens: int
    stops: tuple[str, ...] = ()
    """The text ends before the first of these."""
    finish: re.Pattern[str] | None = None
    """The text ends after the first match."""
    ends: frozenset[int] = frozenset()
    """Tokens that end the text, in addition to the tokenizer's EOS and the model config's."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not all(self.stops):
            raise ValueError(f"stop strings must not be empty, got {list(self.stops)!r}")

    def end(self, text: str) -> int | None:
        """Returns where the text ends; None if it does not yet."""
        ends = [place for place in map(text.find, self.stops) if place >= 0]
        match = self.finish.search(text) if self.finish else None
        return min([*ends, *([match.end()] if match else [])], default=None)


class GeneratedSequence:
    """A text to which a model appends tokens."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self.backend = tokenizer.backend_tokenizer
        self.tail = list(prompt[-TAIL:])
        self.start = len(self._decoded([]))
        self.tokens: list[int] = []
        self.text = ""
        self.stopped: Literal["stop", "eos", "budget"] | None = None

    def add(self, token: int, rule: StoppingCriteria, ends: frozenset[int]) -> None:
        """Appends a token and checks whether the text is finished."""
        self.tokens.append(token)
        if token in ends:
            self.stopped = "eos"
            return
        self.text = self._decoded(self.tokens)[self.start :]
        end = rule.end(self.text)
        if end is not None:
            self.text, self.stopped = self.text[:end], "stop"
        elif len(self.tokens) == rule.max_new_tokens:
            self.stopped = "budget"

    def finished(self) -> Generation:
        """Returns the finished text.

        Raises:
            ValueError: If it is not finished.
        """
        if self.stopped is None:
            raise ValueError(f"the text is not finished after {len(self.tokens)} tokens")
        return Generation(text=self.text, tokens=tuple(self.tokens), stopped=self.stopped)

    def _decoded(self, tokens: Sequence[int]) -> str:
        return str(self.backend.decode([*self.tail, *tokens], skip_special_tokens=False))


CPU_CACHE_TOKENS = 32768
"""Tokens that a batch's cache may hold on a CPU, including prefix and budget of every row."""

GPU_CACHE_TOKENS = 65536
"""The same on a GPU: 34 GB for a model of 7 B parameters without grouped heads, in 16 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedPrompts:
    """All prompts of one call."""

    shared: list[int]
    """Begins every prompt (its start and a prefix); encoded once. May be empty."""
    rows: tuple[list[int], ...]
    """The rest of each prompt, at least one token."""

    def length(self, index: int) -> int:
        """Returns how many tokens a prompt has."""
        return len(self.shared) + len(self.rows[index])


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedTexts:
    """Texts of one call."""

    generations: list[Generation]
    notes: tuple[str, ...] = ()


def tokenize_prompts(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    prefix: str = "",
    *,
    start: Sequence[int] | None = None,
) -> TokenizedPrompts:
    """Returns the tokens of every `prefix + prompt`, each tokenised as one string.

    Args:
        tokenizer: A fast tokenizer.
        prompts: One text per item.
        prefix: Text in front of every prompt.
        start: Tokens in front of every text; None: those that the tokenizer adds itself.

    Raises:
        ValueError: If a prompt has no token.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    first = list(find_text_start(tokenizer).tokens if start is None else start)
    texts = [prefix + prompt for prompt in prompts]
    rows = [
        first + encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=False)
    ]
    for index, row in enumerate(rows):
        if not row:
            raise ValueError(f"prompts[{index}] has no token to continue, got {texts[index]!r}")
    keep = bool(prefix) and len(rows) > 1
    shared = min(common_length(rows), min(map(len, rows)) - 1) if keep else 0
    return TokenizedPrompts(
        shared=rows[0][:shared] if shared else [], rows=tuple(row[shared:] for row in rows)
    )


def generate_tokens(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    tokenized: TokenizedPrompts,
    rule: StoppingCriteria,
    *,
    token_budget: int | None = None,
) -> GeneratedTexts:
    """Returns the greedy continuations, and a note where the architecture needs the slow way.

    Raises:
        ValueError: If a prompt with its budget is longer than the model's context.
    """
    check_context_length(model, tokenized, rule.max_new_tokens)
    if not tokenized.rows:
        return GeneratedTexts(generations=[])
    is_cpu = model.device.type == "cpu"
    token_budget = token_budget or (CPU_CACHE_TOKENS if is_cpu else GPU_CACHE_TOKENS)
    made: dict[int, Generation] = {}
    with torch.inference_mode():
        fault = find_cache_fault(model, tokenized)
        notes = () if fault is None else (f"generated by reading whole texts: {fault}",)
        for indices, decoder in _decoders(model, tokenized, rule, token_budget, fault is None):
            texts = [
                GeneratedSequence(tokenizer, tokenized.shared + tokenized.rows[index])
                for index in indices
            ]
            _decode(model, decoder, texts, rule, end_tokens(model, tokenizer) | rule.ends)
            made |= {i: text.finished() for i, text in zip(indices, texts, strict=True)}
    return GeneratedTexts(generations=[made[i] for i in range(len(made))], notes=notes)


def check_context_length(
    model: PreTrainedModel, tokenized: TokenizedPrompts, max_new_tokens: int
) -> None:
    """Checks that every prompt and its budget fit into the model's context.

    Raises:
        ValueError: Naming the first prompt that does not fit.
    """
    limit = max_positions(model)
    for index in range(len(tokenized.rows)):
        length = tokenized.length(index)
        if limit is not None and length + max_new_tokens > limit:
            raise ValueError(
                f"prompts[{index}]: {length} tokens and {max_new_tokens} new ones, the model's "
                f"context holds {limit}; leave examples out or use a model with a longer context"
            )


def end_tokens(model: PreTrainedModel, tokenizer: Tokenizer) -> frozenset[int]:
    """Returns the tokens that end a text: the tokenizer's EOS and those of the model's config."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ends = named if isinstance(named, list) else [named]
    return frozenset(token for token in (*ends, tokenizer.eos_token_id) if token is not None)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def find_cache_fault(model: PreTrainedModel, tokenized: TokenizedPrompts) -> str | None:
    """Returns why the model cannot continue rows side by side with a cache; None if it can.

    Structure is asked first; then the shortest and the longest prompt are continued by a token both
    ways.
    """
    fault = structural_fault(model)
    if fault is not None:
        return fault
    order = sorted(tokenized.rows, key=len)
    rows = [order[0], order[-1]]
    whole = [WholeTexts(model, tokenized.shared + row) for row in rows]
    whole_BV = torch.cat([text.start() for text in whole])
    tokens = first_workers(model, whole_BV.argmax(dim=-1)).tolist()
    next_BV = torch.cat([text.step([token]) for text, token in zip(whole, tokens, strict=True)])
    try:
        cached = CachedRows(model, encode_shared(model, tokenized.shared), rows, 1)
        pairs = ((cached.start(), whole_BV), (cached.step(tokens), next_BV))
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__} with a cache: {error}"
    for got_BV, expected_BV in pairs:
        spreads = torch.stack([(got_BV - expected_BV).std(), expected_BV.std()])
        difference, spread = first_workers(model, spreads).tolist()
        if not difference <= _tolerance(model) * spread:
            return f"with a cache, logits of spread {spread:.2g} differ by {difference:.2g}"
    return None


def _tolerance(model: PreTrainedModel) -> float:
    """Returns the difference of two right ways to compute logits, in units of their spread."""
    if getattr(model.config, "quantization_config", None) is not None:
        return 0.2
    return 1e-3 if model.dtype == torch.float32 else 0.05


def _decoders(
    model: PreTrainedModel,
    tokenized: TokenizedPrompts,
    rule: StoppingCriteria,
    token_budget: int,
    has_cache: bool,
) -> Iterator[tuple[list[int], Decoder]]:
    """Yields batches of prompts, longest first, as many as the cache may hold."""
    rows = tokenized.rows
    order = sorted(range(len(rows)), key=lambda index: (-len(rows[index]), index))
    if not has_cache:
        for index in order:
            yield [index], WholeTexts(model, tokenized.shared + rows[index])
        return
    shared = encode_shared(model, tokenized.shared)
    start = 0
    while start < len(order):
        room = tokenized.length(order[start]) + rule.max_new_tokens
        indices = order[start : start + max(1, token_budget // room)]
        batch = [rows[index] for index in indices]
        yield indices, CachedRows(model, shared, batch, rule.max_new_tokens)
        start += len(indices)


def _decode(
    model: PreTrainedModel,
    decoder: Decoder,
    texts: Sequence[GeneratedSequence],
    rule: StoppingCriteria,
    ends: frozenset[int],
) -> None:
    """Continues the texts until all are done.

    Workers that hold a model in pieces write what the first one does: all stop at one step.
    """
    live = list(texts)
    logit_BV = decoder.start()
    while True:
        tokens = first_workers(model, logit_BV.argmax(dim=-1)).tolist()
        for text, token in zip(live, tokens, strict=True):
            text.add(token, rule, ends)
        kept = filled_up([row for row, text in enumerate(live) if text.stopped is None])
        if not kept:
            return
        if len(kept) < len(live):
            decoder.keep(kept)
            live = [live[row] for row in kept]
        logit_BV = decoder.step([tokens[row] for row in kept])
