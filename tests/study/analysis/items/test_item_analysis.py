"""Results per item against the records themselves; influence against leaving the item out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from study.analysis.items import accuracy
from study.analysis.items.accuracy import MIN_ITEMS, group_accuracies, group_table
from study.analysis.items.influence import influence_table, item_influences
from study.analysis.items.results import ItemArm, item_results
from study.analysis.scores import UNSEEN
from study.analysis.surface import ArmReader, Surface, compute_surface
from study.statistics.arms import ArmScores
from study.statistics.differences import estimate_contrast
from study.statistics.sgr import estimate_sgr_of_arms
from tests.support.fakes import FakeStudy, fake_space, fake_study
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record, read_scores

SMALL = {"models": (BaseModelRef(name="small"),), "methods": (LoRA(n_train=8),)}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    """A study of which one seed of an arm, and a whole other arm, have not run."""
    space = fake_space(**SMALL)
    root = tmp_path_factory.mktemp("study")
    made = FakeStudy(storage=open_storage(str(root)), space=space).write()
    absent = {made.cells("easy")[1].id, *(cell.id for cell in made.cells("all"))}
    for number, cell in enumerate(cell for cell in made.plan.cells if cell.id not in absent):
        made.finish_cell(cell, shuffle=number % 2 == 1)
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeStudy, Surface]:
    made = fake_study(tmp_path_factory.mktemp("whole"), **SMALL)
    return made, compute_surface(made.storage, made.plan)


def test_results_are_those_of_the_records(study: FakeStudy) -> None:
    surface = compute_surface(study.storage, study.plan)
    results = item_results(study.plan, surface.items, surface.scores)["toy"]
    assert [arm.condition for arm in results.arms] == ["zero-shot", "easy", "hard"]
    ids = results.items.ids.to_pylist()
    for place, arm in enumerate(results.arms):
        rows: dict[str, list[dict[str, float]]] = {}
        for cell in arm.cells:
            table = read_scores(study.storage, cell, read_record(study.storage, cell))
            for row in table.to_pylist():
                rows.setdefault(row["item_id"], []).append(row)
        for column, id_ in enumerate(ids):
            seeds = rows[id_]
            assert len(seeds) == len(arm.cells)
            counts = Counter(row["predicted"] for row in seeds)
            most = max(counts.values())
            assert results.right[place, column] == pytest.approx(
                np.mean([row["correct"] for row in seeds])
            )
            assert results.confidence[place, column] == pytest.approx(
                np.mean([row["confidence"] for row in seeds]), abs=1e-6
            )
            assert results.predicted[place, column] == min(c for c in counts if counts[c] == most)
            assert results.agreement[place, column] == pytest.approx(most / len(seeds))


def test_a_seed_that_was_not_scored_on_an_item_does_not_count(
    whole: tuple[FakeStudy, Surface],
) -> None:
    made, surface = whole
    toy = surface.scores.tasks["toy"]
    predicted, correct, confidence = (
        values.copy() for values in (toy.predicted, toy.correct, toy.confidence)
    )
    first, second, third = (toy.row[cell.id] for cell in made.cells("easy"))
    predicted[[first, second, third], 0] = UNSEEN, 1, 1
    correct[[first, second, third], 0] = UNSEEN, 1.0, 0.0
    confidence[[first, second, third], 0] = np.nan, 0.5, 0.75
    unseen = replace(toy, predicted=predicted, correct=correct, confidence=confidence)
    scores = replace(surface.scores, tasks={"toy": unseen})
    results = item_results(made.plan, surface.items, scores)["toy"]
    easy = [arm.condition for arm in results.arms].index("easy")
    found = (results.right, results.confidence, results.agreement, results.predicted)
    assert [values[easy, 0] for values in found] == [0.5, 0.625, 1.0, 1]
    rows = group_accuracies(made.plan, replace(surface, scores=scores))
    topics = [row for row in rows if (row.by, row.condition) == ("topic", "easy")]
    assert sum(row.num_items for row in topics) == len(results.items.ids)


def test_a_group_of_which_an_arm_saw_few_items_is_left_out(
    whole: tuple[FakeStudy, Surface],
) -> None:
    made, surface = whole
    toy = surface.scores.tasks["toy"]
    coins = np.flatnonzero(
        np.array(surface.items.test["toy"].table["topic"].to_pylist()) == "coins"
    )
    unseen = np.ix_([toy.row[cell.id] for cell in made.cells("easy")], coins[MIN_ITEMS - 1 :])
    predicted, correct = toy.predicted.copy(), toy.correct.copy()
    predicted[unseen] = correct[unseen] = UNSEEN
    tasks = {"toy": replace(toy, predicted=predicted, correct=correct)}
    rows = group_accuracies(
        made.plan, replace(surface, scores=replace(surface.scores, tasks=tasks))
    )
    topics = {(row.condition, row.group) for row in rows if row.by == "topic"}
    assert ("hard", "coins") in topics and ("easy", "coins") not in topics


def test_items_of_one_group_count_as_one_for_an_interval(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    made = FakeStudy(storage=storage, space=fake_space(**SMALL), group_size=5).write().finish()
    surface = compute_surface(storage, made.plan)
    table = surface.items.test["toy"].table
    point = next(row.point for row in surface.rows if row.point.source == "easy")
    arm = ArmReader(surface.items, surface.scores).arm(point.easy, "toy", None, None)
    own = [r for r in group_accuracies(made.plan, surface) if r.condition == "easy"]
    for row in (row for row in own if row.by == "topic"):
        members = np.flatnonzero(np.array(table["topic"].to_pylist()) == row.group)
        expected = estimate_contrast(
            {"arm": ArmScores(scores=arm.scores[members], draw_ids=arm.draw_ids)},
            {"arm": 1.0},
            level=surface.level,
            clusters=[table["group"].to_pylist()[member] for member in members],
        )
        assert (row.accuracy.low, row.accuracy.high) == pytest.approx((expected.low, expected.high))


def test_the_largest_topics_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "MAX_TOPICS", 2)
    topics = ["few", "most", None, "more", "most", "more", "most"]
    assert [group.name for group in accuracy._topics(topics)] == ["most", "more"]


def test_arms_know_their_seeds_levels_and_floor(study: FakeStudy) -> None:
    surface = compute_surface(study.storage, study.plan)
    results = item_results(study.plan, surface.items, surface.scores)["toy"]

    def facts(arm: ItemArm) -> tuple[object, ...]:
        return (arm.method, len(arm.cells), arm.num_planned, arm.level_place, arm.zero_shot)

    assert [facts(arm) for arm in results.arms] == [
        ("zero-shot", 1, 1, None, None),
        ("lora", 2, 3, 0, 0),
        ("lora", 3, 3, 1, 0),
    ]
    assert set(results.measures) == {"steps", "words"} and set(results.levels) == {"steps"}


def test_groups_of_a_measure_and_topics_share_out_the_items(
    whole: tuple[FakeStudy, Surface],
) -> None:
    study, surface = whole
    rows = group_accuracies(study.plan, surface)
    arms = {(row.method, row.condition) for row in rows}
    assert arms == {("lora", "zero-shot"), ("lora", "easy"), ("lora", "hard")}
    results = item_results(study.plan, surface.items, surface.scores)["toy"]
    right = {arm.condition: results.right[n] for n, arm in enumerate(results.arms)}
    for by, (_, condition) in product(("steps", "words", "topic"), arms):
        own = [row for row in rows if row.by == by and row.condition == condition]
        assert sum(row.num_items for row in own) == len(results.items.ids)
        total = sum(row.num_items * (row.accuracy.estimate or 0.0) for row in own)
        assert total / len(results.items.ids) == pytest.approx(right[condition].mean())
    values = results.measures["words"]
    for row in rows:
        if row.by == "words" and row.condition == "hard":
            members = (values >= row.low) & (values <= row.high)
            assert row.num_items == np.count_nonzero(members)
            assert row.accuracy.estimate == pytest.approx(right["hard"][members].mean())
            assert row.accuracy.low is not None and row.accuracy.high is not None
            assert row.accuracy.low < row.accuracy.estimate < row.accuracy.high
    assert group_table(rows).num_rows == len(rows)


def test_influence_is_the_change_of_sgr_without_the_item(whole: tuple[FakeStudy, Surface]) -> None:
    _, surface = whole
    rows = item_influences(surface, max_items=3)
    with_sgr = [row for row in surface.rows if row.sgr.estimate is not None]
    assert with_sgr and len(rows) == 3 * len(with_sgr)
    reader = ArmReader(surface.items, surface.scores)
    for point in with_sgr:
        planned = point.point
        arms = {"zero_shot": planned.zero_shot, "easy": planned.easy, "hard": planned.hard}
        scores = {name: reader.arm(arm, *planned.place) for name, arm in arms.items()}
        ids = [id_.removeprefix("toy/") for id_ in reader.test_level(*planned.place).ids]

        def ratio_without(place: int, scores: dict[str, object] = scores) -> float:
            kept = {
                name: replace(arm, scores=np.delete(arm.scores, place, axis=0))
                for name, arm in scores.items()
            }
            means = estimate_sgr_of_arms(**kept).means
            return (means["easy"] - means["zero_shot"]) / (means["hard"] - means["zero_shot"])

        changes = [ratio_without(place) - point.sgr.estimate for place in range(len(ids))]
        largest = sorted(map(abs, changes), reverse=True)[:3]
        own = [row for row in rows if row.row is point]
        assert [abs(row.change) for row in own] == pytest.approx(largest)
        for row in own:
            place = ids.index(row.item_id)
            assert row.change == pytest.approx(changes[place])
            assert row.hard == pytest.approx(scores["hard"].scores[place].mean())
    assert influence_table(rows)["item_id"].to_pylist() == [row.item_id for row in rows]
