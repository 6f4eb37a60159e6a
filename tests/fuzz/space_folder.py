"""A user's folder: data, and a file for each space that a command reads from it."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

from study import plan, sweep
from tests.fuzz.harness import Outcome, run
from tests.fuzz.space_fields import CLASSES, Edits, Parts

HEADER = """
from search_spaces.recipes import *
from search_spaces.recipes import Reasoning
from search_spaces.space import *
from search_spaces.supervision import *

nan, inf = float("nan"), float("inf")

"""

DEPTHS = [0.25, 1.5, 2.0, 3.5, 4.0, 3.0, 1.0, 3.25]

ROWS: list[dict[str, Any]] = [
    {
        "id": f"own-{number}",
        "question": f"What is {number} + {number}?",
        "choices": [str(2 * number), str(2 * number + 1), "none of these"],
        "answer": number % 3,
        "steps": number % 4 + 1,
        "depth": DEPTHS[number % 8],
        "flat": 1,
    }
    for number in range(48)
]

numbers = count()


class Folder:
    """The user's data, and a file for each space; all of it stays as it is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "jsonl").mkdir()
        mixed = [row | {"choices": row["choices"][: 2 + row["answer"]]} for row in ROWS]
        for name, rows in (("own", ROWS), ("mixed", mixed)):
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (root / "jsonl" / f"{name}.jsonl").write_text(text)

    def run(self, text: str, command: str, function: str = "own") -> Outcome:
        file = self.root / f"space_{next(numbers)}.py"
        file.write_text(text)
        arguments = [f"{file}:{function}", "--data-root", str(self.root)]
        arguments += ["--out", str(self.root / "runs")]
        try:
            if command == "plan":
                return run(plan.main, *arguments, keeps=self.root)
            return run(sweep.main, *arguments, "--dry-run", keeps=self.root)
        finally:
            file.unlink()


def edited(parts: Parts, edits: Edits) -> Parts:
    return {part: fields | dict(edits.get(part, {})) for part, fields in parts.items()}


def text_of(parts: Parts) -> str:
    """The file of a space: a function that makes each part, and returns the last."""
    lines = [
        f"    {part} = {name}({', '.join(f'{k}={v}' for k, v in parts[part].items())})"
        for part, name in CLASSES.items()
    ]
    return HEADER + "\n".join(["def own() -> Space:", *lines, "    return space", ""])
