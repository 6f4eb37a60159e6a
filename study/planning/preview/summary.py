"""What a plan looks like to the person who is about to spend on it: plain text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from search_spaces.levels import Level
from search_spaces.recipes import num_labels
from search_spaces.space import Space, TaskAxis
from study.artifacts.costs import StudyCost
from study.artifacts.plan import LevelSize, Plan, PlannedTask
from study.cost.flops import CPU_FLOP_PER_SECOND
from study.cost.jobs import PricingOptions
from study.cost.memory import ModelShape, cpu_notes, quantization_notes
from study.cost.pricer import shapes_of
from study.cost.text import describe_cost
from study.formatting import aligned, clock
from study.planning.preview.offline_estimate import (
    ModelOutlook,
    count,
    look_at_models,
    look_at_tasks,
    price_outlook,
)
from trainables.data.tasks.published_sizes import FACTS
from trainables.data.tasks.registry import find_task


def format_plan(plan: Plan, *, num_finished: int | None = None) -> str:
    """Returns the plan's points, cells, pools, expected work and cost, a line each."""
    lines = [f"Space {plan.space.name}"]
    for task in plan.tasks:
        lines += _task_lines(task, plan.space)
    sizes = ", ".join(
        f"{model.name} ({_count(model.num_params)}, {model.dtype})" for model in plan.models
    )
    methods = Counter(cell.cell.recipe.method for cell in plan.cells)
    lines += [
        f"  models    {sizes}",
        *_quantization_lines(
            shapes_of(plan.models), (cell.cell.recipe.quantization for cell in plan.cells)
        ),
        f"  points    {len(plan.points)}",
        f"  cells     {len(plan.cells)} distinct: "
        + ", ".join(f"{count} {method}" for method, count in methods.items()),
        *_search_lines(plan),
        *([] if num_finished is None else [f"  finished  {num_finished}"]),
        f"  blocks    1 a node, here 1, of {len(plan.units)} units that workers claim",
        f"  work      {plan.flop:.2g} FLOP, about "
        f"{clock(plan.flop / CPU_FLOP_PER_SECOND)} of one CPU core (a guess until cells are timed)",
        *([] if plan.cost is None else describe_cost(plan.cost)),
    ]
    return "\n".join(lines)


def _search_lines(plan: Plan) -> list[str]:
    """Returns what recipes that were searched for cost in labels, beside those of their cells."""
    searched = {
        (point.recipe.method, point.model, point.task): point.search_labels
        for point in plan.points
        if point.search_labels is not None
    }
    return [
        f"  search    {number} labels chose the {method} recipe of {model} on {task}, once, beside "
        "those that its cells train on"
        for (method, model, task), number in searched.items()
    ]


def format_estimate(
    space: Space,
    reason: str,
    data_root: Path | None,
    pricing: PricingOptions,
    *,
    skip_bad_rows: bool = False,
) -> tuple[str, StudyCost]:
    """Returns what a space would run where some of its data or models are not here, and its price.

    Args:
        space: What is asked for.
        reason: Why it cannot be planned.
        data_root: Folder with local copies of data sets, where there is one.
        pricing: What nodes cost.
        skip_bad_rows: Leave out rows that cannot be used, instead of stopping at the first.

    Raises:
        ValueError: If data or a model that is here cannot be used.
    """
    outlook = count(space)
    tasks = list(look_at_tasks(space, data_root, skip_bad_rows=skip_bad_rows))
    models = list(look_at_models(space))
    sizes = {task.name: task.size for task in tasks}
    cost = price_outlook(space, outlook, models, sizes, pricing)
    methods = ", ".join(f"{number:,} {name}" for name, number in outlook.cells_by_method.items())
    each = outlook.num_cells // len(space.models)
    lines = [f"Space {space.name}: NOT CHECKED, no ids", f"  reason      {reason}"]
    for task in tasks:
        axes = [axis for axis in space.tasks if axis.task == task.name]
        lines += _unloaded_lines(task.name, axes, is_here=task.is_here)
    text = "\n".join(
        [
            *lines,
            "  models",
            *aligned(
                [
                    ("name", "weights", "dtype", "cells", ""),
                    *(_model_row(model, each) for model in models),
                ],
                indent=12,
            ),
            *_quantization_lines(
                {model.name: model.shape for model in models},
                (recipe.quantization for axis in space.tasks for recipe in space.recipes(axis)),
            ),
            f"  points      {outlook.num_points:,}",
            f"  cells       {outlook.num_cells:,} distinct: {methods}",
            *describe_cost(cost),
            "            all items are taken to be tested",
        ]
    )
    return text, cost


_UNPUBLISHED = "nothing is published, counts unknown, not checked"


def _unloaded_lines(task: str, axes: Sequence[TaskAxis], *, is_here: bool) -> list[str]:
    """Returns a task with the counts of its levels that are published."""
    head = f"  task        {task}: "
    facts = FACTS.get(task)
    if is_here or facts is None:
        measures = ", ".join(axis.measure for axis in axes)
        what = "data is here and was checked" if is_here else _UNPUBLISHED
        return [f"{head}{what}; by {measures}"]
    guess = "; text lengths are assumed" if facts.is_assumed else ""
    lines = [f"{head}{facts.num_items:,} items, not checked ({facts.source}{guess})"]
    for axis in axes:
        levels = dict.fromkeys((*axis.train_levels, *axis.test_levels))
        counts = ", ".join(f"{level.name} {_published_count(axis, level)}" for level in levels)
        lines.append(f"              by {axis.measure}: {counts}")
    return lines


def _published_count(axis: TaskAxis, level: Level) -> str:
    facts = FACTS[axis.task]
    if axis.bounds == "quantiles":
        return f"about {(level.high - level.low) * facts.num_items:,.0f}"
    for cut in find_task(axis.task).cuts.get(axis.measure, {}).values():
        for standard in cut:
            if (standard.low, standard.high) == (level.low, level.high):
                known = facts.levels.get(axis.measure, {}).get(standard.name)
                return "unknown" if known is None else f"{known:,}"
    return "unknown"


def _model_row(model: ModelOutlook, num_cells: int) -> tuple[str, ...]:
    return (
        model.name,
        _count(model.num_params),
        model.shape.dtype,
        f"{num_cells:,}",
        "here and checked" if model.is_here else "not checked",
    )


def _quantization_lines(
    shapes: Mapping[str, ModelShape], quantizations: Iterable[str]
) -> list[str]:
    asked = frozenset(quantizations)
    notes = (*quantization_notes(shapes, asked), *cpu_notes(shapes, asked))
    return [f"            note: {note}" for note in notes]


def _task_lines(task: PlannedTask, space: Space) -> list[str]:
    n = max(num_labels(recipe) for recipe in space.methods)
    lines = [
        f"  task      {task.task} by {task.measure}: {task.source}",
        f"            data {task.data_hash[:12]}, split {task.split_hash[:12]}, "
        f"{task.num_test} test items",
        *aligned(
            [
                ("level", "band", "pool", "test", f"overlap of {n}-item draws"),
                *(_level_row(level, n) for level in task.levels),
            ],
            indent=12,
        ),
    ]
    return lines + [f"            note: {note}" for note in task.notes]


def _level_row(level: LevelSize, n: int) -> tuple[str, ...]:
    band = "" if level.low is None else f"{level.low:g} to {level.high:g}"
    overlap = f"{n / level.pool:.0%}" if level.pool >= n else "pool too small to draw from"
    test = str(level.test)
    if level.test < level.whole_test:
        test += f" of {level.whole_test}"
    return (level.level, band, str(level.pool), test, overlap)


def _count(number: int | None) -> str:
    if number is None:
        return "size unknown"
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
