"""What rounds of self-training get from their plan: classes, hardness for warnings, versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from search_spaces.cell import STEP_VERSIONS
from search_spaces.recipes import LinearProbe
from search_spaces.supervision import Condition, SelfTraining
from study.artifacts.plan import Plan
from study.cost.flops import TaskSize, recipe_flop
from study.planning.planner import Inputs, make_plan
from tests.support.tiny_models import save_folder
from tests.support.workers import worker_of
from tests.trainables.self_training.test_studies import EASY, HARD, RECIPES, chain, run, space_of
from trainables.cells.planned import PlannedCell
from trainables.cells.run import CellInputs, CellResult, run_cell
from trainables.models.loading import Base
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_folder(tmp_path_factory.mktemp("model"), "llama", "bytes"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task whose easy questions are all of yes and no, and whose hard ones have own answers."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "jsonl").mkdir()
    rows = [
        {
            "id": f"q{number:03}",
            "question": f"ab {number} cd?",
            "choices": ["no", "yes"] if number % 2 == 0 else [f"a{number}", f"b{number}"],
            "answer": number // 2 % 2,
            "steps": number % 2 + 1,
        }
        for number in range(80)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "jsonl" / "questions.jsonl").write_text(text)
    return folder


def learns(
    unlabelled: Sequence[str], rounds: int = 1, rule: str = "freematch", **options: object
) -> Condition:
    asked = {"rule": rule, "threshold": 0.95, "max_unlabelled": 12, **options}
    return Condition(
        name="easy_ssrm",
        levels=("easy",),
        unlabelled=tuple(unlabelled),
        rounds=rounds,
        self_training=SelfTraining.model_validate(asked),
    )


def planned_rounds(model: str, data: Path, condition: Condition) -> tuple[Plan, Inputs]:
    return make_plan(space_of(model, RECIPES["linear probe"], condition), data)


def test_classes_are_fixed_by_the_whole_pool_of_a_chain_that_admits_level_after_level(
    model: str, data: Path, tmp_path: Path
) -> None:
    plan, inputs = planned_rounds(
        model, data, learns(("easy", "hard"), rounds=2, admission="by-level")
    )
    cells = chain(plan)
    assert [cell.cell.answer_classes for cell in cells] == [None, None, None]
    out = run(cells, inputs, tmp_path)
    states = [read_record(open_storage(str(out)), c.id).selection["state"] for c in cells[1:]]  # type: ignore[index]
    assert [state["texts"] for state in states] == [None, None]
    # The first level alone is of yes and no: by itself its classes are texts, in every round.
    plan, inputs = planned_rounds(model, data, learns(("easy",), rounds=2))
    cells = chain(plan)
    assert [cell.cell.answer_classes for cell in cells] == [None, "texts", "texts"]
    out = run(cells, inputs, tmp_path)
    states = [read_record(open_storage(str(out)), c.id).selection["state"] for c in cells[1:]]  # type: ignore[index]
    assert [state["texts"] for state in states] == [["no", "yes"]] * 2


def test_what_classes_are_is_in_the_id(model: str, data: Path) -> None:
    gradual = learns(("easy", "hard"), admission="by-level")
    alone = learns(("easy",))
    found = []
    for condition in (gradual, alone):
        plan, _ = planned_rounds(model, data, condition)
        found.append(chain(plan)[1])
    # One pool of easy items, yet other classes: they are not one cell.
    assert found[0].cell.unlabelled_hash == found[1].cell.unlabelled_hash
    assert found[0].cell.answer_classes != found[1].cell.answer_classes


def test_rounds_have_a_version_of_their_own_and_other_cells_none(model: str, data: Path) -> None:
    plan, _ = planned_rounds(model, data, learns(("hard",), rounds=2))
    versions = {cell.cell.round_version for cell in plan.cells if cell.cell.round}
    assert versions == {STEP_VERSIONS["self-training"]}
    assert {cell.cell.round_version for cell in plan.cells if not cell.cell.round} == {None}


def test_a_round_is_given_the_hardness_of_its_pool_for_warnings_alone(
    model: str, data: Path, tmp_path: Path
) -> None:
    plan, inputs = planned_rounds(model, data, learns(("easy", "hard"), rule="fixed"))
    seen: dict[str, CellInputs] = {}

    def look(given: CellInputs, base: Base) -> CellResult:
        if given.pool is not None:
            seen["round"] = given
        return run_cell(given, base)

    cells: tuple[PlannedCell, ...] = tuple(chain(plan))
    worker_of(inputs, tmp_path, run_cell=look).run([cells], [0])
    pool = seen["round"].pool
    assert pool is not None
    steps: Mapping[str, float] = inputs.tasks["jsonl:questions"].data.measures["steps"]
    ids = [item.id for item in pool.unlabelled]
    assert dict(pool.hardness) == {id_: steps[id_] for id_ in ids}
    names = {EASY.low: "easy", HARD.low: "hard"}
    assert dict(pool.levels) == {id_: names[steps[id_]] for id_ in ids}
    assert set(pool.levels.values()) == {"easy", "hard"}


def test_weights_that_would_stay_for_good_are_refused() -> None:
    with pytest.raises(ValidationError, match="later rounds would have no effect"):
        SelfTraining(rule="softmatch", threshold=None, memory="accumulate")
    assert SelfTraining(rule="softmatch", threshold=None).memory == "relabel"


@pytest.mark.parametrize(("orders", "turns"), [("given", 1), ("all", 4)])
def test_a_round_is_priced_with_both_looks_at_its_pool(orders: str, turns: int) -> None:
    size = TaskSize(num_test=100, num_items=400, tokens_per_item=50.0, num_choices=4.0)
    options = SelfTraining.model_validate({"max_unlabelled": 160, "orders": orders})
    probe = LinearProbe()
    more = recipe_flop(probe, options, 1000, size) - recipe_flop(probe, None, 1000, size)
    # Before and after: 160 items in every order, 2 operations a weight and token.
    assert more == pytest.approx(2 * 160 * turns * 2.0 * 1000 * 50.0)
