"""What a round's file says of its pool, as far as failure detectors read it, and what they find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolLabels:
    """What one model says of the items of a pool."""

    labels: Mapping[str, int | None]
    """Of every item: position of the predicted choice; None for an exact tie."""
    confidence: Mapping[str, float]
    """Of every item."""
    first_position: Mapping[str, float] = field(default_factory=dict)
    """Probability of what is shown first, less chance, of the items that have one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundLabels:
    """A round: two looks at its pool, and what was taken of it."""

    before: PoolLabels
    """By the model that labelled the pool."""
    after: PoolLabels
    """By the model that was trained on it."""
    choices: Mapping[str, Sequence[str]]
    """Of every item of the pool: texts, in the order of the positions."""
    selected: Mapping[str, int]
    """Item id -> position of the label that it was kept with, of the items that were selected."""
    weights: Mapping[str, float]
    """Item id -> weight in the loss, of the items that were selected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorResult:
    """What one detector saw."""

    name: str
    value: float | None
    """None where there is too little to judge by."""
    threshold: float
    """For as many items as there were."""
    warning: str | None = None
    """A sentence where the value is on the wrong side of the threshold."""
    by_level: Mapping[str, float] = field(default_factory=dict)
    """Level -> weight that was selected of it, as a share of its pool, where levels are judged."""


def labels_of_rows(rows: Iterable[Mapping[str, Any]]) -> RoundLabels:
    """Returns the labels of a finished round from its rows.

    Args:
        rows: Of selection.parquet (`trainables.self_training.selection_rows.PoolRow`) of a round
            that trains on its pseudo-labels: what it was trained on is what it kept.
    """
    known = list(rows)
    choices = {row["item_id"]: tuple(row["choices"]) for row in known}
    kept = [row for row in known if row["trained_on"] is not None]
    return RoundLabels(
        before=_look(known, ""),
        after=_look(known, "_after"),
        choices=choices,
        selected={row["item_id"]: choices[row["item_id"]].index(row["trained_on"]) for row in kept},
        weights={row["item_id"]: row["weight"] for row in kept},
    )


def _look(rows: Sequence[Mapping[str, Any]], when: str) -> PoolLabels:
    label, first = f"label{when}", f"first_position{when}"
    return PoolLabels(
        labels={
            row["item_id"]: None if row[label] is None else list(row["choices"]).index(row[label])
            for row in rows
        },
        confidence={row["item_id"]: row[f"confidence{when}"] for row in rows},
        first_position={row["item_id"]: row[first] for row in rows if row[first] is not None},
    )
