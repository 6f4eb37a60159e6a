"""Fits and restores methods: `fit` and `restore` choose by the cell's recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from search_spaces.recipes import AdapterTraining, FullFineTuning, InContext, LinearProbe
from trainables.data.items import Item
from trainables.distributed.worker_group import WorkerGroup
from trainables.methods.base.interface import (
    Answers,
    CellContext,
    Example,
    FittedMethod,
    TrainedState,
)
from trainables.methods.full_fine_tuning import fitted_weights, restored_weights
from trainables.methods.in_context import fitted_prompt, restored_prompt
from trainables.methods.linear_probe import fitted_probe, restored_probe
from trainables.methods.lora import fitted_adapter, restored_adapter
from trainables.methods.zero_shot import untrained
from trainables.models.loading import Base


def fit(
    context: CellContext,
    base: Base,
    examples: Sequence[Example],
    *,
    start: TrainedState | None = None,
) -> AbstractContextManager[FittedMethod]:
    """Fits the cell's method to the examples; the base is restored when the context ends.

    Equal arguments give equal bytes, whatever ran before in this process.

    Args:
        context: Of the cell.
        base: The cell's base model, in the quantization of its recipe.
        examples: Labelled items in draw order; none for zero-shot.
        start: Weights to train on from, of an earlier fit; None: from the base.

    Raises:
        ValueError: If an item does not fit into the model's context.
        TrainingError: If a loss or gradient is not finite; names the update and the items.
    """
    return _broadcast_answers(_fit(context, base, examples, start), context.execution.worker_group)


def _fit(
    context: CellContext, base: Base, examples: Sequence[Example], start: TrainedState | None
) -> AbstractContextManager[FittedMethod]:
    recipe = context.cell.recipe
    if isinstance(recipe, InContext):
        return fitted_prompt(context, base, examples)
    if isinstance(recipe, LinearProbe):
        return fitted_probe(context, recipe, base, examples)
    if isinstance(recipe, AdapterTraining):
        return fitted_adapter(context, recipe, base, examples, start=start)
    if isinstance(recipe, FullFineTuning):
        return fitted_weights(context, recipe, base, examples, start=start)
    return untrained(context, base)


def restore(
    context: CellContext, base: Base, state: TrainedState
) -> AbstractContextManager[FittedMethod]:
    """Restores an earlier fit, whose answers are the same bytes again."""
    return _broadcast_answers(_restore(context, base, state), context.execution.worker_group)


def _restore(
    context: CellContext, base: Base, state: TrainedState
) -> AbstractContextManager[FittedMethod]:
    recipe = context.cell.recipe
    if isinstance(recipe, InContext):
        return restored_prompt(context, base, state)
    if isinstance(recipe, LinearProbe):
        return restored_probe(context, recipe, base, state)
    if isinstance(recipe, AdapterTraining):
        return restored_adapter(context, recipe, base, state)
    if isinstance(recipe, FullFineTuning):
        return restored_weights(context, recipe, base, state)
    return untrained(context, base)


@contextmanager
def _broadcast_answers(
    context: AbstractContextManager[FittedMethod], worker_group: WorkerGroup
) -> Iterator[FittedMethod]:
    """Yields the fitted method; in a worker group all workers return the first worker's scores."""
    with context as fitted:
        yield (
            fitted
            if worker_group.size == 1
            else _Broadcast(fitted=fitted, worker_group=worker_group)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Broadcast:
    fitted: FittedMethod
    worker_group: WorkerGroup

    def answer(self, items: Sequence[Item]) -> Answers:
        answers = self.fitted.answer(items)
        scores = answers.log_probs
        if scores is None:  # texts go into the record only, which the first worker writes
            return answers
        shared = self.worker_group.broadcast_decision(lambda: [row.tolist() for row in scores])
        return replace(answers, log_probs=[np.array(row, dtype=np.float64) for row in shared])

    def state(self) -> TrainedState:
        return self.fitted.state()
