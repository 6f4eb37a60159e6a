"""Rows of the surface: what is known of a point, as values and as columns of surface.parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from search_spaces.recipes import Recipe
from search_spaces.supervision import LabelKind, SelfTraining
from study.artifacts.condition_kinds import ConditionKind
from study.artifacts.points import Point
from study.statistics.floor import FLOOR_BELOW_CHANCE, FLOOR_NOT_READABLE, FloorVerdict
from study.statistics.recovery import ONE_SEED, Verdict

Scalar = str | int | float | None

FLOOR_AT_CHANCE = "floor at chance: SGR includes learning the format"
"""Caveat of a point; what stands in front of the colon is its short form."""

NOT_FACTORS = frozenset({"method", "search_labels"})
"""Fields of a recipe that are no factor: they have columns of their own."""

SSRM_OPTIONS = {name: f"ssrm_{name}" for name in SelfTraining.model_fields if name != "threshold"}
"""Option of self-training -> its column, null where a source is not self-trained; the threshold has
a column of its own."""

_CACHED_RECIPES = 4096
"""A study has few recipes, and every point asks for the text of its own many times."""

_OPTION_TYPES: Mapping[str, pa.DataType] = {
    "n_validation": pa.int64(),
    "max_unlabelled": pa.int64(),
    "label_smoothing": pa.float64(),
}

COLUMN_TYPES: Mapping[str, pa.DataType] = {
    "model": pa.string(),
    "num_params": pa.int64(),
    "task": pa.string(),
    "measure": pa.string(),
    "method": pa.string(),
    "recipe": pa.string(),
    "condition": pa.string(),
    "variant": pa.string(),
    "role": pa.string(),
    "train_level": pa.string(),
    "test_level": pa.string(),
    "difficulty_gap": pa.float64(),
    "num_labels": pa.int64(),
    "search_labels": pa.int64(),
    "label_cost": pa.float64(),
    "label_kind": pa.string(),
    "noise_rate": pa.float64(),
    "threshold": pa.float64(),
    "ssrm_round": pa.int64(),
    **{column: _OPTION_TYPES.get(name, pa.string()) for name, column in SSRM_OPTIONS.items()},
    "zero_shot": pa.float64(),
    "easy": pa.float64(),
    "hard": pa.float64(),
    "sgr": pa.float64(),
    "sgr_low": pa.float64(),
    "sgr_high": pa.float64(),
    "verdict": pa.string(),
    "verdict_note": pa.string(),
    "caveats": pa.string(),
    "chance": pa.float64(),
    "gap": pa.float64(),
    "gap_low": pa.float64(),
    "gap_high": pa.float64(),
    "easy_gain": pa.float64(),
    "easy_gain_low": pa.float64(),
    "easy_gain_high": pa.float64(),
    "easy_gain_p": pa.float64(),
    "hard_gain": pa.float64(),
    "hard_gain_low": pa.float64(),
    "hard_gain_high": pa.float64(),
    "hard_gain_p": pa.float64(),
    "hard_minus_easy": pa.float64(),
    "hard_minus_easy_low": pa.float64(),
    "hard_minus_easy_high": pa.float64(),
    "hard_minus_easy_p": pa.float64(),
    "full_recovery_p": pa.float64(),
    "start": pa.float64(),
    "ssrm_gain": pa.float64(),
    "ssrm_gain_low": pa.float64(),
    "ssrm_gain_high": pa.float64(),
    "ssrm_gain_p": pa.float64(),
    "residual": pa.float64(),
    "residual_low": pa.float64(),
    "residual_high": pa.float64(),
    "residual_verdict": pa.string(),
    "num_items": pa.int64(),
    "num_seeds": pa.int64(),
    "missing_share": pa.float64(),
    "zero_shot_unreadable": pa.float64(),
    "easy_unreadable": pa.float64(),
    "hard_unreadable": pa.float64(),
    "pool_overlap": pa.float64(),
    "num_cells": pa.int64(),
    "cell_seconds": pa.float64(),
    "reason": pa.string(),
}
"""Columns of surface.parquet, in order; one column a recipe factor follows. Accuracies, gains and
gaps are fractions; a missing value is null."""


GENERATING_ARMS = ("zero_shot", "easy", "hard")
"""Arms with a column for answers that could not be read. Self-training generates none, so no start
does."""

INTERVALS = ("sgr", "gap", "easy_gain", "hard_gain", "hard_minus_easy", "ssrm_gain", "residual")
"""Fields of a row that are an estimate with its interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its interval; what could not be estimated is None."""

    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    """Of the null that it is 0 (for a share: that it is 1)."""


NOTHING = Interval()


@dataclass(frozen=True, kw_only=True, slots=True)
class SurfaceRow:
    """One point with its estimate, or with the reason why there is none."""

    point: Point
    role: ConditionKind = "labels"
    label_kind: LabelKind = "gold"
    """How the source's labels are made."""
    hard_labels: int | None = None
    """Labelled items of one seed of the hard arm."""
    zero_shot: float | None = None
    """Accuracy on the test level; there as soon as all cells of the arm are."""
    easy: float | None = None
    hard: float | None = None
    sgr: Interval = NOTHING
    verdict: Verdict | FloorVerdict | None = None
    verdict_note: str = ""
    caveats: tuple[str, ...] = ()
    """What stands beside the SGR wherever it is shown."""
    chance: float | None = None
    """Accuracy of guessing on the test level."""
    gap: Interval = NOTHING
    easy_gain: Interval = NOTHING
    hard_gain: Interval = NOTHING
    hard_minus_easy: Interval = NOTHING
    start: float | None = None
    """For a self-trained source: accuracy of what it started from."""
    ssrm_gain: Interval = NOTHING
    """Likewise the paired difference source - start: what self-training adds."""
    residual: Interval = NOTHING
    """For a self-trained source: the share of hard - start that it recovers."""
    residual_verdict: Verdict | None = None
    num_items: int | None = None
    num_seeds: int | None = None
    missing_share: float | None = None
    """Share of (item, seed) pairs of the arms without a score; 0 where the data are complete."""
    unreadable: Mapping[str, float] = field(default_factory=dict)
    """Arm -> share of its generated answers that could not be read; arms that score choices have
    none."""
    num_cells: int
    """Distinct cells of the point's arms."""
    cell_seconds: float | None = None
    """Wall-clock seconds of its finished cells together; they serve other points too."""
    reason: str | None = None
    """Why there is no estimate."""

    @property
    def draw_note(self) -> str:
        """Says that the point has one seed; empty where it has more."""
        return ONE_SEED if len(self.point.easy.cells) == 1 else ""

    @property
    def has_floor(self) -> bool:
        """Whether the zero-shot arm can be the zero of SGR, as far as it is known."""
        return self.verdict not in (FLOOR_BELOW_CHANCE, FLOOR_NOT_READABLE)

    @property
    def factors(self) -> Mapping[str, Scalar]:
        """The recipe's hyper-parameters."""
        return recipe_factors(self.point.recipe)

    @property
    def columns(self) -> dict[str, Scalar]:
        """The row of surface.parquet, without the factors."""
        point = self.point
        values: dict[str, Scalar] = {
            "model": point.model,
            "num_params": point.num_params,
            "task": point.task,
            "measure": point.measure,
            "method": point.recipe.method,
            "recipe": recipe_text(point.recipe),
            "condition": point.condition,
            "variant": point.variant or None,
            "train_level": None if point.train_level is None else point.train_level.name,
            "test_level": point.test_level.name,
            "difficulty_gap": point.difficulty_gap,
            "num_labels": point.num_labels,
            "search_labels": point.search_labels,
            "label_cost": point.label_cost,
            "noise_rate": point.noise_rate,
            "threshold": point.threshold,
            "ssrm_round": point.ssrm_round,
            **{
                column: getattr(point.self_training, name, None)
                for name, column in SSRM_OPTIONS.items()
            },
            "pool_overlap": point.pool_overlap,
            "full_recovery_p": self.sgr.p_value,
            "verdict_note": self.verdict_note or None,
            "caveats": "; ".join(self.caveats) or None,
            **{f"{arm}_unreadable": self.unreadable.get(arm) for arm in GENERATING_ARMS},
        }
        for name in INTERVALS:
            values |= _interval_columns(name, getattr(self, name))
        for name in COLUMN_TYPES:
            if name not in values:
                values[name] = getattr(self, name)
        return values


@lru_cache(maxsize=_CACHED_RECIPES)
def recipe_factors(recipe: Recipe) -> Mapping[str, Scalar]:
    """Returns a recipe's hyper-parameters as plain values, nested ones by their last name.

    What a recipe does without (no reasoning) is no factor.
    """
    return MappingProxyType(dict(_leaves(recipe.model_dump(mode="json", exclude=set(NOT_FACTORS)))))


@lru_cache(maxsize=_CACHED_RECIPES)
def recipe_text(recipe: Recipe) -> str:
    """Returns the one readable text of a recipe: `lora(n_train=160, rank=16, ...)`."""
    parts = ", ".join(f"{name}={_text(value)}" for name, value in recipe_factors(recipe).items())
    return f"{recipe.method}({parts})"


def surface_table(rows: Sequence[SurfaceRow]) -> pa.Table:
    """Returns the surface as a tidy table: one row a point, every recipe factor a column."""
    records = [row.columns for row in rows]
    columns = {
        name: pa.array([record[name] for record in records], type=kind)
        for name, kind in COLUMN_TYPES.items()
    }
    factors = [row.factors for row in rows]
    for name in dict.fromkeys(name for factor in factors for name in factor):
        key = f"recipe_{name}" if name in COLUMN_TYPES else name
        columns[key] = _factor_column([factor.get(name) for factor in factors])
    return pa.table(columns)


def _interval_columns(name: str, interval: Interval) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {
        name: interval.estimate,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
    }
    if f"{name}_p" in COLUMN_TYPES:
        values[f"{name}_p"] = interval.p_value
    return values


def _factor_column(values: Sequence[Scalar]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int}:
        return pa.array(values, type=pa.int64())
    if kinds <= {int, float}:
        return pa.array(values, type=pa.float64())
    return pa.array([None if v is None else _text(v) for v in values], type=pa.string())


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif value is None:
            continue
        elif isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, Iterable) and not isinstance(value, str):
            yield name, "+".join(_text(element) for element in value)
        else:
            yield name, value


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
