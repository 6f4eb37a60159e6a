"""Calibration and selective accuracy of self-training as tidy tables, level by level.

What the figures of the report draw, for who wants to draw it anew. Seeds are put together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from study.analysis.self_training.audit import AuditedRound, AuditRow, Items, Moment, PoolAnswers
from study.analysis.surface_rows import recipe_text
from study.artifacts.condition_kinds import condition_kind, condition_label
from study.statistics.calibration import Binning, calibrate, selective_accuracy

STEPS = 50
"""Coverages of one curve that the table has, from 1/STEPS to 1."""

_BINNINGS: tuple[Binning, ...] = ("equal-width", "equal-mass")

_SOURCE = {
    "task": pa.string(),
    "measure": pa.string(),
    "model": pa.string(),
    "recipe": pa.string(),
    "source": pa.string(),
    "role": pa.string(),
    "ssrm_round": pa.int64(),
    "num_seeds": pa.int64(),
}

RELIABILITY = pa.schema(
    {
        **_SOURCE,
        "items": pa.string(),
        "moment": pa.string(),
        "level": pa.string(),
        "binning": pa.string(),
        "confidence": pa.float64(),
        "accuracy": pa.float64(),
        "count": pa.int64(),
        "ece": pa.float64(),
    }
)
"""A row a bin: mean confidence and accuracy of its answers, and the ECE of all bins. Level: null
where all levels are together."""

SELECTIVE = pa.schema(
    {
        **_SOURCE,
        "level": pa.string(),
        "confidence": pa.float64(),
        "coverage": pa.float64(),
        "accuracy": pa.float64(),
    }
)
"""A row a step: accuracy of the pool's answers before the round that are at least so confident."""


def reliability_table(rounds: Iterable[AuditedRound]) -> pa.Table:
    """Returns the reliability of each source's answers before and after each of its rounds."""
    rows: list[Mapping[str, Any]] = []
    for source, members in _by_source(rounds).items():
        sets: dict[tuple[Items, Moment], list[PoolAnswers]] = {}
        for found in members:
            for items, moment, answers in found.answers():
                sets.setdefault((items, moment), []).append(answers)
        for (items, moment), answered in sets.items():
            named = {**dict(source), "items": items, "moment": moment}
            rows += ({**named, **row} for row in _bins(answered))
    return pa.Table.from_pylist(rows, schema=RELIABILITY)


def _bins(answered: Sequence[PoolAnswers]) -> Iterator[Mapping[str, Any]]:
    """Yields the bins of some seeds' answers: of each level and of all, cut both ways."""
    for level, part in _levels(answered):
        for binning in _BINNINGS:
            calibration = calibrate(*_scored(part), binning=binning)
            for found in calibration.bins:
                yield {
                    "num_seeds": len(part),
                    "level": level,
                    "binning": binning,
                    "confidence": found.confidence,
                    "accuracy": found.accuracy,
                    "count": found.count,
                    "ece": calibration.ece,
                }


def selective_table(rounds: Iterable[AuditedRound]) -> pa.Table:
    """Returns the selective accuracy of each source's pseudo-labels before each of its rounds."""
    rows: list[Mapping[str, Any]] = []
    for source, members in _by_source(rounds).items():
        for level, part in _levels([found.pool for found in members]):
            shared = {**dict(source), "num_seeds": len(part), "level": level}
            rows += ({**shared, **step} for step in _steps(part))
    return pa.Table.from_pylist(rows, schema=SELECTIVE)


def _steps(part: Sequence[PoolAnswers]) -> Iterator[Mapping[str, float]]:
    """The curve at even coverages: at each the first step that covers as much."""
    curve = selective_accuracy(*_scored(part)).curve
    last = -1
    for step in curve:
        place = math.floor(STEPS * step.coverage)
        if place > last:
            last = place
            yield {
                "confidence": step.confidence,
                "coverage": step.coverage,
                "accuracy": step.accuracy,
            }


def _by_source(
    rounds: Iterable[AuditedRound],
) -> dict[tuple[tuple[str, Any], ...], list[AuditedRound]]:
    """Rounds of one source, its seeds together, by what names it."""
    found: dict[tuple[tuple[str, Any], ...], list[AuditedRound]] = {}
    for one in rounds:
        planned = one.planned
        names = {
            "task": planned.cell.task,
            "measure": planned.measure,
            "model": planned.model_name,
            "recipe": recipe_text(planned.cell.recipe),
            "source": condition_label(planned),
            "role": condition_kind(planned),
            "ssrm_round": planned.cell.round,
        }
        found.setdefault(tuple(names.items()), []).append(one)
    return found


def _levels(answered: Sequence[PoolAnswers]) -> Iterator[tuple[str | None, list[PoolAnswers]]]:
    """Yields all answers together, and those of each level."""
    yield None, list(answered)
    for level in sorted({level for answers in answered for level in answers.levels}):
        parts = [
            answers.take(np.flatnonzero(np.array(answers.levels) == level)) for answers in answered
        ]
        yield level, [part for part in parts if part.ids]


def _scored(part: Sequence[PoolAnswers]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Confidences and scores of some seeds' answers, one after the other."""
    return (
        np.concatenate([answers.confidence for answers in part]),
        np.concatenate([answers.correct for answers in part]),
    )


def audit_table(rows: Sequence[AuditRow]) -> pa.Table:
    """Returns the rows as a tidy table, as audit.parquet has it; what there is not is null."""
    names = AuditRow.__slots__
    return pa.table(
        {
            name: pa.array([_plain(getattr(row, name)) for row in rows], _TYPES.get(name))
            for name in names
        }
    )


_TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("measure", "level"), pa.string()),
    **dict.fromkeys(
        ("ssrm_round", "seed", "num_items", "num_confident", "num_selected"), pa.int64()
    ),
    **dict.fromkeys(
        (
            "threshold",
            "threshold_used",
            "temperature",
            "coverage",
            "selected_accuracy",
            "selected_confidence",
            "target_accuracy",
        ),
        pa.float64(),
    ),
    **dict.fromkeys(("histogram_right", "histogram_wrong"), pa.list_(pa.int64())),
}
"""Types of the columns that can be all null or are lists."""


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
