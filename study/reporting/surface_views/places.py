"""Places: the category of a surface point on each axis."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from study.analysis.names import hidden_rounds, recipe_labels, source_label
from study.analysis.surface_rows import SurfaceRow, recipe_factors, recipe_text
from study.formatting import params

FACTOR_AXES: Mapping[str, str] = {
    "n_train": "labelled items",
    "k": "examples in the prompt",
    "learning_rate": "learning rate",
    "rank": "rank",
    "epochs": "epochs",
    "quantization": "quantization",
}
"""Hyper-parameter axes: name in the recipe -> title."""

POINT_AXES: Mapping[str, str] = {
    "model_size": "model size",
    "difficulty_gap": "difficulty gap",
    "train_level": "labels used",
    "test_level": "test level",
    "threshold": "confidence threshold",
    "ssrm_round": "self-training round",
    "noise_rate": "noise rate of the labels",
    "num_labels": "labels",
    "label_cost": "cost of the labels",
    "method": "method",
}

LABEL_AXES = frozenset({"noise_rate", "num_labels", "label_cost"})
"""Axes that describe the labels of a source, so that its level is enough to name it."""

AXES: Mapping[str, str] = {**POINT_AXES, **FACTOR_AXES}
"""All axes of a view: name -> title."""

Rank = tuple[int, float, int]
"""Order of a category on its axis: known values before unknown, by value, then as planned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A row's category on one axis."""

    key: Hashable
    label: str
    rank: Rank


def places_of(
    rows: Sequence[SurfaceRow], axis: str, shown: frozenset[str] = frozenset()
) -> list[Place | None]:
    """Returns the place of each row on an axis; None for a row without one.

    Args:
        rows: The surface's rows.
        axis: Name of the axis.
        shown: Axes that the view shows already, so that labels do not repeat their categories.

    Raises:
        ValueError: If the axis is unknown, or no row has a place on it.
    """
    if axis not in AXES:
        raise ValueError(f"axis {axis!r}: a surface has the axes {', '.join(AXES)}")
    places = all_places(rows, axis, shown)
    if not any(places):
        known = [name for name in AXES if any(all_places(rows, name))]
        raise ValueError(f"axis {axis!r}: no point of this study has one, only {', '.join(known)}")
    return places


def all_places(
    rows: Sequence[SurfaceRow], axis: str, shown: frozenset[str] = frozenset()
) -> list[Place | None]:
    """Returns the place of each row on an axis; all None if no row has one."""
    hidden = hidden_rounds(rows) | (shown & {"threshold", "ssrm_round"})
    if axis == "difficulty_gap":
        return [_difficulty_gap(row, i, hidden, shown) for i, row in enumerate(rows)]
    if axis == "train_level":
        return [_source(row, i, hidden, shown) for i, row in enumerate(rows)]
    if axis == "noise_rate" and not any(row.point.noise_rate for row in rows):
        return [None] * len(rows)
    place = _PLACES.get(axis)
    if place is not None:
        return [place(row, i) for i, row in enumerate(rows)]
    if axis == "method":
        labels = recipe_labels(row.point.recipe for row in rows)
        return [_named(labels[recipe_text(row.point.recipe)], i) for i, row in enumerate(rows)]
    return [_factor(row, axis, i) for i, row in enumerate(rows)]


def _model_size(row: SurfaceRow, index: int) -> Place:
    count = row.point.num_params
    label = f"{row.point.model} ({params(count)})"
    return Place(key=row.point.model, label=label, rank=(count is None, count or 0, index))


def source_name(row: SurfaceRow, hidden: frozenset[str], shown: frozenset[str]) -> str:
    """Returns the name of a source in a view: its level alone if an axis describes the labels."""
    level = row.point.train_level
    if shown & LABEL_AXES and row.role == "labels" and level is not None:
        return level.name
    return source_label(row.point, hidden)


def _difficulty_gap(
    row: SurfaceRow, index: int, hidden: frozenset[str], shown: frozenset[str]
) -> Place:
    # The levels belong to the category: pairs of levels with equal gaps are different points.
    point, gap = row.point, row.point.difficulty_gap
    levels = f"{source_name(row, hidden, shown)} -> {point.test_level.name}"
    label = f"{levels}  ({'?' if gap is None else f'{round(gap, 2):+g}'})"
    return Place(key=levels, label=label, rank=(gap is None, gap or 0.0, index))


def _source(row: SurfaceRow, index: int, hidden: frozenset[str], shown: frozenset[str]) -> Place:
    label = source_name(row, hidden, shown)
    key = label if shown & LABEL_AXES else row.point.source
    level = row.point.train_level
    rank = (level is None, 0.0 if level is None else level.low + level.high, index)
    return Place(key=key, label=label, rank=rank)


def _noise_rate(row: SurfaceRow, index: int) -> Place | None:
    """Returns the noise rate: 0 for clean labels, None for random and empty ones."""
    return _value(row.point.noise_rate or (0.0 if row.label_kind == "gold" else None), index)


def _value(value: float | None, index: int) -> Place | None:
    if value is None:
        return None
    return Place(key=value, label=f"{value:g}", rank=(0, value, index))


def _factor(row: SurfaceRow, name: str, index: int) -> Place | None:
    value = recipe_factors(row.point.recipe).get(name)
    return _named(value, index) if isinstance(value, str) else _value(value, index)


def _named(label: str, index: int) -> Place:
    return Place(key=label, label=label, rank=(0, 0.0, index))


_PLACES: Mapping[str, Callable[[SurfaceRow, int], Place | None]] = {
    "model_size": _model_size,
    "test_level": lambda row, index: _named(row.point.test_level.name, index),
    "noise_rate": _noise_rate,
    "num_labels": lambda row, index: _value(row.point.num_labels, index),
    "label_cost": lambda row, index: _value(row.point.num_labels * row.point.label_cost, index),
    "threshold": lambda row, index: _value(row.point.threshold, index),
    "ssrm_round": lambda row, index: _value(row.point.ssrm_round, index),
}
