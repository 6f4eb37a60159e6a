"""A round's predictions for its pool, before and after training: rows of selection.parquet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.data.items import text_hash
from trainables.self_training.confidence import Scale, read_pool
from trainables.self_training.selection import Selection
from trainables.self_training.temperature import Temperature
from trainables.self_training.training_set import Kept
from trainables.self_training.unlabelled import UnlabelledItem


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolPredictions:
    """One model's predictions for the pool, averaged over the orders of the choices."""

    probabilities: Mapping[str, NDArray[np.float64]]
    """Item id -> probability of each choice, at the temperature."""
    raw: Mapping[str, NDArray[np.float64]]
    """The same at temperature 1."""
    first_position: Mapping[str, float | None]
    """Item id -> mean probability of the choice shown first, minus 1/k; None for a single order."""
    temperature: Temperature | None
    """Fitted on this model's answers to the validation items; None without calibration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolRow:
    """A round's predictions for one unlabelled item: a row of selection.parquet."""

    item_id: str
    label: str | None
    """The pseudo-label; None for an exact tie. All labels and choices are hashes of texts."""
    trained_on: str | None
    """The label that the item was trained on: another one in a control; None if it was not
    kept, or was confident and did not fit into the prompt."""
    is_confident: bool
    """Whether the rule selected it in this round, even if it did not fit into the prompt."""
    confidence: float
    choices: tuple[str, ...]
    """In the order of all probabilities."""
    probabilities: tuple[float, ...]
    """By the model before the round, at the round's temperature: the basis of the selection."""
    raw_probabilities: tuple[float, ...] | None
    """The same at temperature 1; None if no temperature is fitted."""
    first_position: float | None
    """Mean over the orders of the probability of the choice shown first, minus 1/k: 0 if position
    does not matter. None for a single order."""
    weight: float
    """In the loss; 0 if it was not kept."""
    label_after: str | None
    """This and the following fields: by the model after the round, at its own temperature."""
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
    """Returns one row per unlabelled item, sorted by id.

    Args:
        by_id: The pool.
        selection: Of the round's rule.
        kept: Items to train on.
        targets: Their labels in training.
        before: Predictions before the round.
        after: Predictions after it.
        scale: Of the confidence.
    """
    guesses = {guess.id: guess for guess in read_pool(after.probabilities, scale)}
    confident = frozenset(selection.ids)
    rows = []
    for id_ in sorted(by_id):
        choices = tuple(map(text_hash, by_id[id_].choices))
        rows.append(
            PoolRow(
                item_id=id_,
                label=_at(choices, selection.pool_labels[id_]),
                trained_on=_at(choices, targets.get(id_)),
                is_confident=id_ in confident,
                confidence=selection.confidence[id_],
                choices=choices,
                probabilities=tuple(before.probabilities[id_].tolist()),
                raw_probabilities=_raw(before, id_),
                first_position=before.first_position[id_],
                weight=kept[id_][1] if id_ in kept else 0.0,
                label_after=_at(choices, guesses[id_].label),
                confidence_after=guesses[id_].confidence,
                probabilities_after=tuple(after.probabilities[id_].tolist()),
                raw_probabilities_after=_raw(after, id_),
                first_position_after=after.first_position[id_],
            )
        )
    return tuple(rows)


def _at(choices: tuple[str, ...], index: int | None) -> str | None:
    return None if index is None else choices[index]


def _raw(look: PoolPredictions, id_: str) -> tuple[float, ...] | None:
    return None if look.temperature is None else tuple(look.raw[id_].tolist())
