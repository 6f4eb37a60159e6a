from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from study.data import main
from study.reporting.task.describe import describe_data
from trainables.data.splits import make_split
from trainables.data.task import Split, SplitTask, TaskData
from trainables.data.tasks.registry import load_task


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "jsonl"
    folder.mkdir()
    rows = [
        {
            "id": f"i{n}",
            "question": f"<b>{n}</b> & " + "word " * (n % 9),
            "choices": ["no", f"yes & {n}"],
            "answer": 1,
            "steps": 1 + n % 3,
            "topic": "even" if n % 2 == 0 else "odd",
        }
        for n in range(300)
    ]
    rows.append(rows[3] | {"id": "copy"})
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def split_by_steps(data: TaskData) -> Split:
    return make_split(data, n_train=20, bands={"steps": data.cuts["steps"]})


def test_report_counts_what_is_there(root: Path) -> None:
    data = load_task("jsonl", root)
    task = SplitTask(data=data, split=split_by_steps(data))
    report = describe_data(task, n_train=20)
    assert (report.num_items, report.num_duplicates) == (301, 2)
    assert report.num_pool + report.num_test <= 301
    assert report.values["steps"] == {"1": 101, "2": 100, "3": 100}
    hard = next(row for row in report.levels if (row.measure, row.level) == ("steps", "hard"))
    assert (hard.low, hard.high, hard.num_items) == (3, 3, 100)
    assert hard.num_pool >= 40 and hard.num_pool + hard.num_test == 100
    assert hard.answer_positions == (0.0, 1.0)
    assert hard.topics == {"even": 0.5, "odd": 0.5}
    assert hard.overlap is not None and 0.0 < hard.overlap < 1.0
    assert report.examples[hard.example_id].hardness["steps"] == 3.0


def test_overlap_is_of_the_draws_that_the_cells_make(root: Path) -> None:
    data = load_task("jsonl", root)
    task = SplitTask(data=data, split=split_by_steps(data))
    whole = describe_data(task, n_train=len(task.split.pool))
    assert all(row.overlap is None for row in whole.levels)
    one_pool = next(row for row in whole.levels if row.measure == "steps").num_pool
    full = describe_data(task, n_train=one_pool)
    row = next(row for row in full.levels if row.measure == "steps")
    assert row.overlap == 1.0


def test_text_json_and_html_show_the_same_counts(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["jsonl", "--data-root", str(root), "--n-train", "20"]
    page = tmp_path / "page.html"
    assert main([*arguments, "--html", str(page)]) == 0
    text = capsys.readouterr().out
    assert "Task jsonl: 301 items" in text and "overlap of 20" in text
    kept = "levels that are trained on (steps easy, steps medium, steps hard)"
    assert kept in text, "the pools are those of a study by the measure that the data brings"
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    html = page.read_text()
    parser = HTMLParser()
    parser.feed(html)
    assert "<b>" not in html and "&lt;b&gt;" in html and "http" not in html
    for row in report["levels"]:
        for shown in (text, html):
            assert row["level"] in shown and str(row["num_items"]) in shown


def test_bad_input_is_status_2_and_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trivia"]) == 2
    assert "error: unknown task 'trivia'" in capsys.readouterr().err
    assert main(["jsonl", "--data-root", str(root), "--n-train", "0"]) == 2
    assert "n_train must be at least 1" in capsys.readouterr().err
    assert main(["jsonl", "--data-root", str(root), "--html", "/no/such/folder/x.html"]) == 2
    (root / "jsonl" / "own.jsonl").write_text("{")
    assert main(["jsonl", "--data-root", str(root)]) == 2
    captured = capsys.readouterr()
    assert "line 1: not JSON" in captured.err and captured.out == ""


def test_skipped_rows_are_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (root / "jsonl" / "own.jsonl").open("a") as file:
        file.write("\nnot json\n")
    assert main(["jsonl", "--data-root", str(root), "--skip-bad-rows"]) == 0
    out = capsys.readouterr().out
    assert "1 bad row was left out on request" in out and "line 302: not JSON" in out
