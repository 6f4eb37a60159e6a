"""What a study that has grown does not use again, said before it runs.

Cells keep their ids when a study gets more sizes, seeds, levels or thresholds. They do not when the
split of their task is another one, and a draw with more labels than any before makes another split:
its pools are larger. `Space.split_for` holds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
            cell["id"]
            for cell in old["cells"]
            if cell["cell"]["task"] == name and cell["id"] in folders and cell["id"] not in kept
        ]
        if gone:
            yield (
                f"The split of {name} is another one, because {_why(old, plan, name)}: {len(gone)} "
                "cells that were run are not used again."
            )


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
    return "its training levels, the way or the seed of the split changed"
