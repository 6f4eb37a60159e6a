"""A space to tune: small sums of the user's own, and a random tiny model."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tests.support.tiny_models import save_folder

SPACE = """
from search_spaces.recipes import FullFineTuning, InContext, LinearProbe, LoRA
from search_spaces.space import BaseModelRef, Level, Space, TaskAxis

LEVELS = (Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4))

def small() -> Space:
    return Space(
        name="small",
        models=(BaseModelRef(name={model!r}),),
        tasks=(
            TaskAxis(
                task="jsonl:sums", measure="steps", train_levels=LEVELS, test_levels=LEVELS[1:]
            ),
        ),
        methods=(
            InContext(k=2),
            LinearProbe(n_train=24),
            LoRA(n_train=24, learning_rate=1e-3, epochs=2),
            FullFineTuning(n_train=24, learning_rate=1e-3, epochs=2),
        ),
        seeds=2,
        split={split!r},
    )
"""


@dataclass(frozen=True, kw_only=True)
class TuningStudy:
    folder: Path
    split: str = "frozen"

    def __post_init__(self) -> None:
        (self.folder / "data" / "jsonl").mkdir(parents=True)
        model = save_folder(self.folder / "tiny", "llama", "bytes")
        (self.folder / "space.py").write_text(SPACE.format(model=str(model), split=self.split))
        self.write(questions())

    @property
    def space(self) -> str:
        return f"{self.folder / 'space.py'}:small"

    @property
    def data_root(self) -> Path:
        return self.folder / "data"

    def write(self, rows: list[dict[str, object]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self.data_root / "jsonl" / "sums.jsonl").write_text(text)

    def arguments(self, out: str, method: str, trials: int, *extra: str) -> list[str]:
        return [
            self.space, "--method", method, "--trials", str(trials), "--data-root",
            str(self.data_root), "--out", str(self.folder / out), *extra,
        ]  # fmt: skip

    def file(self, out: str, method: str) -> Path:
        (found,) = (self.folder / out / "small" / "tune").glob(f"*-jsonl_sums-steps-{method}.json")
        return found


def questions() -> list[dict[str, object]]:
    rng = random.Random(3)
    rows: list[dict[str, object]] = []
    for number in range(160):
        steps = number % 4 + 1
        numbers = [rng.randint(1, 9) for _ in range(steps + 1)]
        total, answer = sum(numbers), rng.randrange(4)
        offsets = [1, 2, 3]
        offsets.insert(answer, 0)
        rows.append(
            {
                "id": f"q{number:03}",
                "question": f"Sum {number:03}: {' + '.join(map(str, numbers))}?",
                "choices": [f"{10 + total + offset} coins" for offset in offsets],
                "answer": answer,
                "steps": steps,
            }
        )
    return rows
