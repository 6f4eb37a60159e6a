"""GSM8k: grade-school arithmetic with worked solutions; the answer is generated, not chosen."""

from __future__ import annotations

from trainables.data.items import Item, text_hash
from trainables.data.level_cuts import fixed_cut
from trainables.data.loading.files import Row, read_parts
from trainables.data.loading.hub import HubSource, hub_rows
from trainables.data.loading.task_spec import (
    Loaded,
    Request,
    TaskSpec,
    text_field,
    usable,
    without_repeats,
)
from trainables.data.prompts.numbers import parse_number
from trainables.errors import DataError

HUB = HubSource(
    name="openai/gsm8k",
    config="main",
    revision="740312add88f781978c0658806c59bc2815b9866",
    splits=("train", "test"),
)

ACCEPTS = "DIR/gsm8k/{train,test}.jsonl (question, answer; also .json, .csv, .parquet, .gz)"


def load(request: Request) -> Loaded:
    """Returns all 8,792 problems of both splits.

    Raises:
        DataError: If a file is missing or broken.
    """
    if request.data_root is None:
        rows = hub_rows(HUB, f"put {ACCEPTS} and pass --data-root DIR")
        source = f"Hub {HUB.name}@{HUB.revision}"
    else:
        folder = request.data_root / "gsm8k"
        parts = {"train": r"(main/)?train", "test": r"(main/)?test"}
        rows, source = read_parts(folder, parts, request.bad), str(folder)
    items, notes = without_repeats(usable(rows, parse_row, request.bad, unique=False))
    return Loaded(items=items, source=source, notes=notes)


def parse_row(row: Row) -> Item:
    """Returns the item of a row; `steps` is the number of lines of its solution.

    Raises:
        DataError: If a field is missing, or the answer is no number after one `####`.
    """
    question, solution = text_field(row, "question"), text_field(row, "answer")
    reasoning, mark, answer = solution.rpartition("####")
    if not mark or parse_number(answer) is None:
        raise DataError(
            f"{row.where}: the answer must end in '#### number', got {solution[-40:]!r}"
        )
    if not reasoning.strip():
        raise DataError(f"{row.where}: no solution before '####'; mend or remove the row")
    return Item(
        id=text_hash(question),
        question=question,
        choices=(answer.strip(),),
        answer=0,
        # As the paper counts: every line, an empty one between two steps as well.
        hardness={"steps": float(len(reasoning.strip().split("\n")))},
        reasoning=reasoning.strip(),
    )


TASK = TaskSpec(
    name="gsm8k",
    title="grade-school arithmetic, numeric answers, worked solutions",
    licence="MIT",
    accepts=ACCEPTS,
    load=load,
    cuts={
        "steps": {
            # The paper's text and its released code differ, and both are off by one against
            # figures made with `lines - 1`: name the one you mean (arXiv:2401.06751, section 3;
            # globals.py of the code at ad8358e).
            "paper": fixed_cut({"easy": (2, 3), "medium": (4, 5), "hard": (6, 11)}),
            "code": fixed_cut({"easy": (1, 4), "medium": (5, 6), "hard": (7, 99)}),
        }
    },
    free_form=True,
)
