"""PandaLM's test set: 999 response pairs, three human votes each."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trainables.data.items import Item
from trainables.data.level_cuts import fixed_cut
from trainables.data.loading.fetch import RemoteFile, fetched
from trainables.data.loading.files import Row, read_parts, read_rows
from trainables.data.loading.preference_pairs import Pair, pair_item
from trainables.data.loading.task_spec import (
    Loaded,
    Request,
    TaskSpec,
    text_field,
    usable,
    wrong_columns,
)
from trainables.errors import DataError

FILE = RemoteFile(
    url=(
        "https://raw.githubusercontent.com/WeOpenML/PandaLM/"
        "3871806e72b4832f815ecafd24d3503c73403f48/data/testset-v1.json"
    ),
    digest="git:4d6d2d4ddafb0dda8415b00dce6633f5ebcfec1b",
    name="pandalm-testset-v1.json",
)

RESPONSES = ("response1", "response2")
VOTERS = ("annotator1", "annotator2", "annotator3")

ACCEPTS = (
    "DIR/pandalm/testset-v1.json (idx, instruction, input, response1, response2, annotator1 to 3; "
    "also .jsonl, .csv, .parquet, .gz)"
)


def load(request: Request) -> Loaded:
    """Returns the pairs with a majority for one response; majority ties are dropped, and counted.

    `disagreement` is how many of the three annotators vote otherwise, `tie_votes` how many of them
    find neither better: together they tell all three votes.

    Raises:
        DataError: If the file is missing or broken.
    """
    if request.data_root is None:
        path = fetched(FILE, f"put {ACCEPTS} and pass --data-root DIR")
        rows, source = read_rows(path, request.bad), FILE.url
    else:
        folder = request.data_root / "pandalm"
        rows, source = read_parts(folder, {"testset": "testset-v1"}, request.bad), str(folder)
    num_ties = num_not_text = 0

    def parse(row: Row) -> Item | None:
        nonlocal num_ties, num_not_text
        vote, num_others = _majority(row)
        if vote == 0:
            num_ties += 1
            return None
        responses = [_response(row, name) for name in RESPONSES]
        num_not_text += any(isinstance(row.values[name], bool) for name in RESPONSES)
        pair = Pair(
            prompt=_prompt(row),
            chosen=responses[vote - 1],
            rejected=responses[2 - vote],
            id=f"pandalm-{row.values.get('idx')}",
            topic=str(row.values.get("motivation_app") or "") or None,
            hardness={"disagreement": float(num_others), "tie_votes": float(_num_ties(row))},
        )
        return pair_item(pair, row.where)

    items = list(usable(rows, parse, request.bad))
    notes = (
        f"{num_ties} pairs whose majority vote is a tie were dropped.",
        f"{sum('' in item.choices for item in items)} pairs have an empty response; they stay.",
        f"{num_not_text} pairs hold a response that the file has as a JSON true: read as 'True'.",
    )
    return Loaded(items=items, source=source, notes=notes)


def _majority(row: Row) -> tuple[int, int]:
    """Returns the vote that at least two share, and how many vote otherwise."""
    votes: list[Any] = [row.values.get(name) for name in VOTERS]
    try:
        numbers = [int(str(vote)) for vote in votes]
    except ValueError as error:
        raise wrong_columns(row, "annotator1", "0, 1 or 2") from error
    vote, count = Counter(numbers).most_common(1)[0]
    if not set(numbers) <= {0, 1, 2}:
        raise DataError(f"{row.where}: votes must be 0 (similar), 1 or 2, got {numbers}")
    # Three different votes have no majority: nobody's answer is gold.
    return (vote, len(votes) - count) if count > 1 else (0, 2)


def _num_ties(row: Row) -> int:
    """How many annotators found neither response better."""
    return sum(int(str(row.values[name])) == 0 for name in VOTERS)


def _prompt(row: Row) -> str:
    # Some rows have everything in `input` and an empty instruction.
    parts = (text_field(row, name, may_be_empty=True) for name in ("instruction", "input"))
    return "\n\n".join(part for part in parts if part)


def _response(row: Row, name: str) -> str:
    value: Any = row.values.get(name)
    return str(value) if isinstance(value, bool) else text_field(row, name, may_be_empty=True)


TASK = TaskSpec(
    name="pandalm",
    title="999 response pairs with three human votes each",
    licence="Apache-2.0",
    accepts=ACCEPTS,
    load=load,
    cuts={"disagreement": {"votes": fixed_cut({"easy": (0, 0), "hard": (1, 2)})}},
)
