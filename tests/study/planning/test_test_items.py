"""`TaskAxis.test_items`: which test items are scored, and that everything joins on them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import LinearProbe
from search_spaces.registry import find_space
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD
from search_spaces.studies.published.noise import noise
from search_spaces.supervision import Condition, SelfTraining
from study.analysis.power_analysis import estimate_power, power_parts
from study.analysis.surface import compute_surface
from study.artifacts.items import read_items
from study.artifacts.plan import Plan
from study.formatting import text_of
from study.planning.planner import Inputs, make_plan
from study.planning.preview.summary import format_plan
from study.sweep import main
from tests.support.lab_levels import SINGLE_STEPS
from tests.support.paper_study import paper_study
from tests.support.small_study import SmallStudy
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.filesystem import open_storage

SSRM = Condition(
    name="easy+SSRM",
    levels=("easy",),
    unlabelled=("hard",),
    self_training=SelfTraining(threshold=0.3),
)


def planned(number: int | None, *others: TaskAxis, levels: tuple[Level, ...] = (HARD,)) -> Space:
    axis = TaskAxis(
        task="micro",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=levels,
        conditions=(SSRM,),
        test_items=number,
    )
    return Space(
        name="few",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(axis, *others),
        methods=(LinearProbe(n_train=40),),
        seeds=2,
    )


def first_of(ids: list[str], number: int, task: str, study_seed: int = 0) -> set[str]:
    """The rule, worked out anew: the lowest SHA-256 of the order's key and the id."""
    key = hashlib.sha256(json.dumps([study_seed, "test", task], separators=(",", ":")).encode())
    ranked = sorted(
        ids, key=lambda id_: hashlib.sha256(f"{key.hexdigest()}/{id_}".encode()).digest()
    )
    return set(ranked[:number])


def ids_tested(plan: tuple[Plan, Inputs]) -> set[str]:
    """Ids that all cells of a plan of one axis are scored on."""
    (draw,) = {cell.test_draw for cell in plan[0].cells}
    return set(plan[1].tasks["micro"].tested_ids(draw))


def test_the_300_contain_the_100_and_are_the_first_of_each_level() -> None:
    both, single = (HARD, SINGLE_STEPS[-1]), SINGLE_STEPS[-1].name
    small, large = (make_plan(planned(n, levels=both)) for n in (100, 300))
    task = large[1].tasks["micro"]
    steps = task.data.measures["steps"]
    for number, plan in ((100, small), (300, large)):
        by_hand = [
            first_of([i for i in task.split.test if low <= steps[i] <= 6], number, "micro")
            for low in (5, 6)
        ]
        assert ids_tested(plan) == set.union(*by_hand)
        sizes = {level.level: (level.test, level.whole_test) for level in plan[0].tasks[0].levels}
        whole = sum(steps[i] >= 5 for i in task.split.test)
        assert sizes["hard"] == (number, whole) and sizes[single] == (
            min(number, sum(steps[i] == 6 for i in task.split.test)),
            sum(steps[i] == 6 for i in task.split.test),
        )
    assert ids_tested(small) < ids_tested(large)


def test_the_number_is_a_part_of_the_identity_only_where_it_is_set() -> None:
    words = TaskAxis(
        task="micro",
        measure="question_words",
        train_levels=(Level(name="short", low=1, high=30), Level(name="long", low=31, high=200)),
        test_levels=(Level(name="long", low=31, high=200),),
    )
    without, with_ = (make_plan(planned(n, words))[0] for n in (None, 100))
    alone = make_plan(planned(None))[0]

    def ids(plan: Plan, measure: str | None) -> set[str]:
        return {cell.id for cell in plan.cells if cell.measure == measure}

    assert ids(without, "question_words") == ids(with_, "question_words")
    assert not ids(without, "steps") & ids(with_, "steps")
    assert ids(without, None) < ids(with_, None), (
        "the zero-shot cell of the other axis is there still"
    )
    assert all("tested_hash" not in cell.cell.model_dump(exclude_none=True) for cell in alone.cells)
    for cell in with_.cells:
        assert (cell.cell.tested_hash is None) == (cell.test_draw is None)
    splits = {task.split_hash for plan in (without, with_, alone) for task in plan.tasks}
    labelled = [{c.cell.training_hash for c in p.cells} for p in (without, with_)]
    pools = [{c.cell.unlabelled_hash for c in p.cells} for p in (without, with_)]
    assert labelled[0] == labelled[1] and pools[0] == pools[1] and len(splits) == 2


def test_a_number_that_leaves_nothing_out_gives_the_same_cells() -> None:
    every = (EASY, *SINGLE_STEPS)
    all_, none = (make_plan(planned(n, levels=every))[0] for n in (5000, None))
    assert [cell.id for cell in all_.cells] == [cell.id for cell in none.cells]


def test_fewer_test_items_cost_less_and_the_plan_says_what_they_do_to_intervals() -> None:
    whole, few = (make_plan(planned(n))[0] for n in (None, 100))
    assert few.flop < 0.7 * whole.flop
    held = next(level for level in few.tasks[0].levels if level.level == "hard")
    assert f"100 of {held.whole_test}" in format_plan(few)
    powers = estimate_power(whole)[0].power, estimate_power(few)[0].power
    assert powers[0] is not None and powers[1] is not None
    assert powers[0].width is not None and powers[1].width is None
    (line,) = [
        line
        for line in text_of(power_parts(estimate_power(few), target_width=None)).splitlines()
        if "half-width" in line
    ]
    assert (
        f"unbounded with 100 of {held.whole_test} test items, {powers[0].width / 2:.2f} with all; "
        f"resolves gaps from {100 * powers[1].smallest_gap:.1f} points, from "
        f"{100 * powers[0].smallest_gap:.1f} with all" in line
    )
    assert "Effect of test_items" not in text_of(
        power_parts(estimate_power(whole), target_width=None)
    )


def test_an_interval_needs_two_items() -> None:
    with pytest.raises(ValueError, match="test_items"):
        planned(1)


def study_of(folder: Path, split: str, number: int) -> SmallStudy:
    study = SmallStudy(folder=folder)
    file = folder / "space.py"
    text = file.read_text()
    start, end = text.index("methods=("), text.index("footprint=")
    trained = "" if split == "paper" else f"conditions=({SSRM_TEXT},),"
    text = f"{text[:start]}methods=(LinearProbe(n_train=6),), seeds=2, split={split!r},{text[end:]}"
    text = text.replace('measure="steps",', f'measure="steps", test_items={number}, {trained}')
    file.write_text("from search_spaces.supervision import Condition, SelfTraining\n" + text)
    return study


SSRM_TEXT = (
    "Condition(name='easy+SSRM', levels=('easy',), unlabelled=('hard',), "
    "self_training=SelfTraining(threshold=0.26))"
)


def scored(out: Path, cell: PlannedCell) -> dict[str, float]:
    table = pq.read_table(out / layout.scores(cell.id))
    return dict(zip(table["item_id"].to_pylist(), table["correct"].to_pylist(), strict=True))


@pytest.mark.parametrize("split", ["frozen", "paper"])
def test_a_run_scores_these_items_alone_and_everything_joins_on_them(
    tmp_path: Path, split: str
) -> None:
    study, number = study_of(tmp_path, split, 12), 12
    out = tmp_path / "runs"
    assert main([*study.arguments, "--out", str(out), "--address", "in-process"]) == 0
    plan, inputs = make_plan(find_space(study.arguments[0]), tmp_path / "data")
    task = inputs.tasks["jsonl:sums"]
    steps = task.data.measures["steps"]
    levels = {
        name: first_of([i for i in task.split.test if low <= steps[i] <= 4], number, "jsonl:sums")
        for name, low in (("hard", 3), ("steps 4", 4))
    }
    wanted = levels["hard"] | levels["steps 4"]
    assert number < len(wanted) < 2 * number < len(task.split.test)
    scores = {cell.id: scored(out, cell) for cell in plan.cells}
    for cell in plan.cells:
        drawn = () if cell.draws is None else task.drawn_ids(cell.draws).labelled
        left_out = set(drawn) if split == "paper" else set()
        assert set(scores[cell.id]) == wanted - left_out
    surface = compute_surface(open_storage(str(out)), plan)
    assert not surface.scores.missing and surface.rows
    for row in surface.rows:
        items = levels[row.point.test_level.name]
        found = [[scores[id_].get(i, np.nan) for id_ in row.point.easy.cells] for i in items]
        assert row.easy == pytest.approx(np.nanmean(found), abs=0.05 if split == "paper" else 1e-6)
        assert row.num_items is not None and row.num_items <= number
    held = read_items(open_storage(str(out)), plan.space.name).test["jsonl:sums"]
    ids = np.array(held.ids)
    for name, low in (("hard", 3), ("steps 4", 4)):
        level = Level(name=name, low=low, high=4)
        assert set(ids[held.rows_of("steps", level)]) == levels[name]
    single = Level(name="a value", low=3, high=3)
    assert set(ids[held.rows_of("steps", single)]) == {i for i in wanted if steps[i] == 3}
    if split == "frozen":
        assert (out / layout.audit(plan.space.name)).exists()


def test_a_record_of_other_items_is_not_joined(tmp_path: Path) -> None:
    space = noise()
    axis = space.tasks[0].model_copy(update={"conditions": (), "test_items": 40})
    small = space.model_copy(update={"tasks": (axis,), "seeds": 1, "split": "frozen"})
    probe = small.methods[0].model_copy(update={"n_train": 20})
    small = small.model_copy(update={"methods": (probe,)})
    study = paper_study(small, open_storage(str(tmp_path / "runs")), tmp_path)
    tested = {i for cell in study.plan.cells for i in study.task.tested_ids(cell.test_draw)}
    first, second, *others = study.plan.cells
    items = [item for item in study.task.data.items if item.id in tested]
    beyond = next(i for i in study.task.split.test if i not in tested)
    for cell in others:
        study.finish_cell(cell, items)
    study.finish_cell(first, items[1:])
    study.finish_cell(second, [*items, *study.task.by_id([beyond])])
    missing = compute_surface(study.storage, study.plan).scores.missing
    assert "lacks 1 item " in missing[first.id].reason
    assert f"{beyond}) that it is not tested on" in missing[second.id].reason
    assert set(missing) == {first.id, second.id}
