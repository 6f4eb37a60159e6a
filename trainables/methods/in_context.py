"""In-context learning: the labelled items are examples in front of every question.

One prompt per seed: the same examples in the same order for all test items. If an item does not fit
behind all of them, examples are dropped from the end, for this item only, and counted in a note.

The state that children read names the examples: it holds ids and hashes, and no text of the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.data.items import Item, text_hash
from trainables.errors import DataError
from trainables.inference.scoring import find_too_long
from trainables.inference.tokenization import TokenizedItems, common_length, tokenize_items
from trainables.methods.base.answering import score_answers, tokenize_questions
from trainables.methods.base.chain_of_thought import generate_answers
from trainables.methods.base.interface import (
    Answers,
    CellContext,
    Example,
    FittedMethod,
    TrainedState,
)
from trainables.methods.base.shown_examples import dropped_note, fit_examples
from trainables.models.loading import Base

STATE = "examples"
"""Name of the state's only tensor: the examples as JSON bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prompted:
    context: CellContext
    base: Base
    examples: tuple[tuple[Item, int], ...]

    def state(self) -> TrainedState:
        known = {item.id: item for item in self.context.items}
        rows = [_row(item, answer, known.get(item.id)) for item, answer in self.examples]
        content = json.dumps(rows, sort_keys=True).encode()
        return {STATE: torch.frombuffer(bytearray(content), dtype=torch.uint8)}

    def answer(self, items: Sequence[Item]) -> Answers:
        """Returns scores of the choices' texts, or generated answers, after the examples."""
        if self.context.cell.recipe.reasoning is not None:
            return generate_answers(self.context, self.base, items, self.examples)
        log_probs: dict[int, NDArray[np.float64]] = {}
        notes: list[str] = []

        def tokenize(places: Sequence[int], num_shown: int) -> TokenizedItems:
            return self._tokenize([items[place] for place in places], num_shown)

        for places, tokenized, num_shown in fit_examples(
            len(items), len(self.examples), tokenize, self._fits
        ):
            asked = [items[place] for place in places]
            shown = self.examples[:num_shown]
            scored = score_answers(self.context, self.base, asked, tokenized, shown)
            log_probs |= dict(zip(places, scored.log_probs, strict=True))
            notes += (*scored.notes, *dropped_note(len(places), num_shown, len(self.examples)))
        return Answers(
            log_probs=[log_probs[place] for place in range(len(items))],
            notes=tuple(dict.fromkeys(notes)),
        )

    def _tokenize(self, items: Sequence[Item], kept: int) -> TokenizedItems:
        prompt = self.context.prompt
        if kept == 0:
            # Raises an error that names an item which does not fit at all.
            return tokenize_questions(self.base, items, prompt)
        texts = [prompt.prompt(item, self.examples[:kept]) for item in items]
        prefix = texts[0][: common_length(texts)]
        return tokenize_items(
            self.base.tokenizer,
            [text[len(prefix) :] for text in texts],
            [prompt.choice_texts(item) for item in items],
            prefix,
            start=self.base.start_of(prompt),
        )

    def _fits(self, tokenized: TokenizedItems) -> list[bool]:
        too_long = find_too_long(self.base.model, tokenized)
        return [place not in too_long for place in range(len(tokenized.items))]


@contextmanager
def fitted_prompt(
    context: CellContext, base: Base, examples: Sequence[Example]
) -> Iterator[FittedMethod]:
    """Yields the base model behind a prompt with the examples, in their order."""
    shown = tuple((example.item, example.answer) for example in examples)
    yield _Prompted(context=context, base=base, examples=shown)


@contextmanager
def restored_prompt(
    context: CellContext, base: Base, state: TrainedState
) -> Iterator[FittedMethod]:
    """Yields the base model behind the prompt of an earlier fit."""
    known = {item.id: item for item in context.items}
    rows = json.loads(bytes(state[STATE].tolist()).decode())
    yield _Prompted(context=context, base=base, examples=tuple(_shown(row, known) for row in rows))


def _row(item: Item, answer: int, known: Item | None) -> dict[str, Any]:
    """Returns an example of the state.

    An item of the task is its id, and the hashes of its choices in the order shown, since the order
    in which the data stores them may reveal gold. Only placeholders, which no data set has, are
    stored as text.
    """
    if known is None or known.question != item.question:
        return {"placeholder": asdict(item), "answer": answer}
    choices = [text_hash(text) for text in item.choices]
    return {"id": item.id, "choices": choices, "answer": answer}


def _shown(row: Any, known: Mapping[str, Item]) -> tuple[Item, int]:
    """Returns the item and the answer of an example of the state.

    Raises:
        DataError: If the task lacks the item, or the state was written by an older version.
    """
    try:
        if "placeholder" in row:
            item = row["placeholder"]
            return Item(**{**item, "choices": tuple(item["choices"])}), row["answer"]
        item = known[row["id"]]
        texts = {text_hash(text): text for text in item.choices}
        choices = tuple(texts[hashed] for hashed in row["choices"])
    except (KeyError, TypeError) as error:
        raise DataError(
            "the examples of its parent's prompt are not items of the task, or were stored by an "
            "older version: remove the parent's folder below cells/ and run the sweep again"
        ) from error
    return replace(item, choices=choices), row["answer"]
