"""A study that grows runs only what is new, and says so where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LoRA
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD, MEDIUM
from search_spaces.supervision import Condition, SelfTraining
from study.artifacts.plan import Plan, write_plan
from study.planning.planner import make_plan
from study.planning.preview.invalidated import describe_invalidated_cells
from tests.support.lab_levels import SINGLE_STEPS
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
        "methods": (InContext(k=4), LoRA(n_train=40)),
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
    "a method": {"methods": (InContext(k=4), LoRA(n_train=40), LoRA(n_train=40, epochs=5))},
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


LONG = (Level(name="short", low=1, high=4), Level(name="long", low=5, high=12))
OWN = tuple(Level(name=name, low=n, high=n) for n, name in enumerate(("easy", "hard"), 1))


def own_file(folder: Path) -> Path:
    (folder / "jsonl").mkdir(parents=True)
    rows = [
        {
            "id": f"q{n}",
            "question": f"{n}" + " word" * (n % 11),
            "choices": ["a", "b"],
            "answer": n % 2,
            "steps": 1 + n // 100,
        }
        for n in range(200)
    ]
    (folder / "jsonl" / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_an_axis_by_another_measure_of_own_data_says_which_cells_run_again(tmp_path: Path) -> None:
    root, storage = own_file(tmp_path / "data"), open_storage(str(tmp_path / "runs"))

    def by(measure: str, levels: tuple[Level, ...]) -> TaskAxis:
        return TaskAxis(
            task="jsonl:own", measure=measure, train_levels=levels, test_levels=levels[-1:]
        )

    space = study(tasks=(by("steps", OWN),), methods=(InContext(k=4), LoRA(n_train=20)), name="own")
    before = make_plan(space, root)[0]
    write_plan(storage, before)
    for cell in before.cells:
        storage.write_bytes(layout.record(cell.id), b"{}")
    axes = (by("steps", OWN), by("question_words", LONG))
    grown = make_plan(space.model_copy(update={"tasks": axes}), root)[0]
    assert not ids(before) & ids(grown)
    (said,) = describe_invalidated_cells(storage, grown)
    assert (
        "other training levels: for steps: easy, hard; question_words: short, long, before for "
        "steps: easy, hard" in said
    )
    assert f"{len(before.cells)} cells that were run are not used again (1 zero-shot, " in said
    assert "2 in-context easy" in said and "2 in-context hard" in said
    tests = study(tasks=(by("steps", OWN).model_copy(update={"test_levels": OWN}),), name="own")
    tests = tests.model_copy(update={"methods": space.methods})
    assert ids(make_plan(tests, root)[0]) == ids(before), "another test level moves no item"
