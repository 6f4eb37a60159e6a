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


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRow:
    """Calibration of one arm on all test items, with its seeds pooled."""

    task: str
    model: str
    method: str
    condition: str
    calibration: Calibration


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
        calibration = _calibration(surface.scores.tasks[task], arm.cells)
        if calibration is not None:
            rows.append(
                CalibrationRow(
                    task=task,
                    model=model,
                    method=method,
                    condition=condition,
                    calibration=calibration,
                )
            )
    return tuple(rows)


def _calibration(scores: TaskScores, cells: Iterable[str]) -> Calibration | None:
    rows = np.array([scores.row[id_] for id_ in cells if id_ in scores.row], dtype=np.intp)
    scored = scores.correct[rows] != UNSEEN
    if not scored.any():
        return None
    return calibrate(scores.confidence[rows][scored], scores.correct[rows][scored])
