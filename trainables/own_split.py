"""The split of data that names its own test items."""

from __future__ import annotations

from search_spaces.values import digest
from trainables.items import prompt_key
from trainables.task_data import Split, TaskData


def own_split(task: TaskData) -> Split:
    """Returns the data's own test, and the pool of all else that asks what no test item asks.

    Nor is an item of a test item's group in the pool: pairs of one prompt stay on one side.
    """
    test_items = [item for item in task.items if item.id in task.test]
    others = [item for item in task.items if item.id not in task.test]
    asked = {prompt_key(item) for item in test_items}
    groups = {item.group for item in test_items} - {None}
    pool_items = [
        item for item in others if item.group not in groups and prompt_key(item) not in asked
    ]
    test = tuple(sorted(item.id for item in test_items))
    pool = tuple(sorted(item.id for item in pool_items))
    note = (
        f"The test is the data's own; {len(others) - len(pool)} items with a test item's prompt or "
        "group were removed from the pool."
    )
    hashed = digest({"test": test, "pool": pool})
    return Split(test=test, pool=pool, split_hash=hashed, notes=(note,))
