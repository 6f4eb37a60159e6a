"""Calibration of every condition: is a model that is 70 % sure right 70 % of the time?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

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
from study.statistics.calibration import Calibration, calibrate
from study.statistics.differences import estimate_contrast, paired_difference
from study.statistics.resampling.calibration_intervals import (
    CalibrationError,
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
    calibration: Calibration
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
                    found[key] = _row(
                        surface, reader, row, place, (method, condition), (arm, start)
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


def _row(
    surface: Surface,
    reader: ArmReader,
    row: SurfaceRow,
    place: AnyPlace,
    names: tuple[str, str],
    arms: tuple[PlannedArm, PlannedArm | None],
) -> CalibrationRow | None:
    """The calibration of one arm; None if it has not finished, or has no confidences there."""
    arm, start = arms
    test = reader.test_level(*place)
    if not len(test.columns) or not reader.is_finished(arm):
        return None
    confidence = reader.confidence(arm, place)
    answers = reader.arm(arm, *place)
    correct = np.where(np.isnan(confidence), np.nan, answers.scores)
    seen = ~np.isnan(correct)
    if not seen.any():
        return None
    level, clusters = surface.level, test.clusters
    before = start if start is not None and reader.is_finished(start) else None
    scores = reader.brier(arm, place)
    return CalibrationRow(
        task=place[0],
        measure=place[1],
        model=row.point.model,
        method=names[0],
        recipe=recipe_text(row.point.recipe),
        condition=names[1],
        test_level=None if place[2] is None else place[2].name,
        num_items=int(seen.any(axis=1).sum()),
        num_seeds=len(arm.cells),
        accuracy=float(correct[seen].mean()),
        confidence=float(confidence[seen].mean()),
        calibration=calibrate(confidence[seen], correct[seen]),
        ece=ece_interval(
            confidence, correct, level=level, clusters=clusters, rng=np.random.default_rng(0)
        ),
        brier=Interval.of(
            estimate_contrast({"arm": scores}, {"arm": 1.0}, level=level, clusters=clusters)
        ),
        brier_change=Interval()
        if before is None
        else Interval.of(
            paired_difference(scores, reader.brier(before, place), level=level, clusters=clusters)
        ),
        selective_area=Interval.of(
            selective_interval(
                confidence, replace(answers, scores=correct), level=level, clusters=clusters
            )
        ),
    )
