"""Full fine-tuning: every weight of the base is trained, and restored when the cell ends.

Weights in 16 bits are trained through fp32 masters. A cell's state holds the masters; scoring uses
them cast to 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.recipes import FullFineTuning
from trainables.data.items import Item
from trainables.distributed.mixed_precision import cast_masters, master_pairs, master_weights
from trainables.distributed.sharded_model import local_shard, whole_weights, write_weights
from trainables.methods.base.answering import answer_questions
from trainables.methods.base.interface import (
    Answers,
    CellContext,
    Example,
    FittedMethod,
    TrainedState,
)
from trainables.methods.training.loop import make_objective, train, with_epoch_callback
from trainables.methods.training.objectives import Objective
from trainables.models.loading import Base


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tuned:
    context: CellContext
    base: Base
    weights: Mapping[str, Tensor]
    """By name, in fp32 where they were trained."""

    def answer(self, items: Sequence[Item]) -> Answers:
        return answer_questions(self.context, self.base, items)

    def state(self) -> TrainedState:
        return whole_weights(self.weights)


@contextmanager
def fitted_weights(
    context: CellContext,
    recipe: FullFineTuning,
    base: Base,
    examples: Sequence[Example],
    *,
    start: TrainedState | None,
    objective: Objective | None = None,
) -> Iterator[FittedMethod]:
    """Yields the base with all weights trained on the examples; no objective: the recipe's loss."""
    with _own_weights(base):
        parameters = list(base.model.parameters())
        weights = master_weights(base.model)
        masters = list(weights.values())
        if start is not None:
            write_weights(weights, start)
            cast_masters(master_pairs(parameters, masters))
        objective = objective or make_objective(context, recipe, base, examples)
        fitted = _Tuned(context=context, base=base, weights=weights)
        watched = with_epoch_callback(context, recipe, len(examples), fitted)
        with (
            _trainable(parameters),
            context.execution.engine(base.model, parameters, recipe, masters) as engine,
        ):
            train(watched, recipe, base, examples, objective, engine)
            yield fitted


@contextmanager
def restored_weights(
    context: CellContext, recipe: FullFineTuning, base: Base, state: TrainedState
) -> Iterator[FittedMethod]:
    """Yields the base with the weights of an earlier fit."""
    del recipe  # not needed here, but all methods have the same signature
    with _own_weights(base):
        write_weights(dict(base.model.named_parameters()), state)
        yield _Tuned(context=context, base=base, weights=state)


@contextmanager
def _trainable(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Enables the parameters' gradients for a while and removes them afterwards."""
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
    """Saves the base's weights on the CPU and restores them afterwards, bit for bit."""
    # Tied weights are one parameter here, so no weight is saved twice. Of a sharded base, each
    # worker saves its shards.
    kept = [
        local_shard(parameter).detach().to("cpu", copy=True)
        for parameter in base.model.parameters()
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weight in zip(base.model.parameters(), kept, strict=True):
                local_shard(parameter).copy_(weight)
