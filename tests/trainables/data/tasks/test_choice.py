"""MMLU, StrategyQA and science from data of their published forms, made up here."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.data.loading.fetch import RemoteFile
from trainables.data.loading.files import Row
from trainables.data.loading.task_spec import Loaded
from trainables.data.tasks.questions import arc, mmlu, science, strategyqa
from trainables.data.tasks.registry import load_task
from trainables.errors import DataError


def mmlu_rows(subject: str, split: str) -> list[dict[str, Any]]:
    return [
        {
            "question": f"{subject} {split} {n}, which?",
            "subject": subject,
            "choices": [f"{n}", f"{n}, or more", 'a "quoted" one', "none\nof these"],
            "answer": n % 4,
        }
        for n in range(3)
    ]


def write_mmlu(folder: Path, kind: str) -> None:
    folder.mkdir(parents=True)
    splits = {"validation": "val", "test": "test"}
    if kind == "jsonl":
        for split in splits:
            rows = [row for subject in mmlu.SUBJECTS for row in mmlu_rows(subject, split)]
            rows += mmlu_rows("astronomy", split)
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return
    for subject in mmlu.SUBJECTS:
        for split, short in splits.items():
            rows = mmlu_rows(subject, split)
            if kind == "csv":
                (folder / short).mkdir(exist_ok=True)
                with (folder / short / f"{subject}_{short}.csv").open("w", newline="") as file:
                    for row in rows:
                        letter = "ABCD"[row["answer"]]
                        csv.writer(file).writerow([row["question"], *row["choices"], letter])
            else:
                (folder / subject).mkdir(exist_ok=True)
                path = folder / subject / f"{split}-00000-of-00001.parquet"
                pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_mmlu_is_the_same_from_every_release(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(name: str, config: str, *, split: str, revision: str) -> list[dict[str, Any]]:
        assert (name, revision) == ("cais/mmlu", mmlu.REVISION)
        return mmlu_rows(config, split)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    write_mmlu(tmp_path / "mmlu", kind)
    local, hub = load_task("mmlu_stem5", tmp_path), load_task("mmlu_stem5")
    assert local.data_hash == hub.data_hash
    assert local.measures == hub.measures
    assert len(local.items) == 60
    assert sorted(local.measures["education"].values()) == [0.0] * 30 + [1.0] * 30
    assert {item.topic for item in local.items} == {
        "biology", "chemistry", "computer_science", "mathematics", "physics",
    }  # fmt: skip
    assert "1,746 rows, this copy 60" in local.notes[-1]


def test_mmlu_keeps_repeats_once_contradicting_ones_too(tmp_path: Path) -> None:
    write_mmlu(tmp_path / "mmlu", "jsonl")
    path = tmp_path / "mmlu" / "test.jsonl"
    repeat = mmlu_rows("college_physics", "test")[0]
    contradiction = mmlu_rows("college_physics", "test")[1] | {"answer": 3}
    more = "\n".join(map(json.dumps, (repeat, contradiction)))
    path.write_text(path.read_text() + "\n" + more)
    data = load_task("mmlu_stem5", tmp_path)
    assert len(data.items) == 60
    assert "2 of 62 rows repeat another row; of 1 contents with contradicting" in data.notes[0]
    lines = path.read_text().splitlines()
    path.write_text("\n".join(reversed(lines)))
    assert load_task("mmlu_stem5", tmp_path).data_hash == data.data_hash, "of any order of rows"


def test_mmlu_leaves_out_questions_that_offer_a_choice_twice(tmp_path: Path) -> None:
    write_mmlu(tmp_path / "mmlu", "jsonl")
    path = tmp_path / "mmlu" / "test.jsonl"
    fault = mmlu_rows("college_physics", "test")[0] | {"choices": ["a", "b", "c", "b "]}
    path.write_text(path.read_text() + "\n" + json.dumps(fault))
    data = load_task("mmlu_stem5", tmp_path)
    assert len(data.items) == 60
    assert data.notes[0] == "1 questions that offer one choice twice were left out."
    assert "1,746 rows, this copy 61" in data.notes[1]


def test_mmlu_answer_outside_the_choices_is_refused() -> None:
    row = mmlu_rows("college_physics", "test")[0]
    for answer, message in ((4, "answer 4 is none of the 4"), ("E", "an index or one of A, B")):
        with pytest.raises(DataError, match=message):
            mmlu.parse_row(Row(where="x", values=row | {"answer": answer}))


def test_mmlu_without_files_says_what_to_put(tmp_path: Path) -> None:
    (tmp_path / "mmlu").mkdir()
    with pytest.raises(DataError, match=r"lacks high_school_biology\.validation.*SUBJECT"):
        load_task("mmlu_stem5", tmp_path)


def strategyqa_rows() -> list[dict[str, Any]]:
    rows = []
    for steps, count in strategyqa.STEP_COUNTS.items():
        rows += [
            {
                "qid": f"{steps}-{n}",
                "term": "Ants",
                "question": f"Would {n} ants fill {steps} cups?",
                "answer": n % 2 == 0,
                "facts": ["Ants are small.", " Cups are not."],
                "decomposition": [f"step {step}" for step in range(steps)],
            }
            for n in range(count)
        ]
    return rows


def write_strategyqa(folder: Path, layout: str) -> None:
    folder.mkdir(parents=True)
    rows = strategyqa_rows()
    if layout == "train and dev":
        (folder / "train.json").write_text(json.dumps(rows[:2061]))
        (folder / "dev.json").write_text(json.dumps(rows[2061:]))
    elif layout == "release":
        (folder / "strategyqa_train.json").write_text(json.dumps(rows))
        (folder / "strategyqa_test.json").write_text(json.dumps([{"qid": "unlabelled"}]))
        (folder / "strategyqa_train_paragraphs.json").write_text(json.dumps([{"title": "x"}]))
    else:
        pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")


@pytest.mark.parametrize("layout", ["train and dev", "release", "mirror"])
def test_strategyqa_is_the_same_from_every_release(tmp_path: Path, layout: str) -> None:
    write_strategyqa(tmp_path / "strategyqa", layout)
    data = load_task("strategyqa", tmp_path)
    assert (len(data.items), data.notes) == (2290, ())
    counts = {
        level.name: sum(map(level.holds, data.measures["steps"].values()))
        for level in data.cuts["steps"]
    }
    assert counts == {"easy": 644, "medium": 1219, "hard": 427}
    item = next(item for item in data.items if item.id == "3-2")
    assert (item.choices, item.answer) == (("yes", "no"), 0)
    assert item.reasoning == "Ants are small. Cups are not."


def test_strategyqa_that_is_fetched_must_be_the_known_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = strategyqa_rows()
    parts = {"strategyqa-train.json": rows[:2061], "strategyqa-dev.json": rows[2061:]}

    def fetch(file: RemoteFile, instead: str) -> Path:
        path = tmp_path / file.name
        path.write_text(json.dumps(parts[file.name]))
        return path

    monkeypatch.setattr(strategyqa, "fetched", fetch)
    assert len(load_task("strategyqa").items) == 2290
    parts["strategyqa-dev.json"].pop()
    with pytest.raises(DataError, match="2,289 questions with step counts"):
        load_task("strategyqa")


def test_strategyqa_is_fetched_at_a_commit_and_its_dev_part_by_hash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    urls: list[str] = []

    def answer(url: str, timeout: float) -> io.BytesIO:
        urls.append(url)
        return io.BytesIO(b"[]")

    monkeypatch.setattr("urllib.request.urlopen", answer)
    with pytest.raises(DataError, match=r"dev.json: content is sha256:4f53.*not sha256:0d94"):
        load_task("strategyqa")
    assert all(re.search(r"/eladsegal/strategyqa/[0-9a-f]{40}/data/", url) for url in urls)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"answer": "maybe"}, "'answer' must be true or false"),
        ({"answer": 1}, "'answer' must be true or false"),
        ({"decomposition": []}, "decomposition is empty"),
        ({"facts": 3}, "'facts' must be a list of texts"),
        ({"qid": ""}, "qid is empty"),
    ],
)
def test_strategyqa_bad_rows(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"x, line 1: .*{message}"):
        strategyqa.parse_row(Row(where="x, line 1", values=strategyqa_rows()[0] | changed))


def test_science_is_one_scale_from_3rd_grade_to_college(monkeypatch: pytest.MonkeyPatch) -> None:
    third = arc.parse_row(
        Row(
            where="x",
            values={
                "id": "Q",
                "question": "Why?",
                "choices": {"text": ["a", "b"], "label": ["A", "B"]},
                "answerKey": "A",
            },
        )
    )
    graded = [type(third)(id="Q", question="Why?", choices=("a", "b"), answer=0,
                          hardness={"grade": 3.0, "bloom": 1.0})]  # fmt: skip
    schools = [
        mmlu.parse_row(Row(where="x", values=mmlu_rows(f"{school}_physics", "test")[0]))
        for school in mmlu.SCHOOLS
    ]
    monkeypatch.setattr(arc, "load", lambda _: Loaded(items=graded, source="arc"))
    monkeypatch.setattr(mmlu, "load", lambda _: Loaded(items=schools, source="mmlu"))
    data = load_task("science")
    assert sorted(data.measures["grade"].values()) == [3.0, 11.0, 14.0]
    assert "bloom" not in data.measures and "education" not in data.measures
    assert {item.id.split("/")[0] for item in data.items} == {"arc", "mmlu"}
    assert "Assumption" in data.notes[-1]
    assert science.TASK.cuts["grade"]["schools"][0].name == "3rd grade"
