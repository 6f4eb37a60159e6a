"""StrategyQA: yes/no questions that need several implicit steps; the labelled 2,290."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainables.data.items import Item
from trainables.data.level_cuts import fixed_cut
from trainables.data.loading.fetch import RemoteFile, fetched
from trainables.data.loading.files import BadRows, Row, find_parts, read_parts, read_rows
from trainables.data.loading.task_spec import (
    Loaded,
    Request,
    TaskSpec,
    text_field,
    usable,
    wrong_columns,
)
from trainables.errors import DataError, MissingDataError

_URL = (
    "https://raw.githubusercontent.com/eladsegal/strategyqa/"
    "c15e0356e00c919775f6c645c147b7e347ed11b3/data/strategyqa"
)
FILES = (
    RemoteFile(url=f"{_URL}/train.json", digest=None, name="strategyqa-train.json"),
    RemoteFile(
        url=f"{_URL}/dev.json",
        digest="sha256:0d94842ffb022db8fd5ecd2168b785d5cf67f6faf64f665476bad544a3eb9dde",
        name="strategyqa-dev.json",
    ),
)
"""The authors' repository at a commit; the Hub has only mirrors. The data is also checked against
`STEP_COUNTS`."""

STEP_COUNTS = {1: 18, 2: 626, 3: 1219, 4: 342, 5: 85}
"""Lengths of the decomposition in the 2,290 labelled questions (authors' train + dev)."""

LAYOUTS = (
    {"train": "(.*[-_])?train", "dev": "(.*[-_])?dev"},
    {"questions": "strategyqa_train"},
    {"questions": "train"},
    {"questions": "test"},
    {"questions": "strategyqa"},
)
"""Train and dev of the authors' repository, their one training file, or a mirror's one split."""

ACCEPTS = (
    "DIR/strategyqa/{train,dev}.json or strategyqa_train.json (qid, question, answer, facts, "
    "decomposition; also .jsonl, .csv, .parquet, .gz)"
)


def load(request: Request) -> Loaded:
    """Returns the labelled questions.

    Raises:
        DataError: If a file is missing or broken, or the fetched copy is not the known data.
    """
    if request.data_root is None:
        rows, source = _fetched_rows(request.bad), _URL
    else:
        folder = request.data_root / "strategyqa"
        rows, source = _local_rows(folder, request.bad), str(folder)
    items = list(usable(rows, parse_row, request.bad))
    counts = Counter(int(item.hardness["steps"]) for item in items)
    if counts == STEP_COUNTS:
        return Loaded(items=items, source=source)
    found = f"{len(items):,} questions with step counts {dict(sorted(counts.items()))}"
    if request.data_root is None:
        raise DataError(
            f"{source}: {found}, not the labelled 2,290 with {STEP_COUNTS}; put {ACCEPTS} and pass "
            "--data-root DIR"
        )
    return Loaded(items=items, source=source, notes=(f"Not the published 2,290: {found}.",))


def parse_row(row: Row) -> Item:
    """Returns the item of a row; `steps` is the length of the decomposition.

    Raises:
        DataError: If a field is missing or wrong.
    """
    steps = _texts(row, "decomposition")
    if not steps:
        raise DataError(f"{row.where}: decomposition is empty; the number of steps is its length")
    return Item(
        id=text_field(row, "qid"),
        question=text_field(row, "question"),
        choices=("yes", "no"),
        answer=0 if _truth(row) else 1,
        hardness={"steps": float(len(steps))},
        topic=str(row.values.get("term") or "") or None,
        reasoning=" ".join(fact.strip() for fact in _texts(row, "facts")) or None,
    )


def _fetched_rows(bad: BadRows) -> Iterator[Row]:
    for file in FILES:
        yield from read_rows(fetched(file, f"put {ACCEPTS} and pass --data-root DIR"), bad)


def _local_rows(folder: Path, bad: BadRows) -> Iterator[Row]:
    if not folder.is_dir():
        raise MissingDataError(f"{folder}: no such folder; put {ACCEPTS}")
    for layout in LAYOUTS:
        try:
            find_parts(folder, layout)
        except DataError:
            # The next layout may fit; the last one's complaint would name only its own file.
            continue
        return read_parts(folder, layout, bad)
    raise DataError(f"{folder}: no data of StrategyQA; put {ACCEPTS}")


def _texts(row: Row, name: str) -> list[str]:
    value: Any = row.values.get(name)
    if isinstance(value, str):
        # A CSV cell: one entry a line.
        value = value.splitlines()
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise wrong_columns(row, name, "a list of texts")
    return value


def _truth(row: Row) -> bool:
    value: Any = row.values.get("answer")
    known = {True: True, False: False, "true": True, "false": False, "yes": True, "no": False}
    key = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(key, bool | str) or key not in known:
        raise wrong_columns(row, "answer", "true or false")
    return known[key]


TASK = TaskSpec(
    name="strategyqa",
    title="yes/no questions with implicit reasoning steps",
    licence="MIT",
    accepts=ACCEPTS,
    load=load,
    # Thresholds: arXiv:2401.06751, section 3.
    cuts={"steps": {"paper": fixed_cut({"easy": (1, 2), "medium": (3, 3), "hard": (4, 5)})}},
)
