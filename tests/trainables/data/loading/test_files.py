"""Bad input is found while loading, and the message says where it is and what to do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from trainables.data.loading.files import BadRows, read_rows
from trainables.data.tasks.registry import load_task
from trainables.errors import DataError

GOOD: dict[str, Any] = {"id": "a", "question": "2 + 2?", "choices": ["4", "5"], "answer": 0}


def write(root: Path, *lines: str | bytes, name: str = "items.jsonl") -> Path:
    path = root / "jsonl" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(_bytes(line) + b"\n" for line in lines))
    return root


def _bytes(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode()


def row(**changed: Any) -> str:
    return json.dumps(GOOD | changed)


BAD_LINES = {
    "bad JSON": ('{"id": "b", ', "not JSON"),
    "not an object": ("[1, 2]", "must be an object with named fields"),
    "not UTF-8": (b'{"id": "b\xff"}', "not UTF-8"),
    "wrong columns": ('{"id": "b", "text": "x"}', "no field|field 'choices' .*|'choices'"),
    "empty question": (row(id="b", question="  "), "question is empty"),
    "one choice": (row(id="b", choices=["4"]), "at least two choices, got 1"),
    "same choices": (row(id="b", choices=["4", "4 "]), "choice '4' occurs 2 times"),
    "a choice twice": (row(id="b", choices=["x", "y", " y"]), "choice 'y' occurs 2 times"),
    "27 choices": (row(id="b", choices=[str(n) for n in range(27)]), "at most 26 choices"),
    "empty choice": (row(id="b", choices=["4", " "]), "a choice is empty"),
    "answer out of range": (row(id="b", answer=2), "answer 2 is none of the 2 choices"),
    "answer of no choice": (row(id="b", answer="6"), "an index from 0 or one of the choices"),
    "duplicate id": (row(question="other"), "id 'a' occurs twice"),
    "measure without order": (row(id="b", level="high"), "measure 'level' has 'high'"),
    "measure not finite": (row(id="b", level=float("inf")), "measure 'level' has inf"),
    "measure not a number": (row(id="b", level=float("nan")), "measure 'level' has nan"),
    "measure beyond a float": (row(id="b").replace("}", ', "level": 1e999}'), "level' has inf"),
    "measure of 401 digits": (row(id="b", level=10**400), "measure 'level' has inf"),
    "measure of 5,000 digits": (row(id="b").replace("}", f', "level": {"9" * 5000}}}'), "has inf"),
    "measure true": (row(id="b", level=True), "measure 'level' has True"),
    "measure as text": (row(id="b", level="3"), "measure 'level' has '3'"),
    "id true": (row(id=True), "'id' must be text, got True"),
    "nested 100,000 levels deep": ("[" * 100_000, "nested more than 100 levels deep"),
    "nested 101 levels deep": (
        row(id="b").replace("}", f', "level": {"[" * 101 + "]" * 101}}}'),
        "nested more than 100 levels deep",
    ),
    "half a character": (row(id="b", question="\ud800?"), r"a lone surrogate, '\\ud800', in"),
    "half a character in a choice": (row(id="b", choices=["4", "\udfff"]), "a lone surrogate"),
    "half a character in a name": (row(id="b").replace("}", r', "\ud800": 1}'), "a lone surr"),
    "a key twice": (row(id="b").replace("}", ', "id": "c"}'), "the key 'id' occurs twice"),
    "a NUL byte": (b'{"id": "b\0"}', "not JSON"),
}


@pytest.mark.parametrize("fault", BAD_LINES)
def test_bad_line_stops_loading_or_is_left_out_on_request(tmp_path: Path, fault: str) -> None:
    line, message = BAD_LINES[fault]
    write(tmp_path, row(), line, row(id="c"))
    with pytest.raises(DataError, match=rf"items\.jsonl, line 2: .*({message})"):
        load_task("jsonl", tmp_path)
    data = load_task("jsonl", tmp_path, skip_bad_rows=True)
    assert [item.id for item in data.items] == ["a", "c"]
    assert len(data.skipped) == 1 and "line 2" in data.skipped[0]
    assert data.notes == ("1 bad row was left out on request.",)


def test_only_bad_lines_is_no_task(tmp_path: Path) -> None:
    write(tmp_path, "x")
    with pytest.raises(DataError, match="holds no usable item"):
        load_task("jsonl", tmp_path, skip_bad_rows=True)


def test_missing_folder_and_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"jsonl: task 'jsonl' needs one file, there is none"):
        load_task("jsonl", tmp_path)
    with pytest.raises(DataError, match=r"gsm8k: no such folder; it must hold train, test as"):
        load_task("gsm8k", tmp_path)
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "train.jsonl").write_text("{}")
    with pytest.raises(DataError, match="gsm8k lacks test; put the file there as "):
        load_task("gsm8k", tmp_path)


def test_two_copies_of_one_part_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    for name in ("train.jsonl", "train.jsonl.gz", "test.jsonl"):
        (tmp_path / "gsm8k" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"train occurs more than once \(train.jsonl, train"):
        load_task("gsm8k", tmp_path)


@pytest.mark.parametrize("skip", [False, True])
def test_truncated_gzip_is_an_error_whatever_may_be_skipped(tmp_path: Path, skip: bool) -> None:
    path = tmp_path / "jsonl" / "items.jsonl.gz"
    path.parent.mkdir()
    content = gzip.compress("\n".join(row(id=str(n)) for n in range(500)).encode())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"items\.jsonl\.gz: the gzip file is cut short"):
        load_task("jsonl", tmp_path, skip_bad_rows=skip)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match="cut short or broken"):
        load_task("jsonl", tmp_path, skip_bad_rows=skip)


def test_broken_json_array_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n{"a": 1},\n{"a": }\n]')
    with pytest.raises(DataError, match=r"rows\.json, line 3: not JSON"):
        list(read_rows(path, BadRows(skip=False)))


def test_broken_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"rows\.parquet: not a parquet file"):
        list(read_rows(path, BadRows(skip=False)))


def test_csv_row_with_too_few_columns_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('one,"2\n2",3\n1,2\n')
    bad = BadRows(skip=True)
    rows = list(read_rows(path, bad, columns=("a", "b", "c")))
    assert [values.values["b"] for values in rows] == ["2\n2"]
    assert "line 3: not the 3 columns expected" in bad.messages[0]


@pytest.mark.parametrize("kind", ["jsonl", "json", "jsonl.gz"])
def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path, kind: str) -> None:
    lines = [row(level="low"), "", row(id="b", level="high")]
    text = f"[{lines[0]},\r\n{lines[2]}]" if kind == "json" else "\r\n".join(lines)
    content = b"\xef\xbb\xbf" + text.encode()
    path = write(tmp_path) / "jsonl" / f"items.{kind}"
    (tmp_path / "jsonl" / "items.jsonl").unlink()
    path.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    orders = b'\xef\xbb\xbf{"level": ["low", "high"]}'
    (tmp_path / "jsonl" / "items.measures.json").write_bytes(orders)
    data = load_task("jsonl", tmp_path)
    assert data.measures["level"] == {"a": 1.0, "b": 2.0}


def test_faults_of_an_array_are_of_one_row_where_it_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[" + ",\n".join([row(), row(question="\ud800"), row(id="c", level=1)]) + "]")
    bad = BadRows(skip=True)
    assert [found.values["id"] for found in read_rows(path, bad)] == ["a", "c"]
    assert bad.messages == [
        rf"{path}, row 2: a lone surrogate, '\ud800', in '\ud800'; mend or remove the row"
    ]
    path.write_text("[" + row() + ",\n" + "[" * 100_000)
    with pytest.raises(DataError, match=r"rows\.json, line 2: not JSON: nested more than 100"):
        list(read_rows(path, bad))


def test_a_csv_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,a\n1,2,3\n")
    with pytest.raises(DataError, match=r"rows\.csv, line 1: the column 'a' occurs twice"):
        list(read_rows(path, BadRows(skip=False)))


def test_a_parquet_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    broken = pa.array([b"fine", b"\xff"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"a": broken}), path)
    with pytest.raises(DataError, match=r"rows\.parquet, after row 0: not UTF-8"):
        list(read_rows(path, BadRows(skip=False)))


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"a": "x", "b": "1"}, {"a": 'y "z"', "b": "2"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "rows.csv").write_text('\ufeffa,b\nx,1\n"y ""z""",2\n', encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for kind in ("jsonl", "json", "csv", "parquet"):
        path = tmp_path / f"rows.{kind}"
        zipped = tmp_path / f"rows.{kind}.gz"
        zipped.write_bytes(gzip.compress(path.read_bytes()))
        for file in (path, zipped):
            assert [dict(r.values) for r in read_rows(file, BadRows(skip=False))] == rows
