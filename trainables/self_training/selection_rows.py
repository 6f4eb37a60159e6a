"""What a round says of its pool, before and after it trains: rows of selection.parquet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.self_training.confidence import Scale, read_pool
from trainables.self_training.selection import Selection
from trainables.self_training.temperature import Temperature
from trainables.self_training.training_set import Kept
from trainables.self_training.unlabelled import UnlabelledItem


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolPredictions:
    """What one model says of the pool, averaged over the orders of the choices."""

    probabilities: Mapping[str, NDArray[np.float64]]
    """Item id -> probability of each choice, at the temperature."""
    raw: Mapping[str, NDArray[np.float64]]
    """The same at temperature 1."""
    first_position: Mapping[str, float | None]
    """Item id -> mean probability of what is shown first, less 1/k; None for one order alone."""
    temperature: Temperature | None
    """Fitted on this model's answers to the validation items; None where none is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolRow:
    """What a round thought of one unlabelled item: a row of selection.parquet."""

    item_id: str
    label: str | None
    """Text of the pseudo-label; None for an exact tie."""
    trained_on: str | None
    """Text of the label that the item was trained on: another one in a control, None where it was
    not kept, or was confident and had no room in the prompt."""
    is_confident: bool
    """Whether the rule selected it in this round, room or not."""
    confidence: float
    choices: tuple[str, ...]
    """In the order of all probabilities."""
    probabilities: tuple[float, ...]
    """By the model before the round, as it was selected by: at the round's temperature."""
    raw_probabilities: tuple[float, ...] | None
    """Likewise at temperature 1; None where no temperature is fitted: they would be the same."""
    first_position: float | None
    """Mean over the orders of the probability of what is shown first, less 1/k: 0 where position
    does not matter. None where there is one order alone."""
    weight: float
    """In the loss; 0 where it was not kept."""
    label_after: str | None
    """This and what follows: likewise by the model that the round has trained, at its own
    temperature."""
    confidence_after: float
    probabilities_after: tuple[float, ...]
    raw_probabilities_after: tuple[float, ...] | None
    first_position_after: float | None


def pool_rows(
    by_id: Mapping[str, UnlabelledItem],
    selection: Selection,
    kept: Kept,
    targets: Mapping[str, int],
    before: PoolPredictions,
    after: PoolPredictions,
    scale: Scale,
) -> tuple[PoolRow, ...]:
    """Returns a row an unlabelled item, sorted by id.

    Args:
        by_id: The pool.
        selection: What the rule made of it.
        kept: Items to train on.
        targets: Labels that they are trained on.
        before: By the model before the round.
        after: By the model that the round has trained.
        scale: Of the confidence.
    """
    guesses = {guess.id: guess for guess in read_pool(after.probabilities, scale)}
    confident = frozenset(selection.ids)
    rows = []
    for id_ in sorted(by_id):
        choices = by_id[id_].choices
        rows.append(
            PoolRow(
                item_id=id_,
                label=_text(choices, selection.pool_labels[id_]),
                trained_on=_text(choices, targets.get(id_)),
                is_confident=id_ in confident,
                confidence=selection.confidence[id_],
                choices=choices,
                probabilities=tuple(before.probabilities[id_].tolist()),
                raw_probabilities=_raw(before, id_),
                first_position=before.first_position[id_],
                weight=kept[id_][1] if id_ in kept else 0.0,
                label_after=_text(choices, guesses[id_].label),
                confidence_after=guesses[id_].confidence,
                probabilities_after=tuple(after.probabilities[id_].tolist()),
                raw_probabilities_after=_raw(after, id_),
                first_position_after=after.first_position[id_],
            )
        )
    return tuple(rows)


def _text(choices: tuple[str, ...], index: int | None) -> str | None:
    return None if index is None else choices[index]


def _raw(look: PoolPredictions, id_: str) -> tuple[float, ...] | None:
    return None if look.temperature is None else tuple(look.raw[id_].tolist())
