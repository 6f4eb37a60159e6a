"""Own data from every source: files, copies in the Hub's layout, the Hub, and functions."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from search_spaces.space import Columns, DataSource
from tests.support.own_tables import (
    MMLU,
    OPENBOOKQA,
    SCIQ,
    Rows,
    mmlu,
    openbookqa,
    sciq,
    standard,
    write_hub_copy,
    write_parquet,
)
from trainables.data.items import data_hash
from trainables.data.splits import make_split
from trainables.data.task import SplitTask, TaskData
from trainables.data.tasks.registry import load_task
from trainables.errors import DataError, MissingDataError


def write_jsonl(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_csv(path: Path, rows: Rows) -> None:
    """Writes cells as people do: lists and objects as JSON, missing values as nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            cells = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}
            writer.writerow(cells)


def write_function(folder: Path, body: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "import pandas\nfrom datasets import Dataset, DatasetDict\n\n\ndef items():\n"
    (folder / "mine.py").write_text(text + "".join(f"    {line}\n" for line in body.splitlines()))


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(openbookqa(), OPENBOOKQA), (sciq(), SCIQ), (mmlu(), MMLU), (standard(), None)],
)
def test_every_source_of_one_table_gives_the_same_items(
    tmp_path: Path, rows: Rows, columns: Columns | None
) -> None:
    write_jsonl(tmp_path / "jsonl" / "quiz.jsonl", rows)
    write_csv(tmp_path / "csv" / "quiz.csv", rows)
    write_parquet(tmp_path / "parquet" / "quiz.parquet", rows)
    write_hub_copy(tmp_path, rows)
    write_function(tmp_path, f"return Dataset.from_list({rows!r})")
    loaded = []
    for task in ("jsonl:quiz", "csv:quiz", "parquet:quiz", "hub:owner/quiz:main", "mine.py:items"):
        source = DataSource(columns=columns)
        if task == "csv:quiz" and columns is MMLU:
            # In CSV an index is a text: the map tells it from a choice.
            source = DataSource(columns=MMLU.model_copy(update={"answer_is": "index"}))
        if task == "mine.py:items":
            source = DataSource(columns=columns, folder=str(tmp_path))
        loaded.append(load_task(task, tmp_path, source=source))
    assert len(loaded[0].items) == 24
    for task_data in loaded[1:]:
        assert task_data.items == loaded[0].items, task_data.source
    assert len({task_data.data_hash for task_data in loaded}) == 1
    assert all(task_data.is_own_data for task_data in loaded)


@pytest.mark.parametrize("columns", [Columns(measures=("grade",)), None])
def test_a_frame_has_missing_values_and_numbers(tmp_path: Path, columns: Columns | None) -> None:
    write_function(
        tmp_path,
        """return pandas.DataFrame({
    "id": ["q1", "q2", "q3"],
    "question": ["a?", "b?", "c?"], "choices": [["x", "y"]] * 3, "answer": [0, 1, None],
    "grade": [3, None, 5],
})""",
    )
    source = DataSource(columns=columns, folder=str(tmp_path))
    with pytest.raises(DataError, match=r"mine\.py:items, row 3: answer None is none of the 2"):
        load_task("mine.py:items", source=source)
    data = load_task("mine.py:items", source=source, skip_bad_rows=True)
    assert sorted(item.answer for item in data.items) == [0, 1]
    assert list(data.measures["grade"].values()) == [3.0]
    assert not [note for note in data.loading_notes if "answer None" in note], (
        "the plan, in the run folder, quotes no row of a function"
    )


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("return [1]", "reading its result fails with TypeError: it returned [1]; return a datase"),
        ("return DatasetDict()", "returned a DatasetDict; return one table"),
        ("raise KeyError('col')", "calling the function fails with KeyError: 'col'"),
        ("import no_such_module", "calling the function fails with ModuleNotFoundError"),
        ("raise SystemExit(3)", r"ends with sys.exit(3)"),
        ("return pandas.DataFrame({'a': [1, 'x']})", "reading its result fails with Arrow"),
        ("return Dataset.from_list([])", "holds no usable item"),
    ],
)
def test_a_function_that_fails_is_one_message(tmp_path: Path, body: str, fault: str) -> None:
    write_function(tmp_path, body)
    with pytest.raises(DataError) as error:
        load_task("mine.py:items", source=DataSource(folder=str(tmp_path)))
    assert fault in str(error.value) and "mine.py:items" in str(error.value)


def test_a_function_or_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    write_function(tmp_path, "return None")
    with pytest.raises(DataError, match=r"mine\.py' has no function 'other'"):
        load_task("mine.py:other", source=DataSource(folder=str(tmp_path)))
    with pytest.raises(DataError, match=r"no file .*/not\.py'; put it next to the space's file"):
        load_task("not.py:items", source=DataSource(folder=str(tmp_path)))


def split(data: TaskData) -> SplitTask:
    return SplitTask(data=data, split=make_split(data, n_train=2))


def test_workers_call_the_function_and_compare_the_data(tmp_path: Path) -> None:
    count = tmp_path / "calls"
    write_function(
        tmp_path,
        f"""with open({str(count)!r}, "a") as file:
    file.write("call ")
rows = open({str(tmp_path / "rows.json")!r}).read()
return Dataset.from_list(__import__("json").loads(rows))""",
    )
    (tmp_path / "rows.json").write_text(json.dumps(mmlu()))
    task = split(load_task("mine.py:items", source=DataSource(columns=MMLU, folder=str(tmp_path))))
    sent = pickle.dumps(task.without_items())
    assert b"mod 4" not in sent and b"mod 4" in pickle.dumps(task)
    (tmp_path / "mine.py").unlink()  # a worker on another machine does not have the file
    received = pickle.loads(sent).with_items()
    assert received.data.items == task.data.items
    assert received.by_id(task.split.test) == task.by_id(task.split.test)
    assert count.read_text() == "call call "
    (tmp_path / "rows.json").write_text(json.dumps(mmlu()[1:]))
    with pytest.raises(DataError, match=r"mine.py:items returns other items on the worker .*23 it"):
        pickle.loads(sent).with_items()


def test_other_data_travels_with_the_task(tmp_path: Path) -> None:
    write_parquet(tmp_path / "parquet" / "quiz.parquet", mmlu())
    source = DataSource(columns=MMLU)
    task = split(load_task("parquet:quiz", tmp_path, source=source))
    assert task.without_items() is task and task.with_items() is task


def test_a_copy_in_the_hubs_layout_has_configurations_and_splits(tmp_path: Path) -> None:
    folder = write_hub_copy(tmp_path, openbookqa())

    def load(task: str, *splits: str) -> TaskData:
        source = DataSource(columns=OPENBOOKQA, splits=splits)
        return load_task(task, tmp_path, source=source)

    assert len(load("hub:owner/quiz:main").items) == 24
    assert len(load("hub:owner/quiz:main", "test").items) == 6
    assert len(load("hub:owner/quiz:small").items) == 8
    assert load("hub:owner/quiz:small").source == f"{folder}:small"
    assert not load("hub:owner/quiz:small").loading_notes
    pinned = DataSource(columns=OPENBOOKQA, revision=COMMIT)
    data = load_task("hub:owner/quiz:small", tmp_path, source=pinned)
    assert data.loading_notes == (
        "The local copy in DIR/hub/owner/quiz was read; whether it is of revision "
        f"'{COMMIT}' was not checked.",
    )
    with pytest.raises(DataError, match=r"split dev: cannot be read .*'train', 'test'"):
        load("hub:owner/quiz:main", "dev")
    with pytest.raises(DataError, match=r"'main', 'small'.*as in hub:owner/quiz:CONFIG"):
        load("hub:owner/quiz")
    with pytest.raises(DataError, match="'nope' not found"):
        load("hub:owner/quiz:nope")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_bare_folder_of_files_is_a_copy_too(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "hub" / "owner" / "quiz"
    write = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}[kind]
    write(folder / f"train.{kind}", mmlu(16))
    write(folder / f"test.{kind}", mmlu(24)[16:])
    data = load_task("hub:owner/quiz", tmp_path, source=DataSource(columns=MMLU))
    assert len(data.items) == 24


def test_a_copy_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "owner" / "quiz"
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match=r"quiz: cannot be read \(EmptyDatasetError: .*"):
        load_task("hub:owner/quiz", tmp_path)
    (folder / "train.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"quiz: cannot be read") as error:
        load_task("hub:owner/quiz", tmp_path)
    assert "\n" not in str(error.value) and "trust_remote_code" not in str(error.value)
    (folder / "train.parquet").unlink()
    (folder / "quiz.py").write_text("raise SystemExit('a loading script ran')")
    with pytest.raises(DataError, match=r"quiz: cannot be read") as error:
        load_task("hub:owner/quiz", tmp_path)
    assert "trust_remote_code" not in str(error.value)


@pytest.mark.parametrize("name", ["hub:", "hub:quiz", "hub:../quiz", "hub:a/..", "hub:a/b/c"])
def test_a_name_that_is_no_data_set_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is named hub:OWNER/NAME"):
        load_task(name, tmp_path)


def hub(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> list[dict[str, Any]]:
    """Replaces the Hub; returns the arguments of every load."""
    loads: list[dict[str, Any]] = []

    def load(path: str, config: str | None, **options: Any) -> Any:
        loads.append({"path": path, "config": config, **options})
        rows = datasets.Dataset.from_list(mmlu())
        return rows if options["split"] else datasets.DatasetDict({"test": rows})

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: answer())
    monkeypatch.setattr(datasets, "load_dataset", load)
    return loads


COMMIT = "1234567890" * 4


class Info:
    sha = COMMIT


def test_the_commit_of_a_hub_data_set_is_looked_up_and_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loads = hub(monkeypatch, Info)
    data = load_task("hub:owner/quiz:main", source=DataSource(columns=MMLU))
    assert data.source == f"Hub data set owner/quiz:main@{COMMIT[:12]}"
    assert any(f"DataSource(revision='{COMMIT}')" in note for note in data.notes)
    pinned = DataSource(columns=MMLU, revision=COMMIT, splits=("validation", "test"))
    data = load_task("hub:owner/quiz:main", tmp_path, source=pinned)
    assert not [note for note in data.notes if "pinned" in note]
    assert [(each["config"], each["revision"], each["split"]) for each in loads] == [
        ("main", COMMIT, None), ("main", COMMIT, "validation"), ("main", COMMIT, "test"),
    ]  # fmt: skip
    assert not any("trust_remote_code" in each for each in loads)


def test_hub_copy_and_hub_have_one_identity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_hub_copy(tmp_path, mmlu())
    source = DataSource(columns=MMLU)
    copy = load_task("hub:owner/quiz:main", tmp_path, source=source)
    hub(monkeypatch, Info)
    assert load_task("hub:owner/quiz:main", source=source).data_hash == copy.data_hash
    reversed_ = [replace(item) for item in reversed(copy.items)]
    assert data_hash(reversed_) == copy.data_hash


def test_without_network_a_hub_name_is_one_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_network() -> Any:
        raise OSError("Name or service not known")

    hub(monkeypatch, no_network)

    def offline(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Couldn't reach it")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(MissingDataError) as error:
        load_task("hub:owner/quiz", tmp_path, source=DataSource(columns=MMLU))
    assert str(error.value) == (
        "Hub data set owner/quiz: cannot be fetched (the Hub does not respond, and the cache does "
        "not have it); without a network, put a copy into DIR/hub/owner/quiz (`hf download "
        "owner/quiz --repo-type dataset --local-dir DIR/hub/owner/quiz` on a machine that has one) "
        "and pass --data-root DIR"
    )


def test_of_many_bad_rows_the_number_and_the_first_three_are_named(tmp_path: Path) -> None:
    rows = [row | {"answer": 7 if n % 2 else row["answer"]} for n, row in enumerate(mmlu())]
    write_parquet(tmp_path / "parquet" / "quiz.parquet", rows)
    path = tmp_path / "parquet" / "quiz.parquet"
    with pytest.raises(DataError) as error:
        load_task("parquet:quiz", tmp_path, source=DataSource(columns=MMLU))
    fault = "answer 7 is none of the 4 choices; expected an index from 0 or one of the choices"
    assert str(error.value) == (
        f"12 rows cannot be used (--skip-bad-rows leaves them out): {path}, row 2: {fault}; "
        f"row 4: {fault}; row 6: {fault}; ..."
    )
    data = load_task("parquet:quiz", tmp_path, skip_bad_rows=True, source=DataSource(columns=MMLU))
    assert (len(data.items), len(data.skipped)) == (12, 12)


def test_a_zipped_csv_is_read(tmp_path: Path) -> None:
    write_csv(tmp_path / "csv" / "quiz.csv", sciq())
    content = (tmp_path / "csv" / "quiz.csv").read_bytes()
    (tmp_path / "csv" / "quiz.csv").unlink()
    (tmp_path / "csv" / "quiz.csv.gz").write_bytes(gzip.compress(content))
    assert len(load_task("csv", tmp_path, source=DataSource(columns=SCIQ)).items) == 24


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_csv_file_with_another_separator_is_one_message(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "csv" / "quiz.csv"
    write_csv(path, sciq())
    path.write_text(path.read_text().replace(",", separator))
    with pytest.raises(DataError) as error:
        load_task("csv:quiz", tmp_path, skip_bad_rows=True)
    header = separator.join(sciq()[0])
    assert str(error.value) == (
        f"{path}, line 1: {header!r} is a single column; separate the columns by commas"
    )


def test_a_file_needs_the_option_that_names_its_folder() -> None:
    with pytest.raises(
        DataError, match=r"--data-root is missing: pass --data-root DIR with DIR/csv/"
    ):
        load_task("csv:mine")


def test_a_file_of_another_kind_is_not_found(tmp_path: Path) -> None:
    write_parquet(tmp_path / "csv" / "quiz.parquet", mmlu())
    with pytest.raises(DataError, match=r"task 'csv:quiz' needs one file, there is none; put DIR"):
        load_task("csv:quiz", tmp_path)
