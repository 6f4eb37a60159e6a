"""Calibration of every condition: is a model that is 70 % sure right 70 % of the time?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.analysis.accuracy_curves import condition_order, named_arms
from study.analysis.names import hidden_rounds, recipe_labels
from study.analysis.surface import AnyPlace, ArmReader, Surface
from study.analysis.surface_columns import (
    FLOAT,
    FRACTION,
    INTEGER,
    TEXT,
    Column,
    declared_table,
    interval_columns,
)
from study.analysis.surface_rows import Interval, SurfaceRow, recipe_text
from study.artifacts.points import PlannedArm
from study.statistics.arms import ArmScores
from study.statistics.differences import estimate_contrast, paired_difference
from study.statistics.resampling.calibration_intervals import (
    BinAccuracy,
    CalibrationError,
    bin_accuracies,
    ece_interval,
    selective_interval,
)

SQUARED = "squared probability"

MAX_ROWS = 500
"""Arms and test levels that are computed, in the order of the surface: the intervals are resampled,
which takes 10 ms each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRow:
    """Calibration of one finished arm on one test level, its seeds pooled."""

    task: str
    measure: str | None
    """Of the test level."""
    model: str
    method: str
    recipe: str
    condition: str
    test_level: str | None
    """None: all test items of the task."""
    num_items: int
    num_seeds: int
    accuracy: float
    confidence: float
    """Mean over the answers."""
    bins: tuple[BinAccuracy, ...]
    """Reliability: accuracy by confidence, in 10 bins of equal width."""
    ece: CalibrationError
    """Expected calibration error."""
    brier: Interval
    brier_change: Interval
    """Of a self-trained arm: the paired difference of its Brier score and its start's."""
    selective_area: Interval
    """Area under selective accuracy."""


CALIBRATION_COLUMNS: tuple[Column, ...] = (
    Column("task", TEXT, "", "task", "task"),
    Column("measure", TEXT, "", "measure", "hardness measure of the test level"),
    Column("model", TEXT, "", "model", "base model"),
    Column("recipe", TEXT, "", "recipe", "recipe with all its factors"),
    Column("condition", TEXT, "", "condition", "source of supervision"),
    Column("test_level", TEXT, "", "test_level", "level of the test items; null: all test items"),
    Column("num_items", INTEGER, "items", "num_items", "test items"),
    Column("num_seeds", INTEGER, "seeds", "num_seeds", "seeds of the arm"),
    Column("accuracy", FLOAT, FRACTION, "accuracy", "accuracy of the answers"),
    Column("confidence", FLOAT, FRACTION, "confidence", "mean probability of the answers given"),
    *interval_columns("ece", FRACTION, "expected calibration error, 10 bins", has_p_value=False),
    *interval_columns(
        "brier", SQUARED, "Brier score, summed over the choices: 0 to 2", has_p_value=False
    ),
    *interval_columns("brier_change", SQUARED, "Brier score after minus before self-training"),
    *interval_columns(
        "selective_area", FRACTION, "mean accuracy over all coverages", has_p_value=False
    ),
)
"""Columns of calibration.parquet, in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityRow:
    """One bin of an arm's answers to a test level."""

    of: CalibrationRow
    bin: BinAccuracy


RELIABILITY_COLUMNS: tuple[Column, ...] = (
    *(replace(column, path=f"of.{column.path}") for column in CALIBRATION_COLUMNS[:6]),
    Column("confidence", FLOAT, FRACTION, "bin.confidence", "mean confidence in the bin"),
    Column("accuracy", FLOAT, FRACTION, "bin.accuracy", "accuracy of the answers in the bin"),
    Column("accuracy_low", FLOAT, FRACTION, "bin.low", "lower end of the interval of accuracy"),
    Column("accuracy_high", FLOAT, FRACTION, "bin.high", "upper end of the interval of accuracy"),
    Column("count", INTEGER, "answers", "bin.count", "answers in the bin, over items and seeds"),
)
"""Columns of calibration_bins.parquet, in their order."""


def reliability_rows(rows: Sequence[CalibrationRow]) -> tuple[ReliabilityRow, ...]:
    """Returns the bins of all rows."""
    return tuple(ReliabilityRow(of=row, bin=bin_) for row in rows for bin_ in row.bins)


def bins_table(rows: Sequence[CalibrationRow]) -> pa.Table:
    """Returns calibration_bins.parquet: a row for each arm, test level and bin of confidence."""
    return declared_table(RELIABILITY_COLUMNS, reliability_rows(rows))


def calibration_rows(surface: Surface) -> tuple[CalibrationRow, ...]:
    """Returns the calibration of finished arms: on all test items, then on each test level.

    Of a study with more than `MAX_ROWS` arms and levels, those of the first points.

    Arms that generate their answers have no confidence, and no row.
    """
    reader = ArmReader(surface.items, surface.scores)
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    hidden = hidden_rounds(surface.rows)
    order = condition_order(surface)
    found: dict[tuple[object, ...], CalibrationRow | None] = {}
    for row in surface.rows:
        for condition, arm, start in _arms(row, hidden):
            method = labels[recipe_text(row.point.recipe)]
            for place in ((row.point.task, None, None), row.point.place):
                key = (place, row.point.model, method, condition)
                if key not in found and len(found) < MAX_ROWS:
                    answers = _answers(reader, arm, start, place)
                    names = (method, condition)
                    found[key] = (
                        None if answers is None else _row(answers, row, place, names, surface.level)
                    )
    rows = [row for row in found.values() if row is not None]
    return tuple(sorted(rows, key=lambda row: (row.test_level is not None, order[row.condition])))


def calibration_table(rows: Sequence[CalibrationRow]) -> pa.Table:
    """Returns calibration.parquet: a row for each arm and test level."""
    return declared_table(CALIBRATION_COLUMNS, rows)


def _arms(
    row: SurfaceRow, hidden: frozenset[str]
) -> Iterator[tuple[str, PlannedArm, PlannedArm | None]]:
    """Yields the condition of each arm of a point, and what a self-trained one starts from."""
    for condition, arm in named_arms(row, hidden).items():
        yield condition, arm, row.point.start if arm == row.point.easy else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Answers:
    """The answers of a finished arm to the items of a test level that have a confidence."""

    confidence: NDArray[np.float64]
    """[items, seeds]"""
    scores: ArmScores
    brier: ArmScores
    brier_before: ArmScores | None
    """Of what a self-trained arm starts from."""
    clusters: tuple[str, ...] | None


def _answers(
    reader: ArmReader, arm: PlannedArm, start: PlannedArm | None, place: AnyPlace
) -> _Answers | None:
    """The answers of an arm; None if it has not finished, or has no confidences there."""
    test = reader.test_level(*place)
    if not len(test.columns) or not reader.is_finished(arm):
        return None
    confidence = reader.confidence(arm, place)
    if np.isnan(confidence).all():
        return None
    scores = reader.arm(arm, *place)
    has_start = start is not None and reader.is_finished(start)
    return _Answers(
        confidence=confidence,
        scores=replace(scores, scores=np.where(np.isnan(confidence), np.nan, scores.scores)),
        brier=reader.brier(arm, place),
        brier_before=reader.brier(start, place) if start is not None and has_start else None,
        clusters=test.clusters,
    )


def _row(
    answers: _Answers, row: SurfaceRow, place: AnyPlace, names: tuple[str, str], level: float
) -> CalibrationRow:
    confidence, correct, clusters = answers.confidence, answers.scores.scores, answers.clusters
    seen = ~np.isnan(correct)
    return CalibrationRow(
        task=place[0],
        measure=place[1],
        model=row.point.model,
        method=names[0],
        recipe=recipe_text(row.point.recipe),
        condition=names[1],
        test_level=None if place[2] is None else place[2].name,
        num_items=int(seen.any(axis=1).sum()),
        num_seeds=correct.shape[1],
        accuracy=float(correct[seen].mean()),
        confidence=float(confidence[seen].mean()),
        bins=bin_accuracies(confidence, correct, level=level, clusters=clusters),
        ece=ece_interval(
            confidence, correct, level=level, clusters=clusters, rng=np.random.default_rng(0)
        ),
        brier=Interval.of(
            estimate_contrast({"arm": answers.brier}, {"arm": 1.0}, level=level, clusters=clusters)
        ),
        brier_change=_brier_change(answers, level),
        selective_area=Interval.of(
            selective_interval(confidence, answers.scores, level=level, clusters=clusters)
        ),
    )


def _brier_change(answers: _Answers, level: float) -> Interval:
    before = answers.brier_before
    if before is None:
        return Interval()
    return Interval.of(
        paired_difference(answers.brier, before, level=level, clusters=answers.clusters)
    )
