"""`study.report A --compare B`: terminal, page and table of two studies; B stays as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import LoRA
from search_spaces.space import TaskAxis
from study import report
from study.cli.command import BAD_INPUT, OK
from tests.support.fakes import EASY, HARD, FakeStudy, fake_space, fake_study
from trainables.storage.filesystem import open_storage

ODD = Level(name="<script>alert(1)</script>", low=4, high=4)
AXIS = TaskAxis(task="toy", measure="steps", train_levels=(EASY, HARD), test_levels=(HARD, ODD))


def study_in(folder: Path, **changes: object) -> FakeStudy:
    methods = (LoRA(n_train=8),)
    models = (BaseModelRef(name="small"), BaseModelRef(name="large"))
    return fake_study(folder, **{"models": models, "methods": methods, "tasks": (AXIS,), **changes})


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    study_in(tmp_path / "a")
    study_in(tmp_path / "b", methods=(LoRA(n_train=8, learning_rate=1e-3),), seeds=4)
    return tmp_path / "a" / "fake", tmp_path / "b" / "fake"


def test_two_studies_are_compared_in_the_folder_of_the_first(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(folders[1].parent)
    assert report.main([str(folders[0]), "--compare", str(folders[1])]) == OK
    text = capsys.readouterr().out
    assert text.startswith(f"A: {folders[0]}\nB: {folders[1]}\n")
    assert re.search(r"\d+ of \d+ tested differences are significant at 5 % \(Holm\)", text)
    assert "recipe.learning_rate" in text and "0.001" in text
    assert len(text.splitlines()) <= 30, "a summary, however many points there are"
    assert files_of(folders[1].parent) == before, "B is only read"
    table = pq.read_table(folders[0] / "comparison.parquet")
    page = (folders[0] / "report" / "comparison.html").read_text()
    assert page.count('class="difference') == table.num_rows
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(src|href)=\"https?:", page), "it opens without a network"
    assert not (folders[0] / "report" / "index.html").exists()


def test_studies_without_a_common_point_are_said_to_differ_in_their_coordinates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_in(tmp_path / "a", models=(BaseModelRef(name="small"),))
    study_in(tmp_path / "b", models=(BaseModelRef(name="large"),))
    folders = [tmp_path / name / "fake" for name in "ab"]
    assert report.main([str(folders[0]), "--compare", str(folders[1])]) == OK
    text = capsys.readouterr().out
    assert "No point is common: model is small in A and large in B.\n" in text
    assert re.search("Only A has .*small.*\nOnly B has .*large", text)
    assert "No identity field differs" not in text
    page = (folders[0] / "report" / "comparison.html").read_text()
    assert "model is small in A" in page and "No identity field differs" not in page


def test_the_table_prints_every_row(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(folders[0]), "--compare", str(folders[1]), "--table"]) == OK
    text = capsys.readouterr().out
    num_rows = pq.read_table(folders[0] / "comparison.parquet").num_rows
    assert len(re.findall(r"^(SGR|accuracy): ", text, re.M)) == num_rows


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--x", "method"], "--compare replaces the report"),
        (["--wandb"], "--compare replaces the report"),
    ],
)
def test_options_of_the_report_are_refused(
    folders: tuple[Path, Path],
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = files_of(folders[0])
    assert report.main([str(folders[0]), "--compare", str(folders[1]), *more]) == BAD_INPUT
    assert message in capsys.readouterr().err
    assert files_of(folders[0]) == before


def test_a_study_without_records_is_refused_before_anything_is_written(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeStudy(storage=open_storage(str(tmp_path / "c")), space=fake_space()).write()
    for other, message in ((tmp_path / "c" / "fake", "no record"), (tmp_path / "d" / "x", "exist")):
        before = files_of(folders[0])
        assert report.main([str(folders[0]), "--compare", str(other)]) == BAD_INPUT
        assert message in capsys.readouterr().err
        assert files_of(folders[0]) == before
