"""Measures without a model: counted from the text, or columns of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from search_spaces.space import TaskAxis
from trainables.data.items import Item
from trainables.data.task import TaskData

MADE_OF_GOLD = frozenset({"answer_chars"})
"""Measures that use the gold answer. A split or pool that is cut by one depends on gold labels, so
they affect no split unless a space asks for them, and never an unlabelled pool."""


def question_words(item: Item) -> int:
    """Returns the words of the question, split at white space (arXiv:2401.06751, appendix A)."""
    return len(item.question.split())


def answer_chars(item: Item) -> int:
    """Returns the characters of the gold answer's text."""
    return len(item.choices[item.answer])


def reasoning_words(item: Item) -> int | None:
    """Returns the words of the worked solution; None if there is none."""
    return len(item.reasoning.split()) if item.reasoning else None


def item_measures(items: Iterable[Item]) -> dict[str, dict[str, float]]:
    """Returns measure -> item id -> value of every model-free measure.

    A column of the data replaces a counted measure of the same name.
    """
    measures: dict[str, dict[str, float]] = {}
    for item in items:
        values: Mapping[str, float | None] = {
            "question_words": question_words(item),
            "answer_chars": answer_chars(item),
            "reasoning_words": reasoning_words(item),
            **item.hardness,
        }
        for name, value in values.items():
            if value is not None:
                measures.setdefault(name, {})[item.id] = float(value)
    return measures


def find_measure(task: TaskData, name: str) -> Mapping[str, float]:
    """Returns item id -> value of a measure.

    Raises:
        ValueError: If the task has no such measure; the message lists its measures.
    """
    if name not in task.measures:
        raise ValueError(
            f"task {task.name} has no measure {name!r}; it has: {', '.join(sorted(task.measures))}"
        )
    return task.measures[name]


def check_axis(task: TaskData, axis: TaskAxis) -> None:
    """Refuses an axis that the task's data cannot serve.

    Args:
        task: The loaded task.
        axis: Of the space.

    Raises:
        ValueError: If the measure is unknown or a level holds no item.
    """
    values = find_measure(task, axis.measure).values()
    for level in dict.fromkeys(axis.train_levels + axis.test_levels):
        if not any(level.holds(value) for value in values):
            raise ValueError(
                f"task {task.name}: no item has a {axis.measure} in [{level.low:g}, "
                f"{level.high:g}] (level {level.name!r}); the values run from {min(values):g} to "
                f"{max(values):g}"
            )
