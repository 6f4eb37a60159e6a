"""Synthetic rows in the column layouts of OpenBookQA, SciQ and MMLU, with their column maps.

`standard` has the columns of a table that needs no map.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search_spaces.space import Columns

Rows = list[dict[str, Any]]

OPENBOOKQA = Columns(
    id="id", question="question_stem", answer="answerKey", measures=("humanScore", "clarity")
)
SCIQ = Columns(
    question=("support", "question"),
    choices=("correct_answer", "distractor1", "distractor2", "distractor3"),
    answer="correct_answer",
)
MMLU = Columns(topic="subject", group="subject")


def openbookqa(number: int = 24) -> Rows:
    return [
        {
            "id": f"7-{n}",
            "question_stem": f"The stem of question {n}",
            "choices": {
                "text": [f"{word} {n}" for word in ("a puppy", "a cloud", "a rock", "rain")],
                "label": ["A", "B", "C", "D"],
            },
            "answerKey": "ABCD"[n % 4],
            "fact1": f"fact {n}",
            "humanScore": [0.5, 1.0, None][n % 3],
            "clarity": 1.0 + n % 2,
            "turkIdAnonymized": "b356d338b7",
        }
        for n in range(number)
    ]


def sciq(number: int = 24) -> Rows:
    return [
        {
            "question": f"What is made by process {n}?",
            "distractor3": f"sand {n}",
            "distractor1": f"iron {n}",
            "distractor2": f"wood {n}",
            "correct_answer": f"cheese {n}",
            "support": f"Process {n} makes cheese." if n % 2 else "",
        }
        for n in range(number)
    ]


def mmlu(number: int = 24) -> Rows:
    return [
        {
            "question": f"Find {n} mod 4.",
            "subject": "abstract_algebra" if n % 2 else "anatomy",
            "choices": ["0", "1", "2", "3"],
            "answer": n % 4,
        }
        for n in range(number)
    ]


def standard(number: int = 24) -> Rows:
    return [
        {
            "id": f"q{n}",
            "question": f"Who won race {n}?",
            "choices": ["Ann", "Bo", "Cy"],
            "answer": n % 3,
            "laps": 1 + n % 4,
        }
        for n in range(number)
    ]


def write_parquet(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


CARD = """---
license: apache-2.0
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: small
  data_files:
  - split: train
    path: small/train-*
---
# A data set
"""


def write_hub_copy(root: Path, rows: Rows, name: str = "owner/quiz") -> Path:
    """Writes rows as a data set is on the Hub: a card with two configurations, parquet shards.

    The last quarter is the split `test` of `main`; `small` has the first eight rows.
    """
    folder, cut = root / "hub" / name, len(rows) * 3 // 4
    write_parquet(folder / "main" / "train-00000-of-00002.parquet", rows[: cut // 2])
    write_parquet(folder / "main" / "train-00001-of-00002.parquet", rows[cut // 2 : cut])
    write_parquet(folder / "main" / "test-00000-of-00001.parquet", rows[cut:])
    write_parquet(folder / "small" / "train-00000-of-00001.parquet", rows[:8])
    (folder / "README.md").write_text(CARD)
    return folder
