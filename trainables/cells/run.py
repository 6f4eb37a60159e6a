"""One cell: its labels made, its method run, every test item answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from search_spaces.recipes import PolicyDPO, WeightTraining
from trainables.cells.policy import PolicyResult, RewardModel, run_policy
from trainables.data.items import Item
from trainables.data.label_noise import NoiseKind, noisy_answers, random_answers
from trainables.data.prompts.formats import trivial_items
from trainables.methods.base.choice_orders import average_over_orders, orders_of, score_in_orders
from trainables.methods.base.interface import (
    Answers,
    CellContext,
    Example,
    FittedMethod,
    TrainedState,
)
from trainables.methods.dispatch import fit
from trainables.methods.training.gradient_checkpointing import checkpointing_notes
from trainables.methods.training.loop import micro_batch_tokens
from trainables.models.loading import Base
from trainables.models.oom import find_executable_batch_size, halved_note
from trainables.self_training.rounds import Round, UnlabelledPool, run_round


@dataclass(frozen=True, kw_only=True, slots=True)
class CellInputs:
    """Everything a cell's numbers are made of, besides its base model."""

    context: CellContext
    labelled: tuple[Item, ...]
    """In draw order; empty for zero-shot."""
    test: tuple[Item, ...]
    """Every frozen test item."""
    pool: UnlabelledPool | None = None
    """For a round of self-training."""
    reward_model: RewardModel | None = None
    """For a policy that it labels for."""
    keeps_state: bool = False
    """Whether other cells start from this one's trained state."""
    restart: Callable[[], None] = lambda: None
    """Called before the cell is run again from its start: what it logged so far does not count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellResult:
    """What a cell found."""

    answers: Answers
    """To the test items, in the order given."""
    state: TrainedState | None = None
    round: Round | None = None
    policy: PolicyResult | None = None
    notes: tuple[str, ...] = field(default=())
    execution: Mapping[str, Any] = field(default_factory=dict)
    """How it was run, where that is not the usual way: entries of the record's `execution`."""


def run_cell(inputs: CellInputs, base: Base) -> CellResult:
    """Returns the cell's answers to every test item; the base model is as it was afterwards.

    Equal inputs give equal bytes, whatever ran before in this process. Where memory runs out the
    cell is run again from its start with smaller batches, and its result says so.

    Raises:
        ValueError: If an item does not fit into the model's context.
        TrainingError: If a training cannot go on.
        torch.OutOfMemoryError: If the smallest batches do not fit either.
    """
    usual = inputs.context.execution
    is_first = True

    def attempt(share: float) -> CellResult:
        nonlocal is_first
        if not is_first:
            inputs.restart()
        is_first = False
        context = replace(inputs.context, execution=replace(usual, token_share=share))
        return _run(replace(inputs, context=context), base)

    if not usual.may_halve:
        return _run(inputs, base)
    result, share = find_executable_batch_size(attempt, usual.token_share, base.device)
    if share == usual.token_share:
        return result
    execution = {**result.execution, "class": "B", "token_share": share}
    return replace(result, notes=(*result.notes, halved_note(share)), execution=execution)


def _run(inputs: CellInputs, base: Base) -> CellResult:
    context = inputs.context
    if isinstance(context.cell.recipe, PolicyDPO):
        policy = run_policy(context, base, inputs.labelled, inputs.reward_model)
        answers = Answers(log_probs=policy.log_probs)
        return CellResult(answers=answers, policy=policy, notes=policy.notes)
    examples = make_examples(context, inputs.labelled)
    if inputs.pool is None:
        with fit(context, base, examples) as fitted:
            return _result(inputs, base, fitted, None)
    with run_round(context, base, examples, inputs.pool) as (fitted, found):
        return _result(inputs, base, fitted, found)


def make_examples(context: CellContext, items: Sequence[Item]) -> tuple[Example, ...]:
    """Returns the labelled items with the labels that the cell's supervision gives them."""
    if context.cell.labels.kind == "trivial":
        items = trivial_items(items, *context.names)
    return label_items(context, items)


def label_items(context: CellContext, items: Sequence[Item]) -> tuple[Example, ...]:
    """Returns items, to train on or to calibrate on, with labels as noisy as the cell's."""
    labels = context.cell.labels
    answers = {item.id: item.answer for item in items}
    if labels.kind == "random":
        answers = random_answers(items, *context.names)
    if labels.kind in ("noise", "paper noise"):
        kind: NoiseKind = "paper" if labels.kind == "paper noise" else "realised"
        answers = noisy_answers(items, labels.rate, *context.names, kind=kind)
    return tuple(Example(item=item, answer=answers[item.id]) for item in items)


def _result(
    inputs: CellInputs, base: Base, fitted: FittedMethod, found: Round | None
) -> CellResult:
    answers, context = _answers(fitted, inputs), inputs.context
    told: tuple[str, ...] = ()
    if isinstance(context.cell.recipe, WeightTraining):
        budget = micro_batch_tokens(context, base)
        told = checkpointing_notes(base, context.execution, budget)
    return CellResult(
        answers=answers,
        state=fitted.state() if inputs.keeps_state else None,
        round=found,
        notes=(*answers.notes, *told, *(found.notes if found is not None else ())),
    )


def _answers(fitted: FittedMethod, inputs: CellInputs) -> Answers:
    how = inputs.context.cell.recipe.orders
    if how == "given":
        return fitted.answer(inputs.test)
    scores = score_in_orders(fitted, inputs.test, how)
    orders = [orders_of(len(item.choices), how) for item in inputs.test]
    with np.errstate(divide="ignore"):
        means = [np.log(average_over_orders(*pair)) for pair in zip(scores, orders, strict=True)]
    return Answers(log_probs=[np.maximum(mean, _LOWEST) for mean in means])


_LOWEST = float(np.log(np.finfo(np.float64).tiny))
"""A probability that rounds to 0 has no logarithm, and a score must be finite."""
