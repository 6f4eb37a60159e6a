"""ARC: AI2 Reasoning Challenge, Easy and Challenge, joined to the human hardness annotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainables.data.items import Item
from trainables.data.level_cuts import fixed_cut
from trainables.data.loading.files import Row, read_parts
from trainables.data.loading.hub import HubSource, hub_rows
from trainables.data.loading.task_spec import (
    Loaded,
    Request,
    TaskSpec,
    check_choices,
    json_field,
    text_field,
    usable,
    wrong_columns,
)
from trainables.data.tasks.questions.arc_annotations import (
    URL,
    Annotations,
    fetched_annotations,
    hardness,
    local_annotations,
)
from trainables.errors import DataError

SUBSETS = {"ARC-Easy": "ARCEZ_", "ARC-Challenge": "ARCCH_"}
"""Subset -> prefix of its annotation keys."""

REVISION = "210d026faf9955653af8916fad021475a3f00453"
"""Commit of allenai/ai2_arc on the Hub (the parquet conversion of the 2018 release)."""

NUM_QUESTIONS = 7787

_SPLITS = {"train": "train", "dev": "dev|validation", "test": "test"}


def load(request: Request) -> Loaded:
    """Returns the questions that carry a numeric grade (4,521 of 7,787), as the paper uses them.

    Raises:
        DataError: If a file is missing or broken, or the annotations are not the known ones.
    """
    if request.data_root is None:
        rows = _rows_from_hub(SUBSETS, ("train", "validation", "test"))
        annotations = fetched_annotations()
        source = f"Hub allenai/ai2_arc@{REVISION}, annotations {URL}"
    else:
        folder = request.data_root / "arc"
        annotations = local_annotations(folder)
        rows, source = _rows_from_files(folder, request, SUBSETS, _SPLITS), str(folder)
    items = [_annotated(item, annotations) for item in usable(rows, parse_row, request.bad)]
    kept = [item for item in items if item is not None and "grade" in item.hardness]
    return Loaded(items=kept, source=source, notes=_notes(items, len(kept)))


def load_test(subset: str, request: Request) -> tuple[Item, ...]:
    """Returns the published test questions of a subset, with or without annotations.

    Raises:
        DataError: If the file is missing or broken.
    """
    if request.data_root is None:
        rows = _rows_from_hub((subset,), ("test",))
    else:
        rows = _rows_from_files(request.data_root / "arc", request, (subset,), ("test",))
    return tuple(usable(rows, parse_row, request.bad))


def parse_row(row: Row) -> Item:
    """Returns the item of an official row or of one in the Hub's schema.

    Raises:
        DataError: If a field is missing or wrong.
    """
    question: Any = row.values.get("question")
    official = isinstance(question, dict)
    inner = Row(where=row.where, values=question if official else row.values)
    stem = text_field(inner, "stem" if official else "question")
    texts, labels = _choices(inner)
    check_choices(texts, 0, row.where)
    key = str(row.values.get("answerKey", "")).strip()
    if key not in labels:
        raise DataError(
            f"{row.where}: answerKey {key!r} is none of {', '.join(labels)}; mend the key"
        )
    return Item(
        id=text_field(row, "id"),
        question=stem,
        choices=texts,
        answer=labels.index(key),
        topic=row.part.split(".")[0],
    )


def _choices(row: Row) -> tuple[tuple[str, ...], list[str]]:
    choices = json_field(row, "choices", "a JSON object of text and label")
    try:
        if isinstance(choices, dict):
            texts, labels = list(choices["text"]), list(choices["label"])
        else:
            texts = [choice["text"] for choice in choices]
            labels = [choice["label"] for choice in choices]
        texts = [text.strip() for text in texts]
    except (AttributeError, KeyError, TypeError) as error:
        raise wrong_columns(row, "choices", "texts with labels") from error
    if len(texts) != len(labels):
        raise wrong_columns(row, "choices", "as many texts as labels")
    return tuple(texts), [str(label).strip() for label in labels]


def _rows_from_files(
    folder: Path, request: Request, subsets: Iterable[str], splits: Iterable[str]
) -> Iterator[Row]:
    parts = {
        f"{subset}.{split}": rf"{subset.lower()}([-._/].*)?[-._/]({_SPLITS[split]})"
        for subset in subsets
        for split in splits
    }
    return read_parts(folder, parts, request.bad)


def _rows_from_hub(subsets: Iterable[str], splits: tuple[str, ...]) -> Iterator[Row]:
    for subset in subsets:
        source = HubSource(name="allenai/ai2_arc", config=subset, revision=REVISION, splits=splits)
        yield from hub_rows(source, f"put {ACCEPTS} and pass --data-root DIR")


def _annotated(item: Item, annotations: Annotations) -> Item | None:
    assert item.topic is not None
    annotation = annotations.get(SUBSETS[item.topic] + item.id)
    return None if annotation is None else replace(item, hardness=hardness(annotation))


def _notes(items: list[Item | None], num_kept: int) -> tuple[str, ...]:
    num_annotated = sum(item is not None for item in items)
    notes: tuple[str, ...] = (
        f"{len(items):,} questions, {num_annotated:,} annotated; {num_kept:,} with a numeric grade "
        f"are used, {num_annotated - num_kept:,} with a subject in place of the grade are not.",
    )
    if len(items) != NUM_QUESTIONS:
        notes += (f"The published data has {NUM_QUESTIONS:,} questions, this copy {len(items):,}.",)
    return notes


ACCEPTS = (
    "DIR/arc/ARC-{Easy,Challenge}.{train,dev,test}.jsonl (official rows or the Hub's schema; also "
    ".json, .csv, .parquet, .gz) and DIR/arc/annotations.jsonl (or the original .json)"
)

TASK = TaskSpec(
    name="arc",
    title="ARC Easy + Challenge with human grades, difficulty, Bloom and depth of knowledge",
    licence="CC BY-SA 4.0 (questions), Apache-2.0 (annotations)",
    accepts=ACCEPTS,
    load=load,
    # Thresholds: arXiv:2401.06751, section 3 (depth of knowledge: in the data, not in the paper).
    cuts={
        "grade": {"paper": fixed_cut({"easy": (3, 5), "medium": (6, 7), "hard": (8, 8)})},
        "difficulty": {"paper": fixed_cut({"easy": (1, 1), "medium": (2, 2), "hard": (3, 3)})},
        "bloom": {"paper": fixed_cut({"easy": (1, 2), "medium": (3, 3), "hard": (4, 5)})},
        "depth_of_knowledge": {
            "levels": fixed_cut({"easy": (1, 1), "medium": (2, 2), "hard": (3, 3)})
        },
    },
)
