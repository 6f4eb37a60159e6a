"""A user's own items: one JSON line each, with any hardness columns.

    {"id": "q1", "question": "2 + 2?", "choices": ["4", "5"], "answer": 0, "steps": 1}

`answer` is an index from 0 or one of the choices. Every further column is a hardness measure, but
`group`, `topic` and `reasoning`, which are an item's own (texts; all optional). A measure is a
number, or a text with a stated order: `DIR/jsonl/NAME.measures.json` holds
`{"difficulty": ["low", "medium", "high"]}` and the values are 1, 2, 3. A missing value is null or
left out. The task `jsonl` is the one file in `DIR/jsonl/`, the task `jsonl:NAME` is `NAME.jsonl`
there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainables.data.items import Item
from trainables.data.loading.files import Row, load_json, read_rows
from trainables.data.loading.task_spec import (
    Loaded,
    Request,
    TaskSpec,
    check_choices,
    is_finite,
    text_field,
    usable,
    wrong_columns,
)
from trainables.errors import DataError

OWN_FIELDS = frozenset({"id", "question", "choices", "answer", "group", "topic", "reasoning"})

ACCEPTS = (
    "DIR/jsonl/NAME.jsonl (id, question, choices, answer and any hardness columns; also .json, "
    ".parquet, .gz) and, for ordered texts, DIR/jsonl/NAME.measures.json"
)

Orders = Mapping[str, Mapping[str, float]]
"""Measure -> text -> its place in the order, from 1."""


def load(request: Request) -> Loaded:
    """Returns the user's items.

    Raises:
        DataError: If there is no such file, or a row is wrong.
    """
    if request.data_root is None:
        raise DataError(
            f"task {request.name} is your own data: put {ACCEPTS}, pass --data-root DIR"
        )
    path = _find(request.data_root / "jsonl", request.name)
    parse = _parser(_orders(path))
    items = list(usable(read_rows(path, request.bad), parse, request.bad))
    return Loaded(items=items, source=str(path))


def _find(folder: Path, task: str) -> Path:
    name = task.partition(":")[2]
    pattern = rf"{re.escape(name) if name else '.+'}\.(jsonl|json|parquet)(\.gz)?"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    matches = [
        path for path in paths if re.fullmatch(pattern, path.name) and ".measures." not in path.name
    ]
    if len(matches) == 1:
        return matches[0]
    have = ", ".join(path.name for path in matches) or "none"
    raise DataError(
        f"{folder}: task {task!r} needs one file, there is {have}; put {ACCEPTS} and name one of "
        "several as jsonl:NAME"
    )


def _orders(path: Path) -> Orders:
    sidecar = path.parent / f"{path.name.split('.', 1)[0]}.measures.json"
    if not sidecar.exists():
        return {}
    orders = load_json(sidecar)
    if not isinstance(orders, dict) or not all(
        isinstance(order, list) and len(set(map(str, order))) == len(order) > 1
        for order in orders.values()
    ):
        raise DataError(f'{sidecar}: must be {{"measure": ["easiest", ..., "hardest"]}}')
    return {
        measure: {str(text): float(rank) for rank, text in enumerate(order, start=1)}
        for measure, order in orders.items()
    }


def _parser(orders: Orders) -> Callable[[Row], Item]:
    def parse(row: Row) -> Item:
        choices: Any = row.values.get("choices")
        if not isinstance(choices, list) or not all(isinstance(text, str) for text in choices):
            raise wrong_columns(row, "choices", "a list of texts")
        texts = tuple(text.strip() for text in choices)
        answer = _answer(row, texts)
        check_choices(texts, answer, row.where)
        return Item(
            id=_id(row),
            question=text_field(row, "question"),
            choices=texts,
            answer=answer,
            hardness=_hardness(row, orders),
            group=_optional(row, "group"),
            topic=_optional(row, "topic"),
            reasoning=_optional(row, "reasoning"),
        )

    return parse


def _id(row: Row) -> str:
    value = row.values.get("id")
    return str(value) if _is_integer(value) else text_field(row, "id")


def _optional(row: Row, name: str) -> str | None:
    return None if row.values.get(name) is None else text_field(row, name)


def _answer(row: Row, choices: tuple[str, ...]) -> int:
    answer: Any = row.values.get("answer")
    if _is_integer(answer):
        return int(answer)
    if isinstance(answer, str) and answer.strip() in choices:
        return choices.index(answer.strip())
    raise DataError(
        f"{row.where}: answer must be an index from 0 or one of the choices, got {answer!r}"
    )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _hardness(row: Row, orders: Orders) -> dict[str, float]:
    hardness = {}
    for name, value in row.values.items():
        if name in OWN_FIELDS or value is None:
            continue
        if name in orders and str(value) in orders[name]:
            hardness[name] = orders[name][str(value)]
        elif name not in orders and is_finite(value):
            hardness[name] = float(value)
        else:
            raise DataError(
                f"{row.where}: measure {name!r} has {value!r:.60}: neither a finite number (at "
                "most 1.8e308) nor in an order stated in NAME.measures.json; mend or remove the row"
            )
    return hardness


TASK = TaskSpec(
    name="jsonl",
    title="your own items from DIR/jsonl/NAME.jsonl (jsonl:NAME)",
    licence="your own",
    accepts=ACCEPTS,
    load=load,
    is_own_data=True,
)
