"""A study of the user's own: a jsonl file, one base model, one method; planned in a moment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SPACE = """
from search_spaces.recipes import InContext
from search_spaces.space import BaseModelRef, Level, Space, TaskAxis

EASY, HARD = Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4)

def own() -> Space:
    axis = TaskAxis(
        task="jsonl", measure="steps", train_levels=(EASY, HARD), test_levels=(HARD,)
    )
    return Space(
        name="own", models=(BaseModelRef(name={model!r}),), tasks=(axis,),
        methods=(InContext(k=1),), seeds=1,
    )
"""

ROWS: tuple[dict[str, Any], ...] = tuple(
    {
        "id": f"own-{number}",
        "question": f"What is {number} + {number}?",
        "choices": [str(2 * number), str(2 * number + 1), "none of these"],
        "answer": number % 3,
        "steps": number % 4 + 1,
    }
    for number in range(24)
)
"""Enough of each level for the space to be planned."""


def encoded(row: Mapping[str, Any]) -> bytes:
    """A row as a line of a jsonl file, without its end."""
    return json.dumps(row).encode()


def write_study(
    root: Path, *, model: str = "micro-s", rows: Iterable[Mapping[str, Any]] = ROWS
) -> list[str]:
    """Writes data and space below a folder; returns a command's arguments for them."""
    (root / "jsonl").mkdir(exist_ok=True)
    (root / "jsonl" / "own.jsonl").write_bytes(b"\n".join(map(encoded, rows)))
    (root / "space.py").write_text(SPACE.format(model=model))
    return [f"{root}/space.py:own", "--data-root", str(root)]
