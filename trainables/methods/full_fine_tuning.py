"""Full fine-tuning: every weight of the base is trained, and put back when the cell ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces.recipes import FullFineTuning
from trainables.data.items import Item
from trainables.distributed.sharded_model import held, whole_weights, write_weights
from trainables.methods.base.answering import answer_questions
from trainables.methods.base.interface import (
    Answers,
    CellContext,
    Example,
    FittedMethod,
    TrainedState,
)
from trainables.methods.training.loop import make_objective, train, with_epoch_callback
from trainables.models.loading import Base


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tuned:
    context: CellContext
    base: Base

    def answer(self, items: Sequence[Item]) -> Answers:
        return answer_questions(self.context, self.base, items)

    def state(self) -> TrainedState:
        return whole_weights(self.base.model)


@contextmanager
def fitted_weights(
    context: CellContext,
    recipe: FullFineTuning,
    base: Base,
    examples: Sequence[Example],
    *,
    start: TrainedState | None,
) -> Iterator[FittedMethod]:
    """Yields the base with all its weights trained on the examples."""
    with _own_weights(base):
        if start is not None:
            write_weights(base.model, start)
        parameters = list(base.model.parameters())
        objective = make_objective(context, recipe, base, examples)
        fitted = _Tuned(context=context, base=base)
        watched = with_epoch_callback(context, recipe, len(examples), fitted)
        with (
            _trainable(parameters),
            context.execution.engine(base.model, parameters, recipe) as engine,
        ):
            train(watched, recipe, base, examples, objective, engine)
            yield fitted


@contextmanager
def restored_weights(
    context: CellContext, recipe: FullFineTuning, base: Base, state: TrainedState
) -> Iterator[FittedMethod]:
    """Yields the base with the weights of an earlier fit."""
    del recipe  # the weights say it all; the signature is that of every method
    with _own_weights(base):
        write_weights(base.model, state)
        yield _Tuned(context=context, base=base)


@contextmanager
def _trainable(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Lets the parameters have gradients for a while; none is left on them."""
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None


@contextmanager
def _own_weights(base: Base) -> Iterator[None]:
    """Keeps the base's weights on the CPU for a while and puts them back, bit for bit."""
    # Tied weights are one parameter here, so no weight is kept twice; of a sharded base it is this
    # worker's pieces.
    kept = [held(parameter).detach().to("cpu", copy=True) for parameter in base.model.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weight in zip(base.model.parameters(), kept, strict=True):
                held(parameter).copy_(weight)
