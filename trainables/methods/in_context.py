"""In-context: the labelled items stand as examples in front of every question.

One prompt per seed: the same examples in the same order for all test items. Where an item does not
fit behind all of them, examples are dropped from the end, for this item only, and counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.data.items import Item
from trainables.inference.scoring import max_positions
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
from trainables.models.loading import Base

STATE = "examples"
"""Name of the state's one tensor: the examples as JSON, a byte an element."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prompted:
    context: CellContext
    base: Base
    examples: tuple[tuple[Item, int], ...]

    def state(self) -> TrainedState:
        rows = [[asdict(item), answer] for item, answer in self.examples]
        content = json.dumps(rows, sort_keys=True).encode()
        return {STATE: torch.frombuffer(bytearray(content), dtype=torch.uint8)}

    def answer(self, items: Sequence[Item]) -> Answers:
        """Returns the score of each choice's text, or answers that are generated.

        Both stand behind the examples and the question.
        """
        if self.context.cell.recipe.reasoning is not None:
            return generate_answers(self.context, self.base, items, self.examples)
        log_probs: list[NDArray[np.float64]] = [np.empty(0)] * len(items)
        notes: list[str] = []
        num_kept: Counter[int] = Counter()
        waiting = list(range(len(items)))
        for kept in range(len(self.examples), -1, -1):
            if not waiting:
                break
            tokenized = self._tokenize([items[index] for index in waiting], kept)
            fits = [self._fits(tokenized, place) for place in range(len(waiting))]
            chosen = [index for index, fit in zip(waiting, fits, strict=True) if fit]
            if chosen:
                found = [items[index] for index in chosen]
                if len(chosen) < len(waiting):
                    tokenized = self._tokenize(found, kept)
                shown = self.examples[:kept]
                scored = score_answers(self.context, self.base, found, tokenized, shown)
                notes += [note for note in scored.notes if note not in notes]
                for index, scores in zip(chosen, scored.log_probs, strict=True):
                    log_probs[index] = scores
                num_kept[kept] = len(chosen)
            waiting = [index for index, fit in zip(waiting, fits, strict=True) if not fit]
        return Answers(log_probs=log_probs, notes=(*notes, *self._drop_notes(num_kept)))

    def _tokenize(self, items: Sequence[Item], kept: int) -> TokenizedItems:
        prompt = self.context.prompt
        if kept == 0:
            # Names an item that fits nowhere.
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

    def _fits(self, tokenized: TokenizedItems, place: int) -> bool:
        limit = max_positions(self.base.model)
        return limit is None or len(tokenized.shared) + tokenized.items[place].longest <= limit

    def _drop_notes(self, num_kept: Counter[int]) -> list[str]:
        k = len(self.examples)
        return [
            f"{num_items} items: {k - kept} of {k} examples dropped from the end of the prompt, "
            "which would not fit into the model's context"
            for kept, num_items in sorted(num_kept.items())
            if kept < k
        ]


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
    rows = json.loads(bytes(state[STATE].tolist()).decode())
    shown = tuple(
        (Item(**{**item, "choices": tuple(item["choices"])}), answer) for item, answer in rows
    )
    yield _Prompted(context=context, base=base, examples=shown)
