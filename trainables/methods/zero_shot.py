"""Zero-shot: the untrained base model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from trainables.data.items import Item
from trainables.inference.scoring import default_token_budget
from trainables.methods.base.answering import answer_questions, state_key
from trainables.methods.base.interface import Answers, CellContext, FittedMethod
from trainables.models.loading import Base


@dataclass(frozen=True, kw_only=True, slots=True)
class _Untrained:
    context: CellContext
    base: Base

    def answer(self, items: Sequence[Item]) -> Answers:
        context = self.context
        recipe = context.cell.recipe
        if recipe.reasoning is not None or recipe.scoring != "sum" or tuple(items) != context.test:
            return answer_questions(context, self.base, items)
        # The same pass extracts hidden states for probes; it is used whether probes run or not.
        scored = context.states.scores(
            self.base,
            items,
            context.prompt,
            key=state_key(context, context.cell.data_hash),
            layers=context.probe_layers,
            token_budget=context.execution.tokens(default_token_budget(self.base.model)),
        )
        return Answers(log_probs=scored.log_probs, notes=scored.notes)

    def state(self) -> Mapping[str, Tensor]:
        return {}


@contextmanager
def untrained(context: CellContext, base: Base) -> Iterator[FittedMethod]:
    """Yields the untrained base model."""
    yield _Untrained(context=context, base=base)
