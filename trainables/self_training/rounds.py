"""One round of self-training: label the pool, keep what is confident, and train again.

The teacher is the state of the parent cell. Whatever the method, a round sees only labelled items
and unlabelled ones without gold. Only the control `oracle` asks for gold, through a function, for
the selected ids.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from search_spaces.cell import cell_id
from search_spaces.explain import count
from search_spaces.supervision import SelfTraining
from trainables.data.items import Item
from trainables.methods.base.choice_orders import (
    average_over_orders,
    first_position,
    orders_of,
    score_in_orders,
)
from trainables.methods.base.interface import CellContext, Example, FittedMethod, TrainedState
from trainables.methods.dispatch import fit, restore
from trainables.models.loading import Base
from trainables.self_training.confidence import ConfidenceState
from trainables.self_training.detectors import detect, labels_of_rows
from trainables.self_training.selection import Selection, select
from trainables.self_training.selection_rows import PoolPredictions, PoolRow, pool_rows
from trainables.self_training.temperature import Temperature, apply_temperature, fit_temperature
from trainables.self_training.training_set import (
    GoldOf,
    Kept,
    kept_items,
    target_labels,
    training_examples,
)
from trainables.self_training.unlabelled import (
    UnlabelledItem,
    check_disjoint_partitions,
    with_label,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """State of the parent cell."""

    state: TrainedState
    kept: Mapping[str, tuple[str, float]]
    """Items that it was trained on: id -> hash of the label's text, and its weight."""
    confidence: ConfidenceState | None
    """Moving averages of the rules that have them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnlabelledPool:
    """Inputs of a round in addition to its labelled items."""

    unlabelled: tuple[UnlabelledItem, ...]
    validation: tuple[Example, ...] = ()
    test: tuple[Item, ...] = ()
    """To check that no item is also a test item."""
    teacher: Teacher
    gold_of: GoldOf | None = None
    """For the control `oracle` only."""
    hardness: Mapping[str, float] = field(default_factory=dict)
    """Item id -> hardness by a measure that does not use gold. Only the detectors read it; no label
    and no selection depends on it. Empty: no detector of easy selections."""
    levels: Mapping[str, str] = field(default_factory=dict)
    """Item id -> name of the level that it was drawn from, for the same detector."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """A finished round, before its test."""

    rows: tuple[PoolRow, ...]
    facts: Mapping[str, Any]
    """For the record: thresholds, numbers of items, and what the next round needs."""
    notes: tuple[str, ...]


@contextmanager
def run_round(
    context: CellContext, base: Base, examples: Sequence[Example], pool: UnlabelledPool
) -> Iterator[tuple[FittedMethod, Round]]:
    """Yields the model of this round, trained on labels and confident pseudo-labels.

    If no item is confident enough, the model is the parent's, and a note reports it.

    Args:
        context: Of the cell.
        base: The cell's base model.
        examples: The labelled items in draw order.
        pool: The unlabelled items and the parent's state.

    Raises:
        ValueError: If two uses share an item or a question, or the threshold does not fit the pool.
    """
    options, teacher = _options(context), pool.teacher
    check_disjoint_partitions(
        {
            "labelled": [example.item for example in examples],
            "validation": [example.item for example in pool.validation],
            "unlabelled": pool.unlabelled,
            "test": pool.test,
        }
    )
    with restore(context, base, teacher.state) as fitted:
        before = _predict_pool(fitted, pool, options)
    selection = _select(context, pool, before, options)
    by_id = {item.id: item for item in pool.unlabelled}
    kept = kept_items(context, selection, by_id, teacher.kept, len(examples))
    targets = target_labels(context, kept, by_id, pool.gold_of)

    def finish(after: PoolPredictions) -> Round:
        rows = pool_rows(by_id, selection, kept, targets, before, after, options.confidence)
        facts = _facts(selection, kept, before, after)
        return Round(rows=rows, facts=facts, notes=_notes(context, pool, selection, kept, rows))

    if not kept:
        with restore(context, base, teacher.state) as fitted:
            yield fitted, finish(before)
        return
    training = training_examples(context, examples, kept, targets, by_id, selection, teacher.kept)
    start = teacher.state if options.start == "continue" else None
    with fit(context, base, training, start=start) as fitted:
        yield fitted, finish(_predict_pool(fitted, pool, options))


def _options(context: CellContext) -> SelfTraining:
    options = context.cell.self_training
    if options is None:
        raise ValueError("a cell without self-training has no round to run")
    return options


def _predict_pool(
    fitted: FittedMethod, pool: UnlabelledPool, options: SelfTraining
) -> PoolPredictions:
    """Returns a model's probability of each choice of the pool, averaged over the orders."""
    # Index 0 takes the place of the answer, which is unknown; scoring does not read it.
    items = [with_label(item, 0) for item in pool.unlabelled]
    scores = score_in_orders(fitted, items, options.orders)
    temperature = None
    if options.calibration == "temperature":
        temperature = _fitted_temperature(fitted, pool.validation, options.orders)
    probabilities, raw, first = {}, {}, {}
    for item, rows in zip(pool.unlabelled, scores, strict=True):
        orders = orders_of(len(item.choices), options.orders)
        raw[item.id] = probabilities[item.id] = average_over_orders(rows, orders)
        if temperature is not None:
            rows = [apply_temperature(row, temperature.value) for row in rows]
            probabilities[item.id] = average_over_orders(rows, orders)
        first[item.id] = first_position(rows)
    return PoolPredictions(
        probabilities=probabilities, raw=raw, first_position=first, temperature=temperature
    )


def _fitted_temperature(
    fitted: FittedMethod, validation: Sequence[Example], kind: str
) -> Temperature:
    items = [replace(example.item, answer=example.answer) for example in validation]
    scores = score_in_orders(fitted, items, kind)
    rows, answers = [], []
    for item, by_order in zip(items, scores, strict=True):
        orders = orders_of(len(item.choices), "all" if kind == "all" else "given")
        for order, row in zip(orders, by_order, strict=True):
            rows.append(row)
            answers.append(order.index(item.answer))
    return replace(fit_temperature(rows, answers), num_labels=len(items))


def _select(
    context: CellContext, pool: UnlabelledPool, before: PoolPredictions, options: SelfTraining
) -> Selection:
    has_texts = context.cell.answer_classes == "texts"
    return select(
        before.probabilities,
        rule=options.rule,
        tau=options.threshold,
        scale=options.confidence,
        # The meaning of a class is fixed for the whole chain, which may admit level after level.
        classes={item.id: item.choices for item in pool.unlabelled} if has_texts else None,
        state=pool.teacher.confidence,
    )


def _facts(
    selection: Selection, kept: Kept, before: PoolPredictions, after: PoolPredictions
) -> Mapping[str, Any]:
    def plain(temperature: Temperature | None) -> dict[str, Any] | None:
        return None if temperature is None else asdict(temperature)

    return {
        "num_pool": len(selection.confidence),
        # Selected by the rule; and those of them, and of earlier rounds, that were trained on.
        "num_confident": len(selection.ids),
        "num_selected": len(kept),
        "threshold": selection.threshold,
        "temperature": plain(before.temperature),
        "temperature_after": plain(after.temperature),
        "state": None if selection.state is None else asdict(selection.state),
    }


def _notes(
    context: CellContext,
    pool: UnlabelledPool,
    selection: Selection,
    kept: Kept,
    rows: Sequence[PoolRow],
) -> tuple[str, ...]:
    """Returns the notes on the round; warnings of the detectors are logged too.

    They need no gold, so they are available when the round ends.
    """
    notes = [selection.note] if selection.note else []
    if not kept:
        notes.append("no item was selected: the scores are those of the round before")
    if len(kept) < len(selection.ids):
        notes.append(
            f"{count(len(selection.ids), 'item was', 'items were')} selected, and the prompt has "
            f"space for {len(kept)}"
        )
    if _options(context).targets == "pseudo":
        labels = labels_of_rows(asdict(row) for row in rows)
        for finding in detect([labels], pool.hardness, pool.levels):
            if finding.warning is not None:
                notes.append(f"{finding.name}: {finding.warning}")
                round_ = context.cell.round
                log.warning("cell %s, round %d: %s", cell_id(context.cell), round_, notes[-1])
    return tuple(notes)
