"""Rows that cannot be used, through the commands: refused in one line, or left out on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from search_spaces.registry import find_space
from study import data, measure, plan, sweep, tune
from study.cli.command import BAD_INPUT, OK
from study.planning.planner import make_plan
from tests.support.small_study import SmallStudy
from trainables.data.tasks.registry import load_task

GOOD = {"id": "bad", "question": "1 + 1?", "choices": ["2", "3"], "answer": 0, "steps": 1}

BAD_ROWS = {
    "measure 'steps' has True": json.dumps(GOOD | {"steps": True}),
    "measure 'steps' has inf": json.dumps(GOOD | {"steps": 10**400}),
    "nested more than 100 levels deep": '{"id": ' + "[" * 100_000,
    "a lone surrogate": json.dumps(GOOD | {"question": "\ud800"}),
    "not JSON": "{",
}

Main = Callable[[Sequence[str]], int]


@pytest.fixture
def study(tmp_path: Path) -> SmallStudy:
    return SmallStudy(folder=tmp_path)


def spoil(study: SmallStudy, *rows: str) -> None:
    with study.data_file.open("a") as file:
        file.writelines(f"{row}\n" for row in rows)


def command(study: SmallStudy, main: Main, *extra: str) -> int:
    out = study.folder / "runs"
    return main([*study.arguments, "--out", str(out), *extra])


def test_bad_rows_are_left_out_counted_and_explained(
    study: SmallStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_task("jsonl:sums", study.folder / "data").data_hash
    spoil(study, *BAD_ROWS.values())
    for main in (plan.main, sweep.main):
        extra = () if main is plan.main else ("--dry-run",)
        assert command(study, main, "--skip-bad-rows", *extra) == OK
        output = capsys.readouterr().out
        assert "5 bad rows were left out on request" in output
        assert output.count("left out: ") == 3
        assert f"left out: {study.data_file}, line 161: measure 'steps' has True" in output
        assert f"data {whole[:12]}" in output, "the identity is that of the rows that are kept"


def test_the_plan_records_how_many_rows_were_left_out(study: SmallStudy) -> None:
    space, folder = find_space(study.arguments[0]), study.folder / "data"
    clean, _ = make_plan(space, folder)
    spoil(study, *BAD_ROWS.values())
    planned, inputs = make_plan(space, folder, skip_bad_rows=True)
    (task,) = planned.tasks
    assert task.num_skipped == 5
    assert sum(note.startswith("left out: ") for note in task.notes) == 3
    assert planned.cells == clean.cells, "what was left out changes no cell"
    assert "bad" not in {item.id for item in inputs.tasks["jsonl:sums"].data.items}


def test_a_search_leaves_bad_rows_out(
    study: SmallStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    space = study.folder / "space.py"
    space.write_text(space.read_text().replace("n_train=6", "n_train=20"))
    spoil(study, *BAD_ROWS.values())
    search = ("--method", "linear-probe", "--trials", "1", "--validation", "24")
    here = (*search, "--address", "in-process")
    assert command(study, tune.main, *here) == BAD_INPUT
    assert "line 161" in capsys.readouterr().err
    assert command(study, tune.main, *here, "--skip-bad-rows") == OK
    assert capsys.readouterr().out.count("note: left out: ") == 3


MEASURED = """
from search_spaces.recipes import InContext
from search_spaces.space import BaseModelRef, Level, ModelHardness, Space, TaskAxis

EASY, HARD = Level(name="easy", low=0, high=0.5), Level(name="hard", low=0.5, high=1)

def small() -> Space:
    axis = TaskAxis(
        task="jsonl:sums", measure="mdl:prequential", scale="quantiles", bounds="quantiles",
        train_levels=(EASY, HARD), test_levels=(HARD,),
    )
    return Space(
        name="small", models=(BaseModelRef(name="micro-s"),), tasks=(axis,),
        methods=(InContext(k=2),), hardness=(ModelHardness(),),
    )
"""


def test_a_model_based_measure_leaves_bad_rows_out(
    study: SmallStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    (study.folder / "space.py").write_text(MEASURED)
    spoil(study, *BAD_ROWS.values())
    assert command(study, measure.main, "--dry-run") == BAD_INPUT
    assert "line 161" in capsys.readouterr().err
    assert command(study, measure.main, "--dry-run", "--skip-bad-rows") == OK
    assert capsys.readouterr().out.count("note: left out: ") == 3


def test_the_data_card_lists_every_row_that_was_left_out(
    study: SmallStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(study, *BAD_ROWS.values())
    arguments = ["jsonl:sums", "--data-root", str(study.folder / "data"), "--n-train", "8"]
    assert data.main(arguments) == BAD_INPUT
    error = capsys.readouterr().err
    assert "line 161" in error and "--skip-bad-rows" in error
    assert data.main([*arguments, "--skip-bad-rows"]) == OK
    output = capsys.readouterr().out
    assert all(f"line {number}: " in output for number in range(161, 166))
