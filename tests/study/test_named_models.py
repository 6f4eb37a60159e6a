"""A base model in any folder, under a name of the user's choice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import InContext, LoRA
from search_spaces.registry import find_space
from search_spaces.space import Space
from study.artifacts.plan import Plan
from study.cli.command import OK
from study.planning.planner import make_plan
from study.planning.preview.offline_estimate import estimate_plan
from study.report import main as report
from study.sweep import main as sweep
from tests.support.small_study import TINY_SPACE, SmallStudy
from trainables.data.lab.base_models import MICRO_MODELS


@pytest.fixture
def study(tmp_path: Path) -> SmallStudy:
    return SmallStudy(folder=tmp_path)


def plan_of(study: SmallStudy, *models: BaseModelRef) -> Plan:
    space = find_space(study.arguments[0])
    changed = {"models": models, "methods": (InContext(k=2), LoRA(n_train=6)), "seeds": 1}
    space = Space.model_validate(space.model_dump() | changed)
    return make_plan(space, study.folder / "data")[0]


def test_neither_name_nor_folder_is_part_of_a_cell(study: SmallStudy, tmp_path: Path) -> None:
    folder = tmp_path / "any" / "folder"
    shutil.copytree(MICRO_MODELS["micro-s"], folder)
    shutil.copytree(folder, tmp_path / "moved")
    refs = [
        BaseModelRef(name="micro-s"),
        BaseModelRef(name=str(folder)),
        BaseModelRef(name="tiny", path=str(folder)),
        BaseModelRef(name="tiny", path=str(tmp_path / "moved")),
    ]
    ids = [[cell.id for cell in plan_of(study, ref).cells] for ref in refs]
    assert ids[0] and all(each == ids[0] for each in ids)


def test_a_path_wins_over_a_name_that_is_a_model_itself(study: SmallStudy) -> None:
    named = BaseModelRef(name="micro-s", path=str(MICRO_MODELS["micro-m"]))
    assert plan_of(study, named).models[0].content == (
        plan_of(study, BaseModelRef(name="micro-m")).models[0].content
    )


def test_two_names_of_one_model_are_refused(study: SmallStudy) -> None:
    other = BaseModelRef(name="other", path=str(MICRO_MODELS["micro-s"]))
    with pytest.raises(ValueError, match="'micro-s' and 'other' are one model"):
        plan_of(study, BaseModelRef(name="micro-s"), other)
    as_bfloat16 = other.model_copy(update={"dtype": "bfloat16"})
    assert len(plan_of(study, BaseModelRef(name="micro-s"), as_bfloat16).models) == 2


def test_a_model_with_a_path_needs_no_hub_for_an_estimate(study: SmallStudy) -> None:
    named = BaseModelRef(name="owner/model", path=str(MICRO_MODELS["micro-s"]))
    space = find_space(study.arguments[0]).model_copy(update={"models": (named,)})
    assert estimate_plan(space, study.folder / "data").checked_models == {"owner/model"}


def test_tables_show_the_name_and_not_the_folder(
    study: SmallStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(MICRO_MODELS["micro-s"], tmp_path / "some folder")
    named = f'BaseModelRef(name="tiny-lm", path={str(folder)!r})'
    text = TINY_SPACE.replace('BaseModelRef(name="micro-s")', named)
    (tmp_path / "named.py").write_text(text)
    out = tmp_path / "runs"
    data = str(study.folder / "data")
    space = f"{tmp_path / 'named.py'}:tiny"
    assert sweep([space, "--data-root", data, "--out", str(out), "--address", "in-process"]) == OK
    assert report([str(out / "tiny"), "--table"]) == OK
    shown = capsys.readouterr()
    assert "tiny-lm" in shown.out
    assert str(folder) not in shown.out + shown.err
    page = (out / "tiny" / "report" / "index.html").read_text()
    assert "tiny-lm" in page and str(folder) not in page
