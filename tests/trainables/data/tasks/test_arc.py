from __future__ import annotations

import csv
import gzip
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from tests.support.real_data import ROOT, needs
from trainables.data.loading.files import Row
from trainables.data.splits import make_split
from trainables.data.task import TaskData
from trainables.data.tasks.questions import arc, arc_annotations
from trainables.data.tasks.registry import load_task
from trainables.errors import DataError

LEVELS = {
    "grade": {"easy": 1434, "medium": 1055, "hard": 2032},
    "difficulty": {"easy": 1056, "medium": 2878, "hard": 587},
    "bloom": {"easy": 2357, "medium": 1314, "hard": 850},
    "depth_of_knowledge": {"easy": 2353, "medium": 1974, "hard": 194},
}
SPLITS = {"train": "train", "validation": "dev", "test": "test"}


def official(
    id_: str = "Q1", key: str = "B", labels: str = "ABCD", **changed: Any
) -> dict[str, Any]:
    choices = [{"text": f"choice {label}", "label": label} for label in labels]
    row = {"id": id_, "question": {"stem": "Why?", "choices": choices}, "answerKey": key}
    return row | changed


def hub_schema(row: dict[str, Any]) -> dict[str, Any]:
    choices = row["question"]["choices"]
    return {
        "id": row["id"],
        "question": row["question"]["stem"],
        "choices": {
            "text": [choice["text"] for choice in choices],
            "label": [choice["label"] for choice in choices],
        },
        "answerKey": row["answerKey"],
    }


def real_rows(subset: str, split: str) -> list[dict[str, Any]]:
    path = ROOT / "arc" / f"{subset}.{split}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def real() -> TaskData:
    return load_task("arc", ROOT)


@needs("arc")
def test_counts_are_the_published_ones(real: TaskData) -> None:
    assert len(real.items) == 4521
    assert "7,787 questions, 5,120 annotated; 4,521 with a numeric grade" in real.notes[0]
    for measure, levels in LEVELS.items():
        values = real.measures[measure].values()
        found = {level.name: sum(map(level.holds, values)) for level in real.cuts[measure]}
        assert found == levels
    assert Counter(real.measures["grade"].values()) == {
        3: 194,
        4: 277,
        5: 963,
        6: 263,
        7: 792,
        8: 2032,
    }


@needs("arc")
@pytest.mark.parametrize(
    ("first", "second", "rho"),
    [("difficulty", "bloom", 0.261), ("grade", "difficulty", -0.003), ("grade", "bloom", -0.032)],
)
def test_measures_correlate_as_published(
    real: TaskData, first: str, second: str, rho: float
) -> None:
    ids = [item.id for item in real.items]
    columns = [[real.measures[name][id_] for id_ in ids] for name in (first, second)]
    assert spearmanr(*columns).statistic == pytest.approx(rho, abs=0.0005)


@needs("arc")
def test_items_are_sorted_and_their_answers_are_choices(real: TaskData) -> None:
    assert [item.id for item in real.items] == sorted(item.id for item in real.items)
    assert {len(item.choices) for item in real.items} == {4}  # the annotated ones
    assert all(0 <= item.answer < len(item.choices) for item in real.items)


@needs("arc")
def test_loading_measuring_and_splitting_all_of_it_takes_less_than_5_seconds() -> None:
    # CPU seconds: the machine may be shared.
    start = time.process_time()
    make_split(load_task("arc", ROOT), n_train=160)
    assert time.process_time() - start < 5.0


@needs("arc")
def test_hub_copy_has_the_items_of_the_local_copy(
    real: TaskData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def load_dataset(name: str, config: str, *, split: str, revision: str) -> list[dict[str, Any]]:
        asked.append((name, revision))
        rows = [hub_schema(row) for row in real_rows(config, SPLITS[split])]
        return list(reversed(rows))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    cache = write_annotations(tmp_path / "scarce-labels" / arc_annotations.FILE.name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))
    hub = load_task("arc")
    assert hub.data_hash == real.data_hash
    assert hub.measures == real.measures
    assert set(asked) == {("allenai/ai2_arc", "210d026faf9955653af8916fad021475a3f00453")}
    assert "allenai/ai2_arc@210d026f" in hub.source


@needs("arc")
@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_hub_schema_in_local_files_gives_the_same_items(
    real: TaskData, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "arc"
    for subset in arc.SUBSETS:
        for ours, theirs in SPLITS.items():
            rows = [hub_schema(row) for row in real_rows(subset, theirs)]
            write_rows(folder / subset / f"{ours}-00000-of-00001.{kind}", rows)
    write_annotations(folder / "arc-challenge-easy-annotations.json")
    assert load_task("arc", tmp_path).data_hash == real.data_hash


@needs("arc")
def test_annotations_with_another_content_are_refused(tmp_path: Path) -> None:
    path = write_annotations(tmp_path / "arc" / "annotations.json")
    rows = json.loads(path.read_text())
    keys = list(rows)
    first = next(key for key in keys if rows[key]["grade"] == "Grade 08")
    second = next(key for key in keys if rows[key]["grade"] == "Grade 03")
    # Two grades change places: every count stays right.
    rows[first]["grade"], rows[second]["grade"] = rows[second]["grade"], rows[first]["grade"]
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="the counts are right, the content is not"):
        arc_annotations.local_annotations(tmp_path / "arc")
    rows[first]["grade"] = "Grade 04"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="grade counts are"):
        arc_annotations.local_annotations(tmp_path / "arc")
    del rows[first]
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="5119 annotations, not 5120"):
        arc_annotations.local_annotations(tmp_path / "arc")


@needs("arc")
def test_fetched_annotations_are_fetched_once_and_checked_by_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = original_annotations()
    served = [original, b"something else"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Response(served.pop(0)))
    assert len(arc_annotations.fetched_annotations()) == 5120
    assert len(arc_annotations.fetched_annotations()) == 5120
    assert served == [b"something else"]
    (tmp_path / "scarce-labels" / arc_annotations.FILE.name).unlink()
    with pytest.raises(DataError, match=r"not sha256:eee0a3ef"):
        arc_annotations.fetched_annotations()


def test_without_a_network_the_error_says_which_file_to_put_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"into DIR/arc \(as annotations\.json\)"):
        load_task("arc")
    monkeypatch.setattr(arc, "fetched_annotations", dict)
    with pytest.raises(DataError, match=r"put DIR/arc/ARC-\{Easy,Challenge\}.*--data-root DIR"):
        load_task("arc")


@pytest.mark.parametrize(("labels", "key", "answer"), [("ABCD", "C", 2), ("1234", "4", 3)])
def test_letters_and_digits_are_answer_keys(labels: str, key: str, answer: int) -> None:
    assert arc.parse_row(row_of(official(key=key, labels=labels))).answer == answer
    assert arc.parse_row(row_of(hub_schema(official(key=key, labels=labels)))).answer == answer


@pytest.mark.parametrize("labels", ["ABC", "ABCDE", "123"])
def test_three_and_five_choices_are_kept(labels: str) -> None:
    assert len(arc.parse_row(row_of(official(key=labels[0], labels=labels))).choices) == len(labels)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (official(key="E"), "answerKey 'E' is none of A, B, C, D"),
        (official(key="A", labels="A"), "at least two choices, got 1"),
        (official(question={"stem": " ", "choices": []}), "stem is empty"),
        (official(question="Why?"), "'choices' .texts with labels.; the row has"),
        ({"text": "other columns"}, "no field 'question'"),
    ],
)
def test_bad_rows_are_refused_with_their_place(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"some file, line 3: .*{message}"):
        arc.parse_row(row_of(values))


def row_of(values: dict[str, Any]) -> Row:
    return Row(where="some file, line 3", values=values, part="ARC-Easy.train")


class Response:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> bytes:
        return self.content


def original_annotations() -> bytes:
    """The file of the paper's repository, byte for byte, from the rows of the local copy."""
    with gzip.open(ROOT / "arc" / "annotations.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    by_key = {row.pop("key"): row for row in rows}
    text = json.dumps(by_key, indent="\t", separators=(",", ":"))
    return text.replace("\n", "\r\n").encode()


def write_annotations(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(original_annotations())
    return path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"choices": json.dumps(row["choices"])} for row in rows)
