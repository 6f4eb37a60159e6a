"""The item browser: one HTML file that opens from disk without a network.

The results of all arms are packed into bytes, so that 10,000 items and many arms stay small.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from numpy.typing import NDArray

from study.analysis.items.results import ItemArm, TaskResults
from study.analysis.scores import UNREAD, UNSEEN
from study.artifacts.plan import Plan
from study.reporting.html import render, script_json
from study.reporting.items.texts import TaskTexts

SHARE_STEPS = 200
"""Steps between 0 and 1 of a packed share."""

NO_SHARE = 255
"""Packed share that is unknown."""

NO_ANSWER, NO_CHOICE = 0xFFFF, 0xFFFE
"""Packed choices: no answer; an answer that names no choice."""


def items_page(
    plan: Plan, results: Mapping[str, TaskResults], texts: Mapping[str, TaskTexts]
) -> str:
    """Returns items.html, with the items that at least one arm was scored on.

    Args:
        plan: Of the study.
        results: Task -> results of its test items.
        texts: Task -> its items; those of a task without text are shown by their ids.
    """
    axes: dict[str, list[str]] = {}
    for axis in plan.space.tasks:
        axes.setdefault(axis.task, []).append(axis.measure)
    tasks = [
        _task_data(name, axes[name], results[name], texts.get(name, TaskTexts())) for name in axes
    ]
    return render(
        "items.html",
        space=plan.space.name,
        without_text=[task["name"] for task in tasks if task["questions"] is None],
        data=Markup(script_json(tasks)),
    )


def _task_data(
    name: str, axis_measures: list[str], results: TaskResults, texts: TaskTexts
) -> dict[str, Any]:
    scored = np.flatnonzero((results.predicted != UNSEEN).any(axis=0))
    table = results.items.table.take(pa.array(scored))
    ids: list[str] = table["id"].to_pylist()
    items = [texts.items[id_] for id_ in ids] if texts.items else None
    measures = sorted(results.measures, key=lambda measure: measure not in axis_measures)
    return {
        "name": name,
        "ids": ids,
        "questions": None if items is None else [item.question for item in items],
        "choices": None if items is None else [item.choices for item in items],
        "gold": table["gold"].to_pylist(),
        "sizes": table["num_choices"].to_pylist(),
        "topics": table["topic"].to_pylist(),
        "groups": table["group"].to_pylist(),
        "measures": {
            measure: [
                None if math.isnan(value) else value
                for value in results.measures[measure][scored].tolist()
            ]
            for measure in measures
        },
        "levels": {
            measure: [names[row] for row in scored.tolist()]
            for measure, names in results.levels.items()
        },
        "arms": [_arm_data(arm) for arm in results.arms],
        "right": _packed(_shares(results.right[:, scored])),
        "confidence": _packed(_shares(results.confidence[:, scored])),
        "agreement": _packed(_shares(results.agreement[:, scored])),
        "predicted": _packed(_choices(results.predicted[:, scored])),
    }


def _arm_data(arm: ItemArm) -> dict[str, Any]:
    return {
        "model": arm.model,
        "method": arm.method,
        "condition": arm.condition,
        "measure": arm.measure,
        "kind": arm.kind,
        "place": arm.level_place,
        "places": arm.num_levels,
        "floor": arm.zero_shot,
        "seeds": len(arm.cells),
        "planned": arm.num_planned,
    }


def _shares(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    known = ~np.isnan(values)
    steps = np.rint(np.where(known, values, 0.0) * SHARE_STEPS)
    return np.where(known, steps, NO_SHARE).astype(np.uint8)


def _choices(values: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Returns the choices as little-endian integers, as browsers have them."""
    shown = np.where(values == UNSEEN, NO_ANSWER, np.where(values == UNREAD, NO_CHOICE, values))
    return shown.astype("<u2")


def _packed(values: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
