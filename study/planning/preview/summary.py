"""A plan, or an estimate of one, as text for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from search_spaces.explain import count
from search_spaces.levels import Level
from search_spaces.recipes import num_labels
from search_spaces.space import Space, TaskAxis
from study.artifacts.costs import StudyCost
from study.artifacts.plan import LevelSize, Plan, PlannedTask
from study.cost.budget import price_plan
from study.cost.flops import CPU_FLOP_PER_SECOND, START_SECONDS
from study.cost.jobs import PricingOptions
from study.cost.memory import cpu_notes, quantization_notes
from study.cost.pricer import shapes_of
from study.cost.text import describe_cost
from study.formatting import aligned, clock, params
from study.planning.preview.offline_estimate import Estimate
from trainables.data.tasks.published_sizes import FACTS
from trainables.data.tasks.registry import find_task

SAME_DRAWS = 0.9
"""Share of a pool from which on two draws are nearly the same."""


def format_plan(plan: Plan, *, num_finished: int | None = None) -> str:
    """Returns the plan's pools, models, points, cells, expected work and cost."""
    lines = [f"Space {plan.space.name}"]
    for task in plan.tasks:
        lines += _task_lines(task, plan.space)
    sizes = ", ".join(
        f"{model.name} ({params(model.num_params)}, {model.dtype})" for model in plan.models
    )
    lines += [
        f"  models    {sizes}",
        *_quantization_lines(plan),
        f"  points    {len(plan.points)}",
        f"  cells     {len(plan.cells):,} distinct: {_methods(plan)}",
        *_search_lines(plan),
        *([] if num_finished is None else [f"  finished  {num_finished}"]),
        f"  blocks    1 a node, here 1, of {count(len(plan.units), 'unit')} that workers claim",
        f"  work      {plan.flop:.2g} FLOP, about "
        f"{clock(plan.flop / CPU_FLOP_PER_SECOND)} of one CPU core (a guess until cells are timed)",
        "            plus the time to load the weights and, on Ray, about "
        f"{clock(START_SECONDS)} to start its workers",
        *([] if plan.cost is None else describe_cost(plan.cost)),
    ]
    return "\n".join(lines)


def _search_lines(plan: Plan) -> list[str]:
    """Returns the labels that recipe searches used, besides those of the cells."""
    searched = {
        (point.recipe.method, point.model, point.task): point.search_labels
        for point in plan.points
        if point.search_labels is not None
    }
    return [
        f"  search    {count(number, 'label')} chose the {method} recipe of {model} on {task}, "
        "once, besides the labels of its cells"
        for (method, model, task), number in searched.items()
    ]


def format_estimate(
    estimate: Estimate, reason: str, pricing: PricingOptions
) -> tuple[str, StudyCost]:
    """Returns the estimate of a space that cannot be planned here, and its cost.

    Args:
        estimate: Its plan with stubs.
        reason: Why it cannot be planned.
        pricing: What nodes cost.
    """
    plan, space = estimate.plan, estimate.plan.space
    cost = price_plan(plan if estimate.is_sized else _without_sizes(plan), pricing)
    each = len(plan.cells) // len(plan.models)
    lines = [f"Space {space.name}: NOT CHECKED, no ids", f"  reason      {reason}"]
    for name in dict.fromkeys(axis.task for axis in space.tasks):
        axes = [axis for axis in space.tasks if axis.task == name]
        lines += _unloaded_lines(name, axes, is_here=name in estimate.checked_tasks)
    rows = [("name", "weights", "dtype", "cells", "")]
    for model in plan.models:
        status = "here and checked" if model.name in estimate.checked_models else "not checked"
        rows.append((model.name, params(model.num_params), model.dtype, f"{each:,}", status))
    text = "\n".join(
        [
            *lines,
            "  models",
            *aligned(rows, indent=12),
            *_quantization_lines(plan),
            f"  points      {len(plan.points):,}",
            f"  cells       {len(plan.cells):,} distinct: {_methods(plan)}",
            *describe_cost(cost),
            "            assumes that all items are test items",
        ]
    )
    return text, cost


def _without_sizes(plan: Plan) -> Plan:
    models = (model.model_copy(update={"num_params": None}) for model in plan.models)
    return plan.model_copy(update={"models": tuple(models)})


def _methods(plan: Plan) -> str:
    """Returns the number of cells of each method."""
    methods = Counter(cell.cell.recipe.method for cell in plan.cells)
    return ", ".join(f"{number:,} {name}" for name, number in methods.items())


_UNPUBLISHED = "no published counts, not checked"


def _unloaded_lines(task: str, axes: Sequence[TaskAxis], *, is_here: bool) -> list[str]:
    """Returns a task with the published counts of its levels."""
    head = f"  task        {task}: "
    facts = FACTS.get(task)
    if is_here or facts is None:
        measures = ", ".join(axis.measure for axis in axes)
        status = "data is here and was checked" if is_here else _UNPUBLISHED
        return [f"{head}{status}; by {measures}"]
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


def _quantization_lines(plan: Plan) -> list[str]:
    asked = frozenset(cell.cell.recipe.quantization for cell in plan.cells)
    shapes = shapes_of(plan.models)
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
    notes = [*task.notes, *_pool_notes(task, space, n)]
    return lines + [f"            note: {note}" for note in notes]


def _pool_notes(task: PlannedTask, space: Space, num_labels: int) -> Iterator[str]:
    """Yields a warning if draws of a training level's pool are nearly the same."""
    trained = {
        level.name
        for axis in space.tasks
        if (axis.task, axis.measure) == (task.task, task.measure)
        for level in axis.train_levels
    }
    names = [
        level.level
        for level in task.levels
        if level.level in trained and num_labels >= SAME_DRAWS * level.pool
    ]
    if names and space.seeds > 1:
        yield (
            f"draws of {count(num_labels, 'item')} of {', '.join(names)} are nearly the same for "
            "all seeds, so intervals do not cover other labels: add items, or lower n_train"
        )


def _level_row(level: LevelSize, n: int) -> tuple[str, ...]:
    band = "" if level.low is None else f"{level.low:g} to {level.high:g}"
    overlap = f"{n / level.pool:.0%}" if level.pool >= n else "pool too small to draw from"
    test = str(level.test)
    if level.test < level.whole_test:
        test += f" of {level.whole_test}"
    return (level.level, band, str(level.pool), test, overlap)
