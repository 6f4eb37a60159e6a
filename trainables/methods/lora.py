"""LoRA and QLoRA: a low-rank adapter on the frozen base, with its own head or a scalar one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from search_spaces.recipes import AdapterTraining
from trainables.data.items import Item
from trainables.data.seeding import seed_of
from trainables.methods.base.answering import answer_questions
from trainables.methods.base.interface import (
    Answers,
    CellContext,
    Example,
    FittedMethod,
    TrainedState,
)
from trainables.methods.training.adapters import Adapter, adapter_on, own_randomness
from trainables.methods.training.loop import make_objective, train, with_epoch_callback
from trainables.methods.training.objectives import Objective
from trainables.methods.training.reward_head import RewardHead, answer_with_head, fresh_head
from trainables.models.loading import Base


@dataclass(frozen=True, kw_only=True, slots=True)
class _Adapted:
    context: CellContext
    base: Base
    adapter: Adapter
    head: RewardHead | None

    def answer(self, items: Sequence[Item]) -> Answers:
        with self.adapter.without_dropout(), self.adapter.merged():
            if self.head is not None:
                return answer_with_head(self.context, self.base, self.head, items)
            return answer_questions(self.context, self.base, items)

    def state(self) -> TrainedState:
        head = {} if self.head is None else self.head.state()
        return {**self.adapter.state(), **head}


@contextmanager
def fitted_adapter(
    context: CellContext,
    recipe: AdapterTraining,
    base: Base,
    examples: Sequence[Example],
    *,
    start: TrainedState | None,
    objective: Objective | None = None,
) -> Iterator[FittedMethod]:
    """Yields the base with an adapter trained on the examples; no objective: the recipe's loss."""
    with adapter_on(base, recipe, seed_of("adapter", *context.names)) as adapter:
        head = _head(context, recipe, base)
        if start is not None:
            _load(adapter, head, start)
        parameters: list[nn.Parameter] = list(adapter.parameters)
        if head is not None:
            parameters.append(head.weight_H)
        score = None if head is None else head.scores
        objective = objective or make_objective(context, recipe, base, examples, score)
        fitted = _Adapted(context=context, base=base, adapter=adapter, head=head)
        watched = with_epoch_callback(context, recipe, len(examples), fitted)
        with context.execution.engine(base.model, parameters, recipe) as engine:
            seed = seed_of("dropout", *context.names)
            with own_randomness(base.device, seed), adapter.training():
                train(watched, recipe, base, examples, objective, engine)
            yield fitted


@contextmanager
def restored_adapter(
    context: CellContext, recipe: AdapterTraining, base: Base, state: TrainedState
) -> Iterator[FittedMethod]:
    """Yields the base with the adapter of an earlier fit."""
    with adapter_on(base, recipe, 0) as adapter:
        head = _head(context, recipe, base)
        _load(adapter, head, state)
        yield _Adapted(context=context, base=base, adapter=adapter, head=head)


def _head(context: CellContext, recipe: AdapterTraining, base: Base) -> RewardHead | None:
    if recipe.head == "language model":
        return None
    return fresh_head(base, seed_of("reward head", *context.names))


def _load(adapter: Adapter, head: RewardHead | None, state: TrainedState) -> None:
    adapter.load(state)
    if head is not None:
        head.load(state)
