"""Texts of a study's items, which its run folder does not hold: the tasks are loaded again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from search_spaces.space import Space
from study.artifacts.plan import Plan, PlannedTask
from trainables.data.items import Item
from trainables.data.tasks.registry import load_task


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskTexts:
    """The items of a task by id, or the reason why they are missing."""

    items: Mapping[str, Item] = field(default_factory=dict)
    reason: str = ""


def load_texts(plan: Plan, data_root: Path | None) -> Mapping[str, TaskTexts]:
    """Returns the items of every task of a plan; data that cannot be used leaves a reason.

    Args:
        plan: Of the study; its hashes decide whether the data is the study's.
        data_root: Folder with local copies of data sets; None: the Hub.
    """
    tasks = {planned.task: planned for planned in plan.tasks}
    return {name: _load(plan.space, planned, data_root) for name, planned in tasks.items()}


def _load(space: Space, planned: PlannedTask, data_root: Path | None) -> TaskTexts:
    try:
        source = space.source_of(planned.task)
        data = load_task(planned.task, data_root, planned.num_skipped > 0, source)
    except (ValueError, OSError, ImportError) as error:
        return TaskTexts(reason=f"{planned.task} cannot be loaded: {error}")
    if data.data_hash != planned.data_hash:
        return TaskTexts(
            reason=f"{data.source} is other data than the study's {planned.task}: its hash is "
            f"{data.data_hash[:12]}, that of the plan {planned.data_hash[:12]}"
        )
    return TaskTexts(items={item.id: item for item in data.items})
