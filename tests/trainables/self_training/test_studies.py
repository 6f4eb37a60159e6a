"""Self-training from plan to records: no gold of the pool, resumed rounds, controls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from search_spaces.base_models import BaseModelRef
from search_spaces.cell import STEP_VERSIONS
from search_spaces.levels import Level
from search_spaces.recipes import FullFineTuning, InContext, LinearProbe, LoRA, TrainedRecipe
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import Condition, Labels, SelfTraining
from study.artifacts.plan import Plan
from study.planning.planner import Inputs, make_plan
from tests.support.tiny_models import save_folder
from tests.support.workers import worker_of
from trainables.cells.planned import PlannedCell
from trainables.cells.run import CellInputs, CellResult, run_cell
from trainables.data.items import Item, text_hash
from trainables.data.task import SplitTask
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.interface import CellContext, Example
from trainables.models.loading import Base
from trainables.self_training.rounds import Teacher, UnlabelledPool, run_round
from trainables.self_training.unlabelled import strip_label
from trainables.storage import layout
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record

EASY, HARD = Level(name="easy", low=1, high=1), Level(name="hard", low=2, high=2)
HALF = SelfTraining(rule="quantile", threshold=0.5, max_unlabelled=12)
TRAINING = {"n_train": 4, "epochs": 2, "batch_size": 4}
RECIPES: Mapping[str, TrainedRecipe] = {
    "lora": LoRA(rank=2, learning_rate=1e-2, **TRAINING),
    "full fine-tuning": FullFineTuning(learning_rate=1e-3, **TRAINING),
    "linear probe": LinearProbe(n_train=4),
    "in-context": InContext(k=2),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_folder(tmp_path_factory.mktemp("model"), "llama", "bytes"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks: questions of four choices, and preference pairs of two."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "jsonl").mkdir()
    for name, k in (("questions", 4), ("pairs", 2)):
        rows = [
            {
                "id": f"q{number:03}",
                "question": f"ab {number} cd?",
                "choices": [f"{chr(97 + number % 7)}{c} {chr(98 + c)}" for c in range(k)],
                "answer": number % k,
                "steps": number % 2 + 1,
            }
            for number in range(80)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "jsonl" / f"{name}.jsonl").write_text(text)
    return folder


def space_of(
    model: str,
    recipe: TrainedRecipe,
    *conditions: Condition,
    task: str = "questions",
    prompt: str = "default",
) -> Space:
    axis = TaskAxis(
        task=f"jsonl:{task}",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        train_on_all=False,
        prompt=prompt,
        conditions=conditions,
    )
    return Space(
        name="ssrm", models=(BaseModelRef(name=model),), tasks=(axis,), methods=(recipe,), seeds=1
    )


def ssrm(rounds: int = 2, **options: object) -> Condition:
    return Condition(
        name="easy_ssrm",
        levels=("easy",),
        unlabelled=("hard",),
        rounds=rounds,
        self_training=HALF.model_copy(update=options),
    )


def chain(plan: Plan) -> list[PlannedCell]:
    """Returns the cells of self-training and those that they start from, in their order."""
    parents = {cell.cell.parent for cell in plan.cells}
    kept = [c for c in plan.cells if c.cell.self_training is not None or c.id in parents]
    return sorted(kept, key=lambda cell: cell.cell.round)


def run(cells: list[PlannedCell], inputs: Inputs, out: Path) -> Path:
    worker_of(inputs, out).run([tuple(cells)], [0])
    for cell in cells:
        failure = out / "cells" / cell.id / "failure.json"
        assert not failure.exists(), json.loads(failure.read_text())["details"]
    return out


def files_of(cells: list[PlannedCell], out: Path) -> dict[str, bytes]:
    """Returns every file that says what was selected, labelled, trained and scored."""
    return {
        f"{cell.cell.round} {path.relative_to(folder).as_posix()}": path.read_bytes()
        for cell in cells
        for folder in [out / "cells" / cell.id]
        for path in folder.rglob("*")
        if path.is_file() and path.name != "record.json"
    }


def turned(item: Item) -> Item:
    """Another gold answer, and the choices stored the other way round."""
    choices = tuple(reversed(item.choices))
    gold = item.choices[(item.answer + 1) % len(item.choices)]
    return replace(item, choices=choices, answer=choices.index(gold), reasoning="42")


def with_turned_pool(inputs: Inputs, cells: list[PlannedCell]) -> Inputs:
    """The same tasks and splits, every unlabelled item's gold and stored order another one."""
    tasks = {}
    for name, task in inputs.tasks.items():
        drawn = [task.drawn_ids(cell.draws) for cell in cells if cell.draws is not None]
        pool = {id_ for ids in drawn for level in ids.unlabelled for id_ in level}
        assert pool and not pool & {id_ for ids in drawn for id_ in ids.labelled}
        items = tuple(turned(item) if item.id in pool else item for item in task.data.items)
        tasks[name] = SplitTask(data=replace(task.data, items=items), split=task.split)
    return replace(inputs, tasks=tasks)


@pytest.mark.parametrize(
    ("method", "task", "prompt"),
    [*((method, "questions", "default") for method in RECIPES), ("lora", "pairs", "listed")],
)
def test_canary_gold_of_the_pool_changes_no_byte(
    model: str, data: Path, tmp_path: Path, method: str, task: str, prompt: str
) -> None:
    space = space_of(model, RECIPES[method], ssrm(), task=task, prompt=prompt)
    plan, inputs = make_plan(space, data)
    cells = chain(plan)
    assert [cell.cell.round for cell in cells] == [0, 1, 2]
    first = files_of(cells, run(cells, inputs, tmp_path / "a"))
    other = files_of(cells, run(cells, with_turned_pool(inputs, cells), tmp_path / "b"))
    assert first == other
    assert {name.rpartition("/")[0] for name in first} >= {"0 adapter", "1 adapter"}
    assert "2 selection.parquet" in first


def test_rounds_write_no_text_of_the_data(model: str, data: Path, tmp_path: Path) -> None:
    plan, inputs = make_plan(space_of(model, RECIPES["linear probe"], ssrm()), data)
    cells = chain(plan)
    run(cells, inputs, tmp_path)
    rows = [row for cell in cells if cell.cell.round for row in selection(tmp_path, cell)]
    assert any(row["trained_on"] for row in rows)
    records = [(tmp_path / "cells" / cell.id / "record.json").read_text() for cell in cells]
    written = str(rows) + "".join(records)
    for item in inputs.tasks["jsonl:questions"].data.items:
        assert not any(text in written for text in (item.question, *item.choices))


def test_canary_gold_of_the_pool_changes_neither_split_nor_draws(
    model: str, data: Path, tmp_path: Path
) -> None:
    """From the data on: other gold of the pool, of another length, and the plan made anew."""
    space = space_of(model, RECIPES["lora"], ssrm(max_unlabelled=None))
    rows = [
        {
            "id": f"q{number:03}",
            "question": f"ab {number} cd?",
            "choices": [f"{chr(97 + number % 7)}{'e' * (3 * c)}" for c in range(4)],
            "answer": number % 4,
            "steps": number % 2 + 1,
        }
        for number in range(400)
    ]
    plans = []
    for turn in (0, 1):
        folder = tmp_path / str(turn) / "jsonl"
        folder.mkdir(parents=True)
        turned_rows = [
            row | {"answer": (row["answer"] + turn * (row["steps"] == 2)) % 4} for row in rows
        ]
        text = "".join(json.dumps(row) + "\n" for row in turned_rows)
        (folder / "questions.jsonl").write_text(text)
        plans.append(make_plan(space, folder.parent))
    splits = [inputs.tasks["jsonl:questions"].split for _, inputs in plans]
    assert splits[0] == splits[1]
    drawn = [
        [inputs.tasks["jsonl:questions"].drawn_ids(cell.draws) for cell in chain(plan)]  # type: ignore[arg-type]
        for plan, inputs in plans
    ]
    assert drawn[0] == drawn[1] and drawn[0][1].unlabelled[0]


def test_levels_that_are_cut_by_gold_are_refused_for_self_training(model: str, data: Path) -> None:
    space = space_of(model, RECIPES["lora"], ssrm(rounds=1))
    levels = (Level(name="easy", low=3, high=4), Level(name="hard", low=4, high=4))
    axis = space.tasks[0].model_dump() | {
        "measure": "answer_chars",
        "train_levels": levels,
        "test_levels": levels[1:],
    }
    with pytest.raises(ValueError, match="answer_chars, a measure that is made of gold labels"):
        make_plan(Space.model_validate(space.model_dump() | {"tasks": [axis]}), data)


@pytest.mark.parametrize("unlabelled", [(), ("hard",), ("hard", "easy")])
def test_admission_by_level_wants_levels_from_easy_to_hard(unlabelled: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="from easy to hard"):
        space_of(
            "m",
            RECIPES["lora"],
            Condition(
                name="gradual",
                levels=("easy",),
                unlabelled=unlabelled,
                self_training=SelfTraining(admission="by-level"),
            ),
        )


def test_a_method_never_sees_gold_beside_its_labelled_items(
    model: str, data: Path, tmp_path: Path
) -> None:
    plan, inputs = make_plan(space_of(model, RECIPES["lora"], ssrm(rounds=1)), data)
    task = inputs.tasks["jsonl:questions"]
    assert {item.answer for item in task.data.items} == {0, 1, 2, 3}
    assert {item.answer for item in task.questions} == {0}
    assert not any(item.hardness or item.reasoning for item in task.questions)
    seen: list[CellInputs] = []

    def look(given: CellInputs, base: Base) -> CellResult:
        seen.append(given)
        return run_cell(given, base)

    worker_of(inputs, tmp_path, run_cell=look).run([tuple(chain(plan))], [0])
    assert len(seen) == 2 and all(given.context.items == task.questions for given in seen)


def test_the_prompt_control_shows_as_many_examples_as_the_round(
    model: str, data: Path, tmp_path: Path
) -> None:
    both = [
        ssrm(rounds=1, threshold=0.0, targets=targets).model_copy(update={"name": targets})
        for targets in ("pseudo", "none")
    ]
    plan, inputs = make_plan(space_of(model, RECIPES["in-context"], *both), data)
    shown = {}

    def look(given: CellInputs, base: Base) -> CellResult:
        result = run_cell(replace(given, keeps_state=True), base)
        assert result.state is not None
        rows = json.loads(bytes(result.state["examples"].tolist()))
        shown[given.context.cell.self_training] = len(rows)
        return result

    worker_of(inputs, tmp_path, run_cell=look).run([tuple(chain(plan))], [0])
    assert len(shown) == 3 and sorted(shown.values()) == [2, 4, 4]


def test_only_the_oracle_sees_the_gold_of_the_pool(model: str, data: Path, tmp_path: Path) -> None:
    space = space_of(model, RECIPES["lora"], ssrm(rounds=1, targets="oracle"))
    plan, inputs = make_plan(space, data)
    cells = chain(plan)
    first = run(cells, inputs, tmp_path / "a")
    other = run(cells, with_turned_pool(inputs, cells), tmp_path / "b")
    rows = [selection(out, cells[-1]) for out in (first, other)]
    gold = {
        item.id: text_hash(item.choices[item.answer])
        for item in inputs.tasks["jsonl:questions"].data.items
    }
    trained = [{r["item_id"]: r["trained_on"] for r in part if r["trained_on"]} for part in rows]
    assert trained[0].keys() == trained[1].keys(), "what is selected does not depend on gold"
    assert trained[0] == {id_: gold[id_] for id_ in trained[0]}
    assert all(trained[0][id_] != trained[1][id_] for id_ in trained[0])


def selection(out: Path, cell: PlannedCell) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(
        out / "cells" / cell.id / "selection.parquet"
    ).to_pylist()
    return rows


@pytest.mark.parametrize("number", [3, 8])
def test_a_level_gives_at_most_so_many_unlabelled_items(
    model: str, data: Path, number: int
) -> None:
    space = space_of(model, RECIPES["linear probe"], ssrm(rounds=1, max_unlabelled=number))
    plan, inputs = make_plan(space, data)
    drawn = inputs.tasks["jsonl:questions"].drawn_ids(chain(plan)[-1].draws)  # type: ignore[arg-type]
    assert [len(level) for level in drawn.unlabelled] == [number]


@pytest.mark.parametrize("number", [3, 7])
@pytest.mark.parametrize("method", RECIPES)
def test_a_cell_draws_as_many_labels_as_its_recipe_says(
    model: str, data: Path, method: str, number: int
) -> None:
    field = "k" if method == "in-context" else "n_train"
    recipe = RECIPES[method].model_copy(update={field: number})
    plan, inputs = make_plan(space_of(model, recipe), data)
    cells = [cell for cell in plan.cells if cell.draws is not None]
    task = inputs.tasks["jsonl:questions"]
    assert cells
    assert {len(task.drawn_ids(cell.draws).labelled) for cell in cells} == {number}  # type: ignore[arg-type]


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_stopped_loop_goes_on_with_equal_bytes(
    model: str, data: Path, tmp_path: Path, stopped_after: int
) -> None:
    space = space_of(model, RECIPES["lora"], ssrm(memory="accumulate"))
    plan, inputs = make_plan(space, data)
    cells = chain(plan)
    whole = files_of(cells, run(cells, inputs, tmp_path / "whole"))
    run(cells[:stopped_after], inputs, tmp_path / "parts")
    assert files_of(cells, run(cells, inputs, tmp_path / "parts")) == whole


def test_accumulated_labels_stay_and_relabelled_ones_follow_the_model(
    model: str, data: Path, tmp_path: Path
) -> None:
    space = space_of(model, RECIPES["lora"], ssrm(memory="accumulate"))
    plan, inputs = make_plan(space, data)
    cells = chain(plan)
    out = run(cells, inputs, tmp_path)
    trained = [
        {r["item_id"]: r["trained_on"] for r in selection(out, cell) if r["trained_on"]}
        for cell in cells[1:]
    ]
    assert 0 < len(trained[0]) <= 6, "half of twelve, fewer where confidences are equal"
    assert trained[0].items() <= trained[1].items()


def test_nothing_above_the_threshold_is_a_valid_cell_that_equals_its_parent(
    model: str, data: Path, tmp_path: Path
) -> None:
    space = space_of(model, RECIPES["lora"], ssrm(rounds=1, rule="fixed", threshold=1.0))
    plan, inputs = make_plan(space, data)
    cells = chain(plan)
    files = files_of(cells, run(cells, inputs, tmp_path))
    assert files["1 scores.parquet"] == files["0 scores.parquet"]
    record = read_record(open_storage(str(tmp_path)), cells[1].id)
    assert record.selection is not None and record.selection["num_selected"] == 0
    assert any("no item was selected" in note for note in record.notes)


def test_the_control_of_equal_steps_takes_as_many_steps_on_labels_alone(
    model: str, data: Path, tmp_path: Path
) -> None:
    both = (ssrm(rounds=1), ssrm(rounds=1, targets="none").model_copy(update={"name": "steps"}))
    plan, inputs = make_plan(space_of(model, RECIPES["lora"], *both), data)
    cells = chain(plan)
    assert len({cell.cell.parent for cell in cells[1:]}) == 1
    out = run(cells, inputs, tmp_path)
    curves = [(out / layout.curve(cell.id)).read_text().splitlines() for cell in cells]
    assert len(curves[1]) == len(curves[2]) > len(curves[0])
    control = next(cell for cell in cells if cell.condition == "steps")
    assert not any(row["trained_on"] for row in selection(out, control))


def test_a_temperature_from_easy_labels_is_recorded_and_its_labels_counted(
    model: str, data: Path, tmp_path: Path
) -> None:
    calibrated = ssrm(rounds=1, calibration="temperature", n_validation=5)
    calibrated = Condition.model_validate(calibrated.model_dump())
    plan, inputs = make_plan(space_of(model, RECIPES["lora"], calibrated), data)
    cells = chain(plan)
    point = next(point for point in plan.points if point.ssrm_round == 1)
    assert point.num_labels == 4 + 5
    drawn = inputs.tasks["jsonl:questions"].drawn_ids(cells[-1].draws)  # type: ignore[arg-type]
    assert len(drawn.validation) == 5 and not set(drawn.validation) & set(drawn.labelled)
    out = run(cells, inputs, tmp_path)
    record = read_record(open_storage(str(out)), cells[-1].id)
    assert record.selection is not None and record.selection["temperature"]["num_labels"] == 5


@pytest.mark.parametrize(
    ("labels", "num_wrong"), [(Labels(kind="noise", rate=0.4), 4), (Labels(kind="trivial"), 0)]
)
def test_validation_labels_are_as_noisy_as_the_labels_that_are_trained_on(
    model: str, data: Path, tmp_path: Path, labels: Labels, num_wrong: int
) -> None:
    calibrated = ssrm(rounds=1, calibration="temperature", n_validation=10)
    noisy = Condition.model_validate({**calibrated.model_dump(), "labels": labels})
    plan, inputs = make_plan(space_of(model, RECIPES["linear probe"], noisy), data)
    cells = chain(plan)
    seen: list[UnlabelledPool] = []

    def look(given: CellInputs, base: Base) -> CellResult:
        seen.extend([given.pool] if given.pool is not None else [])
        return run_cell(given, base)

    worker_of(inputs, tmp_path, run_cell=look).run([tuple(cells)], [0])
    (pool,) = seen
    wrong = [example.answer != example.item.answer for example in pool.validation]
    assert (len(wrong), sum(wrong)) == (10, num_wrong)
    versions = {cell.cell.round_version for cell in cells if cell.cell.round}
    step = "self-training, noisy validation" if num_wrong else "self-training"
    assert versions == {STEP_VERSIONS[step]}


def test_trivial_examples_cost_no_label(model: str, data: Path) -> None:
    trivial = Condition(name="trivial", labels=Labels(kind="trivial"))
    plan, _ = make_plan(space_of(model, RECIPES["linear probe"], trivial), data)
    found = {point.condition: point.num_labels for point in plan.points}
    assert found == {"easy": 4, "trivial": 0}


def test_levels_are_admitted_one_after_the_other(model: str, data: Path) -> None:
    gradual = Condition(
        name="gradual",
        levels=("easy",),
        unlabelled=("easy", "hard"),
        rounds=3,
        self_training=HALF.model_copy(update={"admission": "by-level"}),
    )
    plan, inputs = make_plan(space_of(model, RECIPES["lora"], gradual), data)
    task = inputs.tasks["jsonl:questions"]
    rounds = [cell for cell in chain(plan) if cell.cell.round]
    pools = [task.drawn_ids(cell.draws).unlabelled for cell in rounds]  # type: ignore[arg-type]
    assert [len(pool) for pool in pools] == [1, 2, 2]
    steps = task.data.measures["steps"]
    assert [{steps[id_] for id_ in level} for level in pools[2]] == [{1.0}, {2.0}]


def test_labelled_items_their_copies_and_groups_are_not_in_the_unlabelled_pool(
    model: str, data: Path
) -> None:
    space = space_of(model, RECIPES["lora"], ssrm(rounds=1, max_unlabelled=None))
    space = Space.model_validate(
        space.model_dump()
        | {
            "tasks": [
                space.tasks[0].model_dump()
                | {
                    "conditions": [
                        ssrm(rounds=1, max_unlabelled=None).model_dump() | {"unlabelled": ("easy",)}
                    ]
                }
            ]
        }
    )
    plan, inputs = make_plan(space, data)
    task = inputs.tasks["jsonl:questions"]
    draws = chain(plan)[-1].draws
    assert draws is not None
    labelled = task.drawn_ids(draws).labelled
    copy = next(id_ for id_ in task.drawn_ids(draws).unlabelled[0])
    items = tuple(
        replace(
            item,
            question=task.by_id(labelled)[0].question.upper(),
            choices=task.by_id(labelled)[0].choices,
        )
        if item.id == copy
        else item
        for item in task.data.items
    )
    changed = SplitTask(data=replace(task.data, items=items), split=task.split)
    assert copy not in changed.drawn_ids(draws).unlabelled[0]
    assert not set(labelled) & set(changed.drawn_ids(draws).unlabelled[0])


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (ssrm(rule="fixed", threshold=0.2), r"threshold 0.2 .* must be in \[0.25, 1\]"),
        (ssrm(start="continue"), "linear probe trains none"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_starts(
    model: str, data: Path, condition: Condition, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(space_of(model, RECIPES["linear probe"], condition), data)


@pytest.mark.parametrize("use", ["labelled", "test"])
def test_what_is_asked_elsewhere_is_left_out_of_the_pool(model: str, data: Path, use: str) -> None:
    plan, inputs = make_plan(space_of(model, RECIPES["lora"], ssrm(rounds=1)), data)
    draws = chain(plan)[1].draws
    assert draws is not None
    task = inputs.tasks["jsonl:questions"]
    drawn = task.drawn_ids(draws)
    other = drawn.labelled[0] if use == "labelled" else task.split.test[0]
    first = task.by_id(drawn.unlabelled[0])[0]
    items = tuple(
        replace(item, question=first.question.upper()) if item.id == other else item
        for item in task.data.items
    )
    changed = SplitTask(data=replace(task.data, items=items), split=task.split)
    assert first.id not in changed.drawn_ids(draws).unlabelled[0]


@pytest.mark.parametrize("use", ["labelled", "validation", "test"])
@pytest.mark.parametrize("change", [{}, {"id": "z"}, {"id": "z", "choices": ("x", "y")}])
def test_a_pool_that_overlaps_is_refused_at_run_time(
    model: str, data: Path, use: str, change: dict[str, object]
) -> None:
    plan, inputs = make_plan(space_of(model, RECIPES["lora"], ssrm(rounds=1)), data)
    cell = chain(plan)[1]
    task = inputs.tasks["jsonl:questions"]
    drawn = task.drawn_ids(cell.draws)  # type: ignore[arg-type]
    pool = task.by_id(drawn.unlabelled[0])
    twin = replace(pool[3], **change)  # type: ignore[arg-type]
    labelled = [Example(item=item, answer=0) for item in task.by_id(drawn.labelled)]
    extra = [Example(item=twin, answer=0)]
    found = UnlabelledPool(
        unlabelled=tuple(strip_label(item, 0) for item in pool),
        validation=tuple(extra) if use == "validation" else (),
        test=(twin,) if use == "test" else (),
        teacher=Teacher(state={}, kept={}, confidence=None),
    )
    context = CellContext(
        cell=cell.cell,
        prompt=None,
        items=(),
        states=StateCache(),
        log=lambda row: None,  # type: ignore[arg-type]
    )
    examples = [*labelled, *(extra if use == "labelled" else [])]
    with (
        pytest.raises(ValueError, match="an item has one use"),
        run_round(context, None, examples, found),  # type: ignore[arg-type]
    ):
        pass


def test_softmatch_weights_everything_and_has_no_threshold(
    model: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match="softmatch"):
        SelfTraining(rule="softmatch")
    soft = ssrm(rule="softmatch", threshold=None)
    plan, inputs = make_plan(space_of(model, RECIPES["lora"], soft), data)
    cells = chain(plan)
    out = run(cells, inputs, tmp_path)
    weights = [row["weight"] for row in selection(out, cells[1])]
    assert len(set(weights)) > 1 and max(weights) == 1.0  # type: ignore[type-var]
    record = read_record(open_storage(str(out)), cells[2].id)
    assert record.selection is not None and record.selection["state"]["mean"] > 0


def test_rounds_are_children_in_one_unit_and_share_draws_with_their_start(
    model: str, data: Path
) -> None:
    both = (ssrm(), ssrm(threshold=0.75))
    plan, _ = make_plan(space_of(model, RECIPES["lora"], *both), data)
    cells = {cell.id: cell for cell in plan.cells}
    for unit in plan.units:
        for index, id_ in enumerate(unit):
            assert cells[id_].cell.parent in (None, *unit[:index])
    points = [point for point in plan.points if point.ssrm_round]
    assert {(point.threshold, point.ssrm_round) for point in points} == {
        (0.5, 1),
        (0.5, 2),
        (0.75, 1),
        (0.75, 2),
    }
    assert all(
        point.start is not None and point.start.draws == point.easy.draws for point in points
    )
    parents = {cell.cell.parent for cell in plan.cells} - {None}
    assert {id_ for id_, cell in cells.items() if cell.keeps_state} == parents


def test_a_parent_without_its_state_is_run_again(model: str, data: Path, tmp_path: Path) -> None:
    plan, inputs = make_plan(space_of(model, RECIPES["lora"], ssrm(rounds=1)), data)
    cells = chain(plan)
    alone = cells[0].model_copy(update={"keeps_state": False})
    run([alone], inputs, tmp_path)
    scores = (tmp_path / layout.scores(alone.id)).read_bytes()
    assert not (tmp_path / layout.trained(alone.id)).exists()
    run(cells, inputs, tmp_path)
    assert (tmp_path / layout.scores(alone.id)).read_bytes() == scores
    assert (tmp_path / layout.trained(alone.id)).exists()
