"""Calibration of every condition: is a model that is 70 % sure right 70 % of the time?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from study.analysis.accuracy_curves import condition_order, named_arms
from study.analysis.names import hidden_rounds, recipe_labels
from study.analysis.scores import UNSEEN, TaskScores
from study.analysis.surface import Surface
from study.analysis.surface_rows import recipe_text
from study.artifacts import points
from study.statistics.calibration import Calibration, calibrate
from study.statistics.marginal_means import FloatArray
from study.statistics.resampling.bootstrap import Bootstrapped, bootstrap_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRow:
    """Calibration of one arm on all test items, with its seeds pooled."""

    task: str
    model: str
    method: str
    condition: str
    calibration: Calibration
    ece: Bootstrapped
    """Its expected calibration error, with the interval over items and seeds."""


def calibration_rows(surface: Surface) -> tuple[CalibrationRow, ...]:
    """Returns the calibration of every arm with a finished cell."""
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    arms: dict[tuple[str, ...], points.PlannedArm] = {}
    hidden = hidden_rounds(surface.rows)
    for row in surface.rows:
        point = row.point
        for condition, arm in named_arms(row, hidden).items():
            key = (point.task, point.model, labels[recipe_text(point.recipe)], condition)
            arms.setdefault(key, arm)
    rows = []
    order = condition_order(surface)
    for (task, model, method, condition), arm in sorted(
        arms.items(), key=lambda entry: order[entry[0][-1]]
    ):
        found = _with_interval(surface.scores.tasks[task], arm.cells, surface.level)
        if found is not None:
            rows.append(
                CalibrationRow(
                    task=task,
                    model=model,
                    method=method,
                    condition=condition,
                    calibration=found[0],
                    ece=found[1],
                )
            )
    return tuple(rows)


def _with_interval(
    scores: TaskScores, cells: Iterable[str], level: float
) -> tuple[Calibration, Bootstrapped] | None:
    """Calibration of an arm over all its answers, and its ECE over items and seeds."""
    rows = np.array([scores.row[id_] for id_ in cells if id_ in scores.row], dtype=np.intp)
    correct = scores.correct[rows].T.astype(np.float64)
    correct[correct == UNSEEN] = np.nan
    if np.isnan(correct).all():
        return None
    confidence = scores.confidence[rows].T.astype(np.float64)
    found = bootstrap_interval(
        lambda sure, right: _calibrate(sure, right).ece,
        *(confidence, correct),
        bounds=(0.0, 1.0),
        level=level,
        rng=np.random.default_rng(0),
    )
    return _calibrate(confidence, correct), found


def _calibrate(confidence: FloatArray, correct: FloatArray) -> Calibration:
    """Calibration of the scored answers."""
    scored = ~np.isnan(correct)
    return calibrate(confidence[scored], correct[scored])
