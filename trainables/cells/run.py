"""Runs one cell: assigns its labels, fits its method and answers every test item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from search_spaces.recipes import PolicyDPO, WeightTraining
from trainables.cells.policy import PolicyResult, RewardModel, run_policy
from trainables.data.items import Item
from trainables.data.label_noise import NoiseKind, noisy_answers, random_answers
from trainables.data.prompts.formats import trivial_items
from trainables.methods.base.choice_orders import answer_in_orders
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
    """Everything that determines a cell's numbers, except its base model."""

    context: CellContext
    labelled: tuple[Item, ...]
    """In draw order; empty for zero-shot."""
    test: tuple[Item, ...]
    """Every frozen test item."""
    pool: UnlabelledPool | None = None
    """Only for a round of self-training."""
    reward_model: RewardModel | None = None
    """Only for a policy whose pairs it labels."""
    keeps_state: bool = False
    """Whether the result contains the trained state."""
    restart: Callable[[], None] = lambda: None
    """Discards what the cell has logged; called before the cell starts again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellResult:
    """The result of a cell."""

    answers: Answers
    """To the test items, in their order."""
    state: TrainedState | None = None
    round: Round | None = None
    policy: PolicyResult | None = None
    notes: tuple[str, ...] = field(default=())
    execution: Mapping[str, Any] = field(default_factory=dict)
    """Entries of the record's `execution` where the cell ran in an unusual way."""


RunCell = Callable[[CellInputs, Base], CellResult]


def run_cell(inputs: CellInputs, base: Base) -> CellResult:
    """Returns the cell's answers to every test item; leaves the base model unchanged.

    Equal inputs give equal bytes, whatever ran before in this process. When memory runs out, the
    cell starts again with smaller batches, and the result notes it.

    Raises:
        ValueError: If an item does not fit into the model's context.
        TrainingError: If a training cannot continue.
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
    recipe = context.cell.recipe
    if isinstance(recipe, PolicyDPO):
        policy = run_policy(context, base, inputs.labelled, inputs.reward_model)
        return CellResult(
            answers=Answers(log_probs=policy.log_probs),
            state=policy.state if inputs.keeps_state else None,
            policy=policy,
            notes=policy.notes,
        )
    with _fitted(inputs, base) as (fitted, round_):
        answers = answer_in_orders(fitted, inputs.test, recipe.orders)
        notes = answers.notes
        if isinstance(recipe, WeightTraining):
            budget = micro_batch_tokens(context, base)
            notes = (*notes, *checkpointing_notes(base, context.execution, budget))
        return CellResult(
            answers=answers,
            state=fitted.state() if inputs.keeps_state else None,
            round=round_,
            notes=notes if round_ is None else (*notes, *round_.notes),
        )


@contextmanager
def _fitted(inputs: CellInputs, base: Base) -> Iterator[tuple[FittedMethod, Round | None]]:
    """Fits the cell's method to its labelled items, or to those that its round selects."""
    examples = make_examples(inputs.context, inputs.labelled)
    if inputs.pool is None:
        with fit(inputs.context, base, examples) as fitted:
            yield fitted, None
    else:
        with run_round(inputs.context, base, examples, inputs.pool) as fitted_and_round:
            yield fitted_and_round


def make_examples(context: CellContext, items: Sequence[Item]) -> tuple[Example, ...]:
    """Returns the labelled items with the labels of the cell's supervision."""
    if context.cell.labels.kind == "trivial":
        items = trivial_items(items, *context.names)
    return label_items(context, items)


def label_items(context: CellContext, items: Sequence[Item]) -> tuple[Example, ...]:
    """Returns items for training or calibration, with the cell's label noise."""
    labels = context.cell.labels
    answers = {item.id: item.answer for item in items}
    if labels.kind == "random":
        answers = random_answers(items, *context.names)
    if labels.kind in ("noise", "paper noise"):
        kind: NoiseKind = "paper" if labels.kind == "paper noise" else "realised"
        answers = noisy_answers(items, labels.rate, *context.names, kind=kind)
    return tuple(Example(item=item, answer=answers[item.id]) for item in items)
