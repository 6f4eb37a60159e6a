"""A study that grows runs only what is new, and says so where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import InContext, QLoRA
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD, MEDIUM, SINGLE_STEPS
from search_spaces.supervision import Condition, SelfTraining
from study.artifacts.plan import Plan, write_plan
from study.planning.planner import make_plan
from study.planning.preview.invalidated import describe_invalidated_cells
from trainables.storage import layout
from trainables.storage.filesystem import open_storage


def tau(value: float) -> Condition:
    return Condition(
        name="easy+SSRM",
        levels=("easy",),
        unlabelled=("hard",),
        self_training=SelfTraining(threshold=value),
    )


def study(**changes: object) -> Space:
    values: dict[str, object] = {
        "name": "growing",
        "models": (BaseModelRef(name="micro-s"),),
        "tasks": (axis(),),
        "methods": (InContext(k=4), QLoRA(n_train=40)),
        "seeds": 2,
    }
    return Space.model_validate(values | changes)


def axis(**changes: object) -> TaskAxis:
    values: dict[str, object] = {
        "task": "micro",
        "measure": "steps",
        "train_levels": (EASY, HARD),
        "test_levels": (HARD,),
        "conditions": (tau(0.8),),
    }
    return TaskAxis.model_validate(values | changes)


@pytest.fixture(scope="module")
def first() -> Plan:
    return make_plan(study())[0]


def ids(plan: Plan) -> set[str]:
    return {cell.id for cell in plan.cells}


GROWN: dict[str, dict[str, object]] = {
    "a size": {"models": (BaseModelRef(name="micro-s"), BaseModelRef(name="micro-m"))},
    "a seed": {"seeds": 3},
    "a training level": {"tasks": (axis(train_levels=(EASY, MEDIUM, HARD)),)},
    "a test level": {"tasks": (axis(test_levels=(HARD, *SINGLE_STEPS[-2:])),)},
    "a threshold": {"tasks": (axis(conditions=(tau(0.8), tau(0.9))),)},
    "a method": {"methods": (InContext(k=4), QLoRA(n_train=40), QLoRA(n_train=40, epochs=5))},
    "a smaller draw": {
        "tasks": (axis(conditions=(tau(0.8), Condition(name="ten", levels=("easy",), n_train=10))),)
    },
}


@pytest.mark.parametrize("what", GROWN)
def test_old_cells_keep_their_ids(what: str, first: Plan) -> None:
    grown = make_plan(study(**GROWN[what]))[0]
    assert ids(first) <= ids(grown), "what was run is used again"
    is_free = what == "a test level"
    assert (len(ids(grown)) == len(ids(first))) == is_free, "other test levels cost no cell"


def more(number: int) -> dict[str, object]:
    condition = Condition(name="more", levels=("easy",), n_train=number)
    return {"tasks": (axis(conditions=(tau(0.8), condition)),)}


def test_more_labels_make_another_split_unless_it_is_held(first: Plan) -> None:
    grown = make_plan(study(**more(120)))[0]
    assert grown.tasks[0].split_hash != first.tasks[0].split_hash
    assert not ids(first) & ids(grown), "every cell is of a split, zero-shot too"
    held = make_plan(study(**more(70), split_for=40))[0]
    assert ids(first) < ids(held)


def test_a_split_made_for_more_labels_is_grown_into() -> None:
    early = make_plan(study(split_for=120))[0]
    late = make_plan(study(**more(120), split_for=120))[0]
    assert ids(early) < ids(late)


def test_what_is_not_used_again_is_said(tmp_path: Path, first: Plan) -> None:
    storage = open_storage(str(tmp_path))
    grown = make_plan(study(**more(120)))[0]
    assert describe_invalidated_cells(storage, grown) == ()
    write_plan(storage, first)
    assert describe_invalidated_cells(storage, grown) == (), "nothing was run"
    for cell in first.cells[:3]:
        storage.write_bytes(layout.record(cell.id), b"{}")
    (said,) = describe_invalidated_cells(storage, grown)
    assert "now made for draws of 120 labels, before of 40" in said
    assert "3 cells that were run are not used again" in said and "split_for=40" in said
    assert describe_invalidated_cells(storage, make_plan(study(seeds=3))[0]) == ()
