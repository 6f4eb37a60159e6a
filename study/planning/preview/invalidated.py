"""Reports finished cells that a changed study cannot use again, before it runs.

Cells keep their ids when a study gets more sizes, seeds, levels or thresholds. They lose them when
their task is split differently, which happens in two cases. A draw with more labels than any before
needs larger pools; `Space.split_for` keeps the old split. And training levels for which the split
has no pool yet need one: levels that a space defines itself, and any further level of a user's own
data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from search_spaces.explain import count
from search_spaces.space import Space
from study.artifacts.plan import Plan, read_plan
from study.planning.conditions import split_draw
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.filesystem import Storage


def describe_invalidated_cells(storage: Storage, plan: Plan) -> tuple[str, ...]:
    """Returns a sentence for each task whose finished cells the new plan cannot use.

    Args:
        storage: The run folder. Without a plan of an earlier run, or with one that another version
            wrote, there is nothing to compare.
        plan: The new plan.
    """
    try:
        earlier = read_plan(storage, plan.space.name)
    except ValueError:
        return ()
    return tuple(_invalidated(storage, earlier, plan))


def _invalidated(storage: Storage, earlier: Plan, plan: Plan) -> Iterator[str]:
    before = {task.task: task for task in earlier.tasks}
    now = {task.task: task for task in plan.tasks}
    kept = {cell.id for cell in plan.cells}
    finished: set[str] = set()
    for name in before.keys() & now.keys():
        if before[name].split_hash == now[name].split_hash:
            continue
        finished = finished or set(storage.list(layout.CELLS))
        lost = [
            cell
            for cell in earlier.cells
            if cell.cell.task == name and cell.id in finished and cell.id not in kept
        ]
        if lost:
            is_same_data = before[name].data_hash == now[name].data_hash
            why = _why(earlier.space, plan.space, name) if is_same_data else "its data changed"
            cells = count(len(lost), "cell that was run is", "cells that were run are")
            yield (
                f"The split of {name} is another one, because {why}: {cells} "
                f"not used again ({_by_kind(lost)})."
            )


def _by_kind(cells: Iterable[PlannedCell]) -> str:
    """Returns the number of cells of each method and condition."""
    kinds: Counter[str] = Counter()
    for cell in cells:
        method = cell.cell.recipe.method
        kinds[method if cell.condition == method else f"{method} {cell.condition}"] += 1
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items())


def _why(earlier: Space, space: Space, task: str) -> str:
    before, now = split_draw(earlier, task), split_draw(space, task)
    if before != now:
        return (
            f"its pools are now made for draws of {count(now, 'label')}, before of {before} "
            f"(split_for={before} in the space keeps the old split where its pools are large "
            "enough)"
        )
    if _bands(earlier, task) != _bands(space, task):
        return (
            f"its pools are now kept for other training levels: for {_listed(space, task)}, before "
            f"for {_listed(earlier, task)} (an axis in a separate space leaves the split and the "
            "cells of this one unchanged)"
        )
    return "the kind or the seed of the split changed"


def _bands(space: Space, task: str) -> set[tuple[str, float, float]]:
    axes = [axis for axis in space.tasks if axis.task == task]
    return {(a.measure, level.low, level.high) for a in axes for level in a.train_levels}


def _listed(space: Space, task: str) -> str:
    axes = [axis for axis in space.tasks if axis.task == task]
    return "; ".join(
        f"{axis.measure}: {', '.join(level.name for level in axis.train_levels)}" for axis in axes
    )
