"""Loss curves of the trained cells: a panel per model and recipe, a curve per condition."""

from __future__ import annotations

import numpy as np

from search_spaces.recipes import InContext, LinearProbe, ZeroShot
from study.analysis.accuracy_curves import Curve, CurvePanel, CurvePoint, condition_order
from study.analysis.names import recipe_labels
from study.analysis.surface import Surface
from study.analysis.surface_rows import recipe_text
from study.artifacts.condition_kinds import condition_label
from study.artifacts.plan import Plan
from trainables.storage.filesystem import Storage, map_parallel
from trainables.storage.records import read_curve

MAX_CELLS = 300
"""Cells whose curves are read; more would be slow and unreadable."""

MAX_POINTS = 60
"""Points per curve; longer curves are thinned."""


def loss_panels(storage: Storage, plan: Plan, surface: Surface) -> tuple[CurvePanel, ...]:
    """Returns the mean loss over seeds at each optimizer step, for cells that wrote a curve."""
    trained = [
        cell
        for cell in plan.cells
        if cell.id in surface.scores.records
        and not isinstance(cell.cell.recipe, ZeroShot | InContext | LinearProbe)
    ][:MAX_CELLS]
    curves = map_parallel(storage, lambda cell: read_curve(storage, cell.id), trained)
    labels = recipe_labels(cell.cell.recipe for cell in trained)
    has_rounds = any(cell.cell.round > 1 for cell in plan.cells)
    losses: dict[tuple[str, ...], dict[str, dict[int, list[float]]]] = {}
    for cell, curve in zip(trained, curves, strict=True):
        recipe = cell.cell.recipe
        key = (labels[recipe_text(recipe)], cell.model_name, recipe.method, cell.cell.task)
        name = condition_label(cell, has_rounds=has_rounds)
        steps = losses.setdefault(key, {}).setdefault(name, {})
        for number, entry in enumerate(curve):
            if "loss" in entry:
                steps.setdefault(int(entry.get("step", number)), []).append(entry["loss"])
    several_tasks = len({key[-1] for key in losses}) > 1
    order = condition_order(surface)
    last = len(order)
    panels = [
        CurvePanel(
            row=label,
            column=f"{model}, {task}" if several_tasks else model,
            x_title="optimizer step",
            model=model,
            method=method,
            task=task,
            curves=tuple(
                Curve(name=name, points=_points(steps))
                for name, steps in sorted(
                    conditions.items(), key=lambda entry: order.get(entry[0], last)
                )
                if steps
            ),
        )
        for (label, model, method, task), conditions in losses.items()
    ]
    return tuple(panel for panel in panels if panel.curves)


def _points(steps: dict[int, list[float]]) -> tuple[CurvePoint, ...]:
    ordered = sorted(steps)
    thinned = ordered[:: max(len(ordered) // MAX_POINTS, 1)]
    return tuple(
        CurvePoint(
            x=float(step),
            label=str(step),
            mean=float(np.mean(steps[step])),
            low=None,
            high=None,
            num_items=len(steps[step]),
        )
        for step in thinned
    )
