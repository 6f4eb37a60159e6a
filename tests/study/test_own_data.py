"""Studies of own data through the commands: functions, column maps, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import huggingface_hub
import pyarrow.parquet as pq
import pytest

from search_spaces.registry import find_space
from study import data, plan, report
from study.cli.command import BAD_INPUT, OK
from study.planning.planner import make_plan
from study.sweep import main as sweep
from tests.support.own_tables import mmlu, write_hub_copy
from trainables.cells.planned import Block, RunContext
from trainables.cluster.block_trial import run_worker
from trainables.cluster.run_folder_check import RunFault

STUDY = """
import pandas
from search_spaces.recipes import InContext
from search_spaces.space import BaseModelRef, Columns, DataSource, Level, Space, TaskAxis

EASY, HARD = Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4)
COLUMNS = Columns(question="asked", choices=("right", "wrong"), answer="right", measures=("steps",))

def items():
    {hook}
    return pandas.DataFrame(
        {{
            "asked": [f"The secret word of riddle {{n}}?" for n in range(120)],
            "right": [f"hidden{{n}}" for n in range(120)],
            "wrong": [f"false{{n}}" for n in range(120)],
            "steps": [1 + n % 4 for n in range(120)],
        }}
    )

def mine() -> Space:
    return Space(
        name="mine", models=(BaseModelRef(name="micro-s"),), methods=(InContext(k=1),), seeds=1,
        tasks=(
            TaskAxis(
                task={task!r}, data=DataSource(columns={columns}), measure="steps",
                train_levels=(EASY, HARD), test_levels=(HARD,), train_on_all=False,
            ),
        ),
    )
"""


def study(
    folder: Path, hook: str = "pass", task: str = "my_study.py:items", columns: str = "COLUMNS"
) -> list[str]:
    folder.mkdir(exist_ok=True)
    path = folder / "my_study.py"
    path.write_text(STUDY.format(hook=hook, task=task, columns=columns))
    return [f"{path}:mine", "--out", str(folder / "runs")]


def test_a_function_of_the_study_file_is_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Called by the driver and by the worker; no text of it goes into the run folder."""
    calls = tmp_path / "calls"
    arguments = study(tmp_path / "a", hook=f"open({str(calls)!r}, 'a').write('call ')")
    assert sweep([*arguments, "--address", "in-process"]) == OK
    assert calls.read_text() == "call call "
    assert "my_study.py:items by steps" in capsys.readouterr().out
    runs = tmp_path / "a" / "runs"
    assert report.main([str(runs / "mine")]) == OK
    texts = [content_of(path) for path in runs.rglob("*") if path.is_file()]
    assert len(texts) > 10
    words = re.compile("secret word|hidden[0-9]|false[0-9]")
    assert not [found for text in texts if (found := words.search(text))]
    assert not list((tmp_path / "a").glob("__pycache__"))


def content_of(path: Path) -> str:
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist())
    return path.read_bytes().decode(errors="ignore")


def test_neither_folder_nor_column_names_are_in_the_identity(tmp_path: Path) -> None:
    study(tmp_path / "a")
    path = tmp_path / "b" / "my_study.py"
    study(tmp_path / "b")
    path.write_text(path.read_text().replace("asked", "stem").replace('"wrong"', '"bad"'))
    plans = [make_plan(find_space(f"{tmp_path / name / 'my_study.py'}:mine"))[0] for name in "ab"]
    assert plans[0].cells == plans[1].cells


OTHER = (
    "import itertools, pathlib\n"
    "    called = pathlib.Path(__file__).with_suffix('.called')\n"
    "    if called.exists():\n"
    "        row = {'asked': '?', 'right': 'a', 'wrong': 'b', 'steps': 1}\n"
    "        return pandas.DataFrame([row])\n"
    "    called.touch()"
)


def test_a_function_that_returns_other_items_stops_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep([*study(tmp_path, hook=OTHER), "--address", "in-process"]) == BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "my_study.py:items returns other items on the worker" in error
    assert not list((tmp_path / "runs").glob("cells/*/*"))


def test_a_ray_worker_whose_function_differs_ends_the_whole_run(tmp_path: Path) -> None:
    study(tmp_path, hook=OTHER)
    _, inputs = make_plan(find_space(f"{tmp_path / 'my_study.py'}:mine"))
    tasks = {name: task.without_items() for name, task in inputs.tasks.items()}
    block = Block(index=0, units=(), workers=1, cpus_per_worker=1, gpus_per_worker=0)
    fault = run_worker(
        {"block": block, "run_context": RunContext(out=str(tmp_path), tasks=tasks, models={})}
    )
    assert isinstance(fault, RunFault) and "returns other items on the worker" in fault


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ("Columns(question='askd', choices=('right', 'wrong'), answer='right')", "'asked'?"),
        (
            "Columns(question='asked', choices=('right', 'wrong'), answer='steps')",
            "90 rows cannot be used",
        ),
        ("Columns(question='asked', choices='right', answer='right')", "120 rows cannot be used"),
        (
            "Columns(question='asked', choice='right')",
            "there is no such field (did you mean 'choices'",
        ),
        ("None", "no row has the columns 'question', 'choices', 'answer', 'id'"),
    ],
)
def test_a_wrong_column_map_is_one_message_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: str, fault: str
) -> None:
    arguments = study(tmp_path, columns=columns)
    for main in (plan.main, sweep):
        assert main(arguments) == BAD_INPUT
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and fault in error
    assert not (tmp_path / "runs").exists()


def test_a_hub_name_without_network_is_one_message_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> object:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", no_network)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    arguments = study(tmp_path, task="hub:owner/quiz")
    assert sweep(arguments) == BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "the Hub does not respond" in error
    assert "hf download owner/quiz" in error and not (tmp_path / "runs").exists()
    assert plan.main(arguments) == OK, "without data, a plan is an estimate"
    assert "NOT CHECKED" in capsys.readouterr().out


def test_axes_of_a_task_have_one_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = study(tmp_path)
    path = tmp_path / "my_study.py"
    text = path.read_text()
    again = 'TaskAxis(task="my_study.py:items", measure="question_words", train_levels=(EASY,), '
    path.write_text(text.replace("        tasks=(", f"        tasks=({again}test_levels=(HARD,)),"))
    assert plan.main(arguments) == BAD_INPUT
    assert "give all axes of a task the same DataSource" in capsys.readouterr().err


def test_the_data_card_takes_the_columns_of_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = ["--space", study(tmp_path)[0], "--n-train", "4"]
    assert data.main(["my_study.py:items", *space, "--json"]) == OK
    assert json.loads(capsys.readouterr().out)["num_items"] == 120
    assert data.main(["arc", *space]) == BAD_INPUT
    assert "has no task 'arc', only my_study.py:items" in capsys.readouterr().err
    write_hub_copy(tmp_path, [row | {"id": f"q{n}"} for n, row in enumerate(mmlu())])
    root = ["--data-root", str(tmp_path), "--n-train", "4"]
    assert data.main(["hub:owner/quiz:main", *root]) == BAD_INPUT
    assert "measure 'subject' has 'anatomy'" in capsys.readouterr().err
