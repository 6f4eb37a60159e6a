"""What a condition is there for follows from what it says, not from which levels it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import LoRA
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.ssrm_micro import ssrm_micro
from search_spaces.studies.lab.ssrm_rm_micro import ssrm_rm_micro
from search_spaces.studies.published.noise import noise_micro
from search_spaces.supervision import Condition, Labels, SelfTraining
from study.artifacts.condition_kinds import condition_kind
from study.planning.planner import make_plan

EASY, HARD = Level(name="easy", low=1, high=1), Level(name="hard", low=2, high=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "jsonl").mkdir()
    rows = [
        {"id": f"q{n:03}", "question": f"which {n}?", "choices": [f"a{n}", "b"], "answer": n % 2,
         "steps": 1 + n % 2}
        for n in range(120)
    ]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "jsonl" / "mine.jsonl").write_text(text)
    return folder


def roles(space: Space, data: Path | None = None) -> dict[str, set[str]]:
    """Returns the roles of each condition's own cells, those of its start left out."""
    plan, _ = make_plan(space.model_copy(update={"seeds": 1}), data)
    cells = {cell.id: cell for cell in plan.cells}
    found: dict[str, set[str]] = {}
    for point in plan.points:
        for id_ in point.easy.cells:
            found.setdefault(point.condition, set()).add(condition_kind(cells[id_]))
    return found


def of_condition(data: Path, **fields: object) -> str:
    condition = Condition.model_validate({"name": "mine", **fields})
    axis = TaskAxis(
        task="jsonl:mine",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        conditions=(condition,),
    )
    space = Space(
        name="s",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(axis,),
        methods=(LoRA(n_train=8),),
    )
    (role,) = roles(space, data)["mine"]
    return role


@pytest.mark.parametrize(
    ("levels", "unlabelled"),
    [
        (("easy",), ("hard",)),
        (("easy", "hard"), ("hard",)),
        (("easy",), ("easy",)),
        ((), ("hard",)),
        (("hard",), ("hard",)),
        (("easy",), ()),
    ],
)
def test_levels_make_no_control(
    data: Path, levels: tuple[str, ...], unlabelled: tuple[str, ...]
) -> None:
    fields = {"levels": levels, "unlabelled": unlabelled}
    trained = {"self_training": SelfTraining(max_unlabelled=8), **fields}
    assert of_condition(data, **trained) == "self-training"
    assert of_condition(data, **trained, rounds=2, control=True) == "control"


@pytest.mark.parametrize("targets", ["oracle", "random", "none"])
def test_what_is_not_trained_on_pseudo_labels_is_a_control(data: Path, targets: str) -> None:
    options = {"targets": targets, "max_unlabelled": 8}
    fields = {"levels": ("easy",), "unlabelled": ("hard",), "self_training": options}
    assert of_condition(data, **fields) == "control"


def test_labels_without_content_are_controls_and_others_where_they_say_so(data: Path) -> None:
    assert of_condition(data, levels=("easy",), n_train=4) == "labels"
    assert of_condition(data, levels=("easy",), labels=Labels(kind="random")) == "control"
    assert of_condition(data, levels=("easy",), n_train=4, control=True) == "control"


def test_a_control_makes_none_of_what_it_starts_from(data: Path) -> None:
    condition = Condition(
        name="mine",
        levels=("easy",),
        n_train=4,
        unlabelled=("easy",),
        control=True,
        self_training=SelfTraining(max_unlabelled=8),
    )
    axis = TaskAxis(
        task="jsonl:mine",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        conditions=(condition,),
    )
    space = Space(
        name="s", models=(BaseModelRef(name="micro-s"),), tasks=(axis,), methods=(LoRA(n_train=8),)
    )
    plan, _ = make_plan(space, data)
    found = {
        cell.cell.round: condition_kind(cell) for cell in plan.cells if cell.condition == "mine"
    }
    assert found == {0: "labels", 1: "control"}


def test_shipped_spaces_have_their_roles() -> None:
    assert roles(ssrm_micro()) == {
        "easy": {"labels"},
        "easy_ssrm": {"self-training"},
        "oracle_selected": {"control"},
        "random_labels": {"control"},
        "easy_same_steps": {"control"},
        "easy_pool_ssrm": {"control"},
    }
    fractions = roles(ssrm_rm_micro())
    for control in ("none", "random", "oracle"):
        assert fractions.pop(f"1/4 + {control}") == {"control"}
    assert fractions == {
        name: {"self-training" if "SSRM" in name else "labels"} for name in fractions
    }
    found = roles(noise_micro())
    assert found.pop("random labels") == {"control"}
    assert set(map(frozenset, found.values())) == {frozenset({"labels"})}
