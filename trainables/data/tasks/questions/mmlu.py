"""MMLU-STEM-5: high-school and college questions of five subjects, validation and test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainables.data.items import Item, text_hash
from trainables.data.level_cuts import fixed_cut
from trainables.data.loading.files import BadRows, Row, find_parts, read_parts
from trainables.data.loading.hub import HubSource, hub_rows
from trainables.data.loading.task_spec import (
    Loaded,
    Request,
    TaskSpec,
    check_choices,
    json_field,
    leaving_out_repeated_choices,
    text_field,
    usable,
    without_repeats,
    wrong_columns,
)
from trainables.errors import DataError

SCHOOLS = {"high_school": 0.0, "college": 1.0}
SUBJECTS = tuple(
    f"{school}_{field}"
    for school in SCHOOLS
    for field in ("biology", "chemistry", "computer_science", "mathematics", "physics")
)
NUM_QUESTIONS = 1746
"""Of the ten subjects' validation and test splits, before repeats (arXiv:2401.06751, section 3)."""

REVISION = "c30699e8356da336a370243923dbaf21066bb9fe"
"""Commit of cais/mmlu on the Hub."""

CSV_COLUMNS = ("question", "A", "B", "C", "D", "answer")
"""Of the original release, whose files have no header."""

PER_SUBJECT = {
    f"{subject}.{split}": rf"{subject}[-_./](.*/)?({names})"
    for subject in SUBJECTS
    for split, names in {"validation": "val|validation", "test": "test"}.items()
}
ALL_IN_ONE = {"validation": r"(mmlu[-_.])?(val|validation)", "test": r"(mmlu[-_.])?test"}

ACCEPTS = (
    "DIR/mmlu/{SUBJECT}_{val,test}.csv (original release, no header), or "
    "DIR/mmlu/SUBJECT/{validation,test}.parquet or DIR/mmlu/{validation,test}.jsonl with question, "
    "subject, choices, answer (index; also .json, .gz)"
)


def load(request: Request) -> Loaded:
    """Returns the questions of the ten subjects.

    The published test split has a few that offer one choice twice (two of these subjects have one
    each: https://github.com/hendrycks/test/issues/29); they are left out with a note.

    Raises:
        DataError: If a file is missing or broken.
    """
    if request.data_root is None:
        rows, source = _rows_from_hub(), f"Hub cais/mmlu@{REVISION}"
    else:
        folder = request.data_root / "mmlu"
        rows, source = _local_rows(folder, request.bad), str(folder)
    left_out: list[str] = []
    parse = leaving_out_repeated_choices(parse_row, left_out)
    parsed = list(usable(rows, parse, request.bad, unique=False))
    items, notes = without_repeats(parsed)
    if left_out:
        notes += (f"{len(left_out)} questions that offer one choice twice were left out.",)
    num_rows = len(parsed) + len(left_out)
    if num_rows != NUM_QUESTIONS:
        notes += (f"The published data has {NUM_QUESTIONS:,} rows, this copy {num_rows:,}.",)
    return Loaded(items=items, source=source, notes=notes)


def parse_row(row: Row) -> Item | None:
    """Returns the item of a row; None for a subject outside the ten.

    Raises:
        DataError: If a field is missing or wrong.
    """
    subject = str(row.values.get("subject") or row.part.split(".")[0])
    if subject not in SUBJECTS:
        return None
    question = text_field(row, "question")
    choices = _choices(row)
    answer = _answer(row)
    check_choices(choices, answer, row.where)
    school = "college" if subject.startswith("college") else "high_school"
    return Item(
        id=f"{subject}-{text_hash(question, *choices)}",
        question=question,
        choices=choices,
        answer=answer,
        hardness={"education": SCHOOLS[school]},
        topic=subject.removeprefix(f"{school}_"),
    )


def _local_rows(folder: Path, bad: BadRows) -> Iterator[Row]:
    try:
        find_parts(folder, PER_SUBJECT)
    except DataError as per_subject:
        try:
            find_parts(folder, ALL_IN_ONE)
        except DataError:
            # A folder that is not there is data that is not here: the kind of error is kept.
            raise type(per_subject)(f"{per_subject} (put {ACCEPTS})") from per_subject
        return read_parts(folder, ALL_IN_ONE, bad)
    return read_parts(folder, PER_SUBJECT, bad, columns=CSV_COLUMNS)


def _rows_from_hub() -> Iterator[Row]:
    for subject in SUBJECTS:
        source = HubSource(
            name="cais/mmlu", config=subject, revision=REVISION, splits=("validation", "test")
        )
        yield from hub_rows(source, f"put {ACCEPTS} and pass --data-root DIR")


def _choices(row: Row) -> tuple[str, ...]:
    if "A" in row.values:
        return tuple(text_field(row, letter) for letter in "ABCD")
    choices = json_field(row, "choices", "a JSON list of texts")
    if not isinstance(choices, list) or not all(isinstance(text, str) for text in choices):
        raise wrong_columns(row, "choices", "a list of texts")
    return tuple(text.strip() for text in choices)


def _answer(row: Row) -> int:
    answer: Any = row.values.get("answer")
    text = str(answer).strip()
    if not isinstance(answer, bool) and text.isdecimal() and len(text) <= 2:
        return int(text)
    if len(text) == 1 and text in "ABCD":
        return "ABCD".index(text)
    raise wrong_columns(row, "answer", "an index or one of A, B, C, D")


TASK = TaskSpec(
    name="mmlu_stem5",
    title="MMLU high school and college: biology, chemistry, computer science, maths, physics",
    licence="MIT",
    accepts=ACCEPTS,
    load=load,
    # High school 0, college 1: arXiv:2401.06751, section 3.
    cuts={"education": {"paper": fixed_cut({"easy": (0, 0), "hard": (1, 1)})}},
)
