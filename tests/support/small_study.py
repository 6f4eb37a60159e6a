"""A study of a minute's work: 160 questions of the user's own, the lab's smallest base."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 600.0
"""After this a process hangs, however busy the machine is."""

SPACE = """
from pathlib import Path

import pandas
from search_spaces.recipes import InContext, LinearProbe, LoRA
from search_spaces.space import BaseModelRef, Footprint, Level, Space, TaskAxis

EASY, HARD = Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4)

def small() -> Space:
    return Space(
        name="small",
        models=(BaseModelRef(name={model!r}),),
        tasks=(
            TaskAxis(
                task={task!r}, measure="steps", train_levels=(EASY, HARD),
                test_levels=(HARD, Level(name="steps 4", low=4, high=4)),
            ),
        ),
        methods=(InContext(k=2), LinearProbe(n_train=6), LoRA(n_train=6, epochs={epochs})),
        seeds=2,
        footprint=Footprint(workers={workers}),
    )

def sums():
    return pandas.read_json(Path(__file__).parent / "data" / "jsonl" / "sums.jsonl", lines=True)
"""

TINY_SPACE = """
from search_spaces.recipes import InContext
from search_spaces.space import BaseModelRef, Level, Space, TaskAxis

EASY, HARD = Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4)

def tiny() -> Space:
    return Space(
        name="tiny",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(TaskAxis(task="jsonl:sums", measure="steps", train_levels=(EASY, HARD),
                        test_levels=(HARD,), train_on_all=False),),
        methods=(InContext(k=2),),
        seeds=2,
    )
"""
"""Five cells without any training."""


@dataclass(frozen=True, kw_only=True)
class SmallStudy:
    """A space file and its data in a folder of their own."""

    folder: Path
    model: str = "micro-s"
    workers: int | None = None
    epochs: int = 1
    task: str = "jsonl:sums"
    """Or `space.py:sums`: the same questions, from a function of the study's own file."""

    num_cells = 1 + 3 * 3 * 2  # zero-shot + methods x (easy, hard, all) x seeds

    def __post_init__(self) -> None:
        (self.folder / "data" / "jsonl").mkdir(parents=True, exist_ok=True)
        rows = "".join(json.dumps(row) + "\n" for row in _questions())
        self.data_file.write_text(rows)
        text = SPACE.format(
            model=self.model, workers=self.workers, epochs=self.epochs, task=self.task
        )
        (self.folder / "space.py").write_text(text)

    @property
    def data_file(self) -> Path:
        return self.folder / "data" / "jsonl" / "sums.jsonl"

    @property
    def arguments(self) -> list[str]:
        return [f"{self.folder / 'space.py'}:small", "--data-root", str(self.folder / "data")]

    def start(
        self, out: Path | str, *extra: str, new_session: bool = False
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "study.sweep", *self.arguments, "--out", str(out), *extra]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=new_session,
        )

    def run(self, out: Path | str, *extra: str) -> tuple[int, str]:
        process = self.start(out, *extra)
        output = output_of(process)
        return process.returncode, output


def output_of(process: subprocess.Popen[str]) -> str:
    """Waits for the end of a process and returns what it printed."""
    try:
        return process.communicate(timeout=PATIENCE_S)[0]
    finally:
        process.kill()  # if it hangs: its Ray would disturb all later tests


def wait_until(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Waits for an event in the life of a process."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, output_of(process)
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def scores_of(out: Path) -> Mapping[str, bytes]:
    """Returns the bytes of every finished cell's scores, by cell id."""
    return {
        record.parent.name: (record.parent / "scores.parquet").read_bytes()
        for record in sorted((out / "cells").glob("*/record.json"))
    }


def _questions() -> list[dict[str, object]]:
    generator = random.Random(7)
    rows: list[dict[str, object]] = []
    for number in range(160):
        steps = number % 4 + 1
        numbers = [generator.randint(1, 9) for _ in range(steps + 1)]
        total = sum(numbers)
        rows.append(
            {
                "id": f"q{number:03}",
                "question": f"Item {number}: what is {' + '.join(map(str, numbers))}?",
                "choices": [f"{total + offset} coins" for offset in (0, 1, 2, 10)],
                "answer": 0,
                "steps": steps,
            }
        )
    return rows
