"""Items of a task, and the hash of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

HASH_LENGTH = 16
"""Hex digits of a text's hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question with its choices, its gold answer and its hardness values."""

    id: str
    """Unique within the task."""
    question: str
    """The question's text, without the choices."""
    choices: tuple[str, ...]
    """At least two distinct answer texts; only the gold text for free answers."""
    answer: int
    """Index of the gold answer in `choices`."""
    hardness: Mapping[str, float] = field(default_factory=dict)
    """Measure -> value, for measures in the data (`grade`, `steps`, ...)."""
    group: str | None = None
    """Items of one group are never separated by a split (same prompt, same passage)."""
    topic: str | None = None
    """Subject or subset, if the data has one."""
    reasoning: str | None = None
    """A worked solution, the target of chain-of-thought training, if the data has one."""


class Asked(Protocol):
    """A question with its choices, labelled or not."""

    @property
    def question(self) -> str:
        """The question's text."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The answer texts."""


def data_hash(items: Iterable[Item]) -> str:
    """Returns the SHA-256 of the normalised items: id, question, choices and gold, sorted by id.

    Surrounding white space, hardness, groups and row order do not count, so the Hub copy and a
    local copy of the same questions have one hash.
    """
    rows = sorted(
        (item.id, item.question.strip(), [choice.strip() for choice in item.choices], item.answer)
        for item in items
    )
    return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()


def text_hash(*texts: str) -> str:
    """Returns the first digits of the SHA-256 of some texts, such as a question and its choices.

    It is the id of an item whose data set has none, and stands for a choice in a run folder. Letter
    case counts, because choices may differ only in case; white space at the ends does not.
    """
    joined = "\x1f".join(text.strip() for text in texts)
    return hashlib.sha256(joined.encode()).hexdigest()[:HASH_LENGTH]


def duplicate_key(item: Asked) -> tuple[str, frozenset[str]]:
    """Returns what two copies of an item share: question and set of choices, folded.

    Letter case and white space are folded; digits, signs and operators stay.
    """
    return _fold(item.question), frozenset(map(_fold, item.choices))


def prompt_key(item: Asked) -> str:
    """Returns what two items share that ask the same thing: the question, folded."""
    return _fold(item.question)


def without_gold(item: Item) -> Item:
    """Returns an item as those see it who have no business with its answer.

    The first choice stands where gold would be, whatever it is; no worked solution, no hardness.
    """
    return replace(item, answer=0, reasoning=None, hardness={})


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())
