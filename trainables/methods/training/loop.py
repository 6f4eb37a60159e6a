"""Training of weights by gradient steps: an adapter's, or the model's own.

Each optimizer update uses exactly one batch of the recipe, summed over micro-batches of similar
length. No item is dropped, and the learning rate's schedule counts the actual updates. Losses are
in `trainables.methods.training.objectives`, optimizers in `trainables.distributed.engine`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice

from search_spaces.recipes import WeightTraining, num_updates, updates_per_epoch
from trainables.data.seeding import generator
from trainables.distributed.engine import Engine
from trainables.inference.packing import plan_batches
from trainables.inference.tokenization import TokenizedItems
from trainables.methods.base.interface import CellContext, Example, FittedMethod
from trainables.methods.training.gradient_checkpointing import checkpointed
from trainables.methods.training.objectives import (
    AnswerScores,
    Objective,
    choice_objective,
    part_of,
    text_objective,
)
from trainables.methods.training.resume import TrainingProgress
from trainables.models.loading import Base

MICRO_BATCH_TOKENS = {"cpu": 1024}
"""Tokens of a micro-batch by kind of device, padding included: as many as fit a core's cache."""

DEFAULT_MICRO_BATCH_TOKENS = 8192
"""On a GPU: enough to keep it busy with a model of 7 B parameters."""

FINAL_FACTOR = 0.1
"""Learning rate of the last update, as a share of the peak."""


class TrainingError(RuntimeError):
    """A training that cannot continue: its cell fails, other cells of the block run on."""


def make_objective(
    context: CellContext,
    recipe: WeightTraining,
    base: Base,
    examples: Sequence[Example],
    score: AnswerScores | None = None,
) -> Objective:
    """Returns the recipe's loss on the examples.

    Args:
        context: Of the cell.
        recipe: Names the loss.
        base: The base model.
        examples: Labelled items.
        score: Scores the choices; None: by their text's log-probability.

    Raises:
        ValueError: As in `trainables.methods.training.objectives`.
    """
    if recipe.loss == "text":
        return text_objective(base, examples, context.prompt)
    return choice_objective(base, examples, context.prompt, score)


def train(
    context: CellContext,
    recipe: WeightTraining,
    base: Base,
    examples: Sequence[Example],
    objective: Objective,
    engine: Engine,
) -> None:
    """Trains the engine's parameters in place; logs a row per update.

    If the execution has a checkpoint, an interrupted training resumes from it.

    Raises:
        TrainingError: If the loss or its gradient is not finite; names the update and the items.
    """
    budget = micro_batch_tokens(context, base)
    batches = list(draw_batches(len(examples), recipe, context.names))
    progress = TrainingProgress(
        checkpoint=context.execution.checkpoint,
        engine=engine,
        log=context.log,
        device=base.device,
    )
    progress.restore()
    with checkpointed(base, context.execution, budget):
        for update, batch in islice(enumerate(batches), progress.num_done, None):
            rate = recipe.learning_rate * learning_rate_factor(update, len(batches), recipe.warm_up)
            loss = backward(objective, engine, batch, budget)
            while math.isfinite(loss) and engine.overflows():
                loss = backward(objective, engine, batch, budget)
            if not math.isfinite(loss) or not engine.step(rate):
                ids = [examples[index].item.id for index in batch]
                raise not_finite(loss, update, len(batches), rate, ids)
            progress.done({"step": float(update + 1), "loss": loss, "learning_rate": rate})
    engine.finish()


def micro_batch_tokens(context: CellContext, base: Base) -> int:
    """Returns how many tokens a micro-batch may hold on the base's device."""
    usual = MICRO_BATCH_TOKENS.get(base.device.type, DEFAULT_MICRO_BATCH_TOKENS)
    return context.execution.tokens(usual)


def learning_rate_factor(update: int, num_updates: int, warm_up: float) -> float:
    """Returns the share of the peak at an update, 0 to num_updates - 1.

    It rises linearly to 1 during warm-up (at least the first update), then decays linearly to a
    tenth at the last update.
    """
    num_rising = max(1, math.ceil(warm_up * num_updates))
    if update < num_rising:
        return (update + 1) / num_rising
    passed = (update + 1 - num_rising) / (num_updates - num_rising)
    return 1.0 - (1.0 - FINAL_FACTOR) * passed


def draw_batches(
    num_items: int, recipe: WeightTraining, names: tuple[str | int, ...]
) -> Iterator[list[int]]:
    """Returns the items of every update; every epoch has each item once, in a new order."""
    return islice(_endless_batches(num_items, recipe, names), num_updates(recipe, num_items))


def _endless_batches(
    num_items: int, recipe: WeightTraining, names: tuple[str | int, ...]
) -> Iterator[list[int]]:
    for epoch in count():
        order = list(range(num_items))
        generator("order", *names, epoch).shuffle(order)
        for start in range(0, num_items, recipe.batch_size):
            yield order[start : start + recipe.batch_size]


def backward(objective: Objective, engine: Engine, batch: Sequence[int], budget: int) -> float:
    """Adds the batch's gradient, micro-batch by micro-batch, and returns its mean loss.

    Args:
        objective: Of all labelled items.
        engine: Takes the gradient; its workers share the batch's items.
        batch: Places of this update's items.
        budget: Tokens of a micro-batch.
    """
    plans = [
        micro_batches(objective.tokens, batch[rank :: engine.world_size], budget)
        for rank in range(engine.world_size)
    ]
    number = max(map(len, plans))
    mine = plans[engine.rank]
    total = 0.0
    for turn in range(number):
        # All workers take the same number of turns: one that has run out repeats an item, unused.
        is_mine = turn < len(mine)
        loss = objective.loss(mine[turn] if is_mine else [batch[0]]) / len(batch)
        loss = loss * float(engine.world_size if is_mine else 0)
        engine.backward(loss, is_last=turn == number - 1)
        total += float(loss.detach())
    return engine.mean(total)


def micro_batches(tokens: TokenizedItems, rows: Sequence[int], budget: int) -> list[list[int]]:
    """Returns the rows in batches of similar length, each within the budget of tokens."""
    chosen = part_of(tokens, rows)
    return [[rows[place] for place in places] for places in plan_batches(chosen, budget)]


def not_finite(
    loss: float, update: int, num_updates: int, rate: float, ids: Sequence[str]
) -> TrainingError:
    """Returns the error for a loss or gradient that is not finite."""
    what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
    return TrainingError(
        f"{what} at update {update + 1} of {num_updates} (learning rate {rate:g}); "
        f"items: {', '.join(ids)}; try a lower learning rate or dtype float32"
    )


def with_epoch_callback(
    context: CellContext, recipe: WeightTraining, num_items: int, fitted: FittedMethod
) -> CellContext:
    """Returns a context that calls its `after_epoch` after each epoch and the last update.

    Training gives the same numbers with and without a callback that only asks for answers.

    Args:
        context: Of the cell.
        recipe: Determines the updates per epoch.
        num_items: Labelled items.
        fitted: The method in training.
    """
    callback = context.after_epoch
    if callback is None:
        return context
    per_epoch, last = updates_per_epoch(recipe, num_items), num_updates(recipe, num_items)

    def log(row: Mapping[str, float]) -> None:
        context.log(row)
        step = int(row["step"])
        if step % per_epoch == 0 or step == last:
            callback(math.ceil(step / per_epoch), fitted)

    return replace(context, log=log)
