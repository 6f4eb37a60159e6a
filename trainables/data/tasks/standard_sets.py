"""Test sets with published zero-shot accuracies, whole and in their standard prompt.

Names and prompts are those of lm-evaluation-harness (`tasks/arc`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trainables.data.items import Item
from trainables.data.loading.files import BadRows
from trainables.data.loading.task_spec import Request
from trainables.data.prompts.formats import PromptFormat, get_prompt
from trainables.data.tasks.questions import arc
from trainables.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class StandardSet:
    """A published test set."""

    num_questions: int
    """Of the whole published set."""
    prompt: PromptFormat
    load: Callable[[Request], tuple[Item, ...]]


STANDARD_SETS: Mapping[str, StandardSet] = {
    "arc_easy": StandardSet(
        num_questions=2376,
        prompt=get_prompt("arc", "open"),
        load=partial(arc.load_test, "ARC-Easy"),
    ),
    "arc_challenge": StandardSet(
        num_questions=1172,
        prompt=get_prompt("arc", "open"),
        load=partial(arc.load_test, "ARC-Challenge"),
    ),
}


def load_standard_set(name: str, data_root: Path | None) -> tuple[Item, ...]:
    """Returns the questions of a test set, in the order of its file.

    Args:
        name: A key of `STANDARD_SETS`.
        data_root: Folder with local copies; None: the Hub.

    Raises:
        DataError: If the data is missing, broken, or has no question.
    """
    request = Request(name=name, data_root=data_root, bad=BadRows(skip=False))
    items = STANDARD_SETS[name].load(request)
    if not items:
        raise DataError(f"{name}: the test file holds no question; fetch it again")
    return items
