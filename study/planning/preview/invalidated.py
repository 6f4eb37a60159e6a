"""What a study that has grown does not use again, said before it runs.

Cells keep their ids when a study gets more sizes, seeds, levels or thresholds. They do not when the
split of their task is another one. A draw with more labels than any before makes another split: its
pools are larger. `Space.split_for` holds it. So do training levels that the split keeps no pool for
yet: levels of a space's own, and on a user's own data every further one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from search_spaces.space import Space
from study.artifacts.plan import Plan
from study.planning.conditions import split_draw
from trainables.storage import layout
from trainables.storage.filesystem import Storage


def describe_invalidated_cells(storage: Storage, plan: Plan) -> tuple[str, ...]:
    """Returns a sentence for each task whose cells of the study's older plan are of no use now.

    Args:
        storage: The run folder, with the plan of an earlier run or without one.
        plan: What is asked for now.
    """
    try:
        old = json.loads(storage.read_bytes(layout.plan(plan.space.name)))
        return tuple(_lost(storage, old, plan))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ()  # no older plan, or one of another version: nothing can be said of it


def _lost(storage: Storage, old: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    now = {task.task: task for task in plan.tasks}
    kept = {cell.id for cell in plan.cells}
    before = {task["task"]: task for task in old["tasks"]}
    folders: set[str] = set()
    for name in before.keys() & now.keys():
        if before[name]["split_hash"] == now[name].split_hash:
            continue
        folders = folders or set(storage.list(layout.CELLS))
        gone = [
            cell
            for cell in old["cells"]
            if cell["cell"]["task"] == name and cell["id"] in folders and cell["id"] not in kept
        ]
        if gone:
            yield (
                f"The split of {name} is another one, because {_why(old, plan, name)}: {len(gone)} "
                f"cells that were run are not used again ({_by_kind(gone)})."
            )


def _by_kind(cells: Iterable[Mapping[str, Any]]) -> str:
    """Returns how many cells there are of each method and condition, as the old plan names them."""
    kinds: Counter[str] = Counter()
    for cell in cells:
        method, condition = cell["cell"]["recipe"]["method"], cell["condition"]
        kinds[method if condition == method else f"{method} {condition}"] += 1
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items())


def _why(old: Mapping[str, Any], plan: Plan, task: str) -> str:
    if next(t["data_hash"] for t in old["tasks"] if t["task"] == task) != next(
        t.data_hash for t in plan.tasks if t.task == task
    ):
        return "its data changed"
    try:
        space = Space.model_validate(old["space"])
    except ValidationError:
        return "the study was planned by another version"
    was, is_now = split_draw(space, task), split_draw(plan.space, task)
    if was != is_now:
        return (
            f"its pools are now made for draws of {is_now} labels, before of {was} "
            f"(split_for={was} in the space keeps the old split where its pools are large enough)"
        )
    if _trained_on(space, task) != _trained_on(plan.space, task):
        return (
            "its pools are now kept for other training levels: for "
            f"{_listed(plan.space, task)}, before for {_listed(space, task)} "
            "(an axis in a space of its own leaves the split and the cells of this one as they are)"
        )
    return "the way or the seed of the split changed"


def _trained_on(space: Space, task: str) -> set[tuple[str, float, float]]:
    axes = [axis for axis in space.tasks if axis.task == task]
    return {(a.measure, level.low, level.high) for a in axes for level in a.train_levels}


def _listed(space: Space, task: str) -> str:
    axes = [axis for axis in space.tasks if axis.task == task]
    return "; ".join(
        f"{axis.measure}: {', '.join(level.name for level in axis.train_levels)}" for axis in axes
    )
