"""Calibration and selective accuracy of self-training as tidy tables, by level.

The data behind the figures of the report. Seeds are pooled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from study.analysis.self_training.audit import AuditedRound, AuditRow, Items, Moment, PoolAnswers
from study.analysis.surface_rows import recipe_text
from study.artifacts.condition_kinds import condition_kind, condition_label
from study.statistics.calibration import Binning, calibrate, selective_accuracy

STEPS = 50
"""Coverages of one curve in the table, from 1/STEPS to 1."""

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
"""One row a bin: mean confidence and accuracy of its answers, and the ECE of all bins. `level` is
null for all levels together."""

SELECTIVE = pa.schema(
    {
        **_SOURCE,
        "level": pa.string(),
        "confidence": pa.float64(),
        "coverage": pa.float64(),
        "accuracy": pa.float64(),
    }
)
"""One row a step: accuracy of the pool's answers before the round of at least this confidence."""


def reliability_table(rounds: Iterable[AuditedRound]) -> pa.Table:
    """Returns the reliability of each source's answers before and after each of its rounds."""
    rows: list[Mapping[str, Any]] = []
    for source, members in _by_source(rounds).items():
        sets: dict[tuple[Items, Moment], list[PoolAnswers]] = {}
        for audited in members:
            for items, moment, answers in audited.answers():
                sets.setdefault((items, moment), []).append(answers)
        for (items, moment), answered in sets.items():
            named = {**dict(source), "items": items, "moment": moment}
            rows += ({**named, **row} for row in _bins(answered))
    return pa.Table.from_pylist(rows, schema=RELIABILITY)


def _bins(answered: Sequence[PoolAnswers]) -> Iterator[Mapping[str, Any]]:
    """Yields the bins of some seeds' answers, for all levels and each level and both binnings."""
    for level, members in _levels(answered):
        for binning in _BINNINGS:
            calibration = calibrate(*_scored(members), binning=binning)
            for bin_ in calibration.bins:
                yield {
                    **asdict(bin_),
                    "num_seeds": len(members),
                    "level": level,
                    "binning": binning,
                    "ece": calibration.ece,
                }


def selective_table(rounds: Iterable[AuditedRound]) -> pa.Table:
    """Returns the selective accuracy of each source's pseudo-labels before each of its rounds."""
    rows: list[Mapping[str, Any]] = []
    for source, members in _by_source(rounds).items():
        for level, answered in _levels([audited.pool for audited in members]):
            shared = {**dict(source), "num_seeds": len(answered), "level": level}
            rows += ({**shared, **step} for step in _steps(answered))
    return pa.Table.from_pylist(rows, schema=SELECTIVE)


def _steps(answered: Sequence[PoolAnswers]) -> Iterator[Mapping[str, float]]:
    """The curve at even coverages: for each the first step that reaches it."""
    curve = selective_accuracy(*_scored(answered)).curve
    last = -1
    for step in curve:
        place = math.floor(STEPS * step.coverage)
        if place > last:
            last = place
            yield asdict(step)


def _by_source(
    rounds: Iterable[AuditedRound],
) -> dict[tuple[tuple[str, Any], ...], list[AuditedRound]]:
    """Rounds by source, with its seeds together."""
    sources: dict[tuple[tuple[str, Any], ...], list[AuditedRound]] = {}
    for audited in rounds:
        planned = audited.planned
        names = {
            "task": planned.cell.task,
            "measure": planned.measure,
            "model": planned.model_name,
            "recipe": recipe_text(planned.cell.recipe),
            "source": condition_label(planned),
            "role": condition_kind(planned),
            "ssrm_round": planned.cell.round,
        }
        sources.setdefault(tuple(names.items()), []).append(audited)
    return sources


def _levels(answered: Sequence[PoolAnswers]) -> Iterator[tuple[str | None, list[PoolAnswers]]]:
    """Yields all answers together, then those of each level."""
    yield None, list(answered)
    for level in sorted({level for answers in answered for level in answers.levels}):
        parts = [
            answers.take(np.flatnonzero(np.array(answers.levels) == level)) for answers in answered
        ]
        yield level, [part for part in parts if part.ids]


def _scored(answered: Sequence[PoolAnswers]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Confidences and scores of some seeds' answers, concatenated."""
    return (
        np.concatenate([answers.confidence for answers in answered]),
        np.concatenate([answers.correct for answers in answered]),
    )


def audit_table(rows: Sequence[AuditRow]) -> pa.Table:
    """Returns the rows as a tidy table, as in audit.parquet; missing values are null."""
    hints = get_type_hints(AuditRow)
    return pa.table(
        {
            field.name: pa.array(
                [getattr(row, field.name) for row in rows], _arrow_type(hints[field.name])
            )
            for field in fields(AuditRow)
        }
    )


def _arrow_type(hint: Any) -> pa.DataType:
    """The type of a column by the annotation of its field; literals are texts."""
    kinds = set(get_args(hint)) or {hint}
    if get_origin(hint) is tuple:
        return pa.list_(pa.int64())
    if float in kinds:
        return pa.float64()
    return pa.int64() if int in kinds else pa.string()
