"""Generated texts: how one grows, and when it is done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerFast as Tokenizer

TAIL = 8
"""Tokens of the prompt that are decoded with the new ones: some tokenizers drop the space at the
beginning of what they decode."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """A text that a model continued a prompt with."""

    text: str
    """Up to a stop string, or through the end of the match that finished it."""
    tokens: tuple[int, ...]
    """All that were generated, those of a stop string or EOS as well."""
    stopped: Literal["stop", "eos", "budget"]
    """What ended it: its text, the model's own end, or the number of tokens."""

    @property
    def num_tokens(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingCriteria:
    """When a text is done."""

    max_new_tokens: int
    stops: tuple[str, ...] = ()
    """The text ends before the first of these."""
    finish: re.Pattern[str] | None = None
    """The text ends behind the first match."""
    ends: frozenset[int] = frozenset()
    """Tokens that end the text, beside the tokenizer's EOS and those of the model's config."""

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
        """Appends a token and sees whether the text is done."""
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
        """Returns the text that is done.

        Raises:
            ValueError: If it is not done yet.
        """
        if self.stopped is None:
            raise ValueError(f"the text is not done after {len(self.tokens)} tokens")
        return Generation(text=self.text, tokens=tuple(self.tokens), stopped=self.stopped)

    def _decoded(self, tokens: Sequence[int]) -> str:
        return str(self.backend.decode([*self.tail, *tokens], skip_special_tokens=False))
