"""Reward models on preference tasks: ties, subsets, sections, and the ceiling that people set."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from search_spaces.space import TaskAxis
from study.analysis.preferences.reward_models import (
    RewardRow,
    ceilings,
    reward_rows,
    votes_agreement,
)
from study.analysis.preferences.rewardbench import SUBSETS
from study.analysis.surface import Surface, compute_surface
from study.artifacts.items import TaskItems
from study.reporting.content import gather
from study.reporting.files import write_report
from study.reporting.page import render_page
from tests.support.fake_tasks import fake_task
from tests.support.fakes import EASY, HARD, FakeStudy, fake_space
from tests.support.page_data import page_rows
from trainables.data.task import SplitTask
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record, scores_table, write_record

ALL_SUBSETS = [name for counts in SUBSETS.values() for name in counts]


def reward_study(root: Path, *tasks: str, topics: list[str] | None = None) -> FakeStudy:
    """A study of these tasks in both orders; topics: dealt out over the items in turn."""
    space = fake_space(
        tasks=tuple(
            TaskAxis(task=t, measure="steps", train_levels=(EASY, HARD), test_levels=(HARD,))
            for t in tasks
        ),
        models=(BaseModelRef(name="small"),),
        methods=(LoRA(n_train=8, orders="all"),),
        contrasts=(),
    )
    study = FakeStudy(storage=open_storage(str(root)), space=space)
    if topics is not None:
        for name, task in study.tasks.items():
            test = {id_: number for number, id_ in enumerate(task.split.test)}
            items = tuple(
                replace(item, topic=topics[test.get(item.id, 0) % len(topics)])
                for item in task.data.items
            )
            study.tasks[name] = replace(task, data=replace(task.data, items=items))
    return study.write().finish()


SET_OF = ("hh_rlhf", "llmbar", "rewardbench", "rewardbench")
"""Sets of a composed task's test items, in turn; its pool is UltraFeedback's."""


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the fake task `preferences` of several sets, as the real one is."""

    def make(name: str, *sizes: int) -> SplitTask:
        task = fake_task(name, *sizes)
        if name != "preferences":
            return task
        own = {id_: f"{SET_OF[i % 4]}/{id_}" for i, id_ in enumerate(task.split.test)}
        own |= {id_: f"ultrafeedback/{id_}" for id_ in task.split.pool}
        benched = [id_ for id_ in task.split.test if own[id_].startswith("rewardbench")]
        topics = {id_: ALL_SUBSETS[i % 23] for i, id_ in enumerate(benched)}
        items = tuple(
            replace(item, id=own[item.id], topic=topics.get(item.id)) for item in task.data.items
        )
        measures = {
            measure: {own[id_]: value for id_, value in values.items()}
            for measure, values in task.data.measures.items()
        }
        split = replace(
            task.split,
            test=tuple(own[id_] for id_ in task.split.test),
            pool=tuple(own[id_] for id_ in task.split.pool),
        )
        data = replace(task.data, items=items, measures=measures)
        return SplitTask(data=data, split=split)

    monkeypatch.setattr("tests.support.fakes.fake_task", make)


def answer(study: FakeStudy, condition: str, log_probs: list[list[float]]) -> None:
    """Makes every cell of a condition answer its test items so, in turn: relative to gold."""
    for planned in study.cells(condition, method="any" if condition == "zero-shot" else "lora"):
        task = study.tasks[planned.cell.task]
        items = task.by_id(task.split.test)
        rows = [np.roll(log_probs[i % len(log_probs)], item.answer) for i, item in enumerate(items)]
        write_record(
            study.storage,
            planned.cell,
            scores_table([i.id for i in items], [i.answer for i in items], rows),
            seconds={"total": 1.0},
            execution={"class": "A"},
        )


def rows_of(study: FakeStudy) -> tuple[tuple[RewardRow, ...], Surface]:
    surface = compute_surface(study.storage, study.plan)
    return reward_rows(study.plan, surface), surface


RIGHT, WRONG, TIE = [0.0, -3.0, -3.0, -3.0], [-3.0, 0.0, -3.0, -3.0], [0.0, 0.0, -3.0, -3.0]


def test_ties_count_half_in_every_table(tmp_path: Path) -> None:
    study = reward_study(tmp_path, "llmbar", topics=["a", "b"])
    answer(study, "zero-shot", [RIGHT, TIE, WRONG, TIE])
    rows, _ = rows_of(study)
    (row,) = [row for row in rows if row.source == "zero-shot"]
    assert row.accuracy == pytest.approx(0.5)
    assert row.tie_share == pytest.approx(0.5)
    assert row.subsets == pytest.approx({"a": 0.5, "b": 0.5})
    assert (row.orders, row.num_pairs, row.num_seeds) == ("all", 120, 1)
    (planned,) = study.cells("zero-shot", method="any")
    assert read_record(study.storage, planned.id).accuracy == row.accuracy
    surface = compute_surface(study.storage, study.plan)
    # 30 right, 30 wrong, 60 ties over both levels; the hard half has the same mix.
    assert {point.zero_shot for point in surface.rows} == {row.accuracy}


def test_each_arm_stands_once_with_its_seeds_averaged(tmp_path: Path) -> None:
    rows, _ = rows_of(reward_study(tmp_path, "llmbar"))
    assert sorted((row.source, row.num_seeds) for row in rows) == [
        ("all", 3), ("easy", 3), ("hard", 3), ("zero-shot", 1),
    ]  # fmt: skip
    assert all(row.tie_share == 0.0 and row.sections == {} for row in rows)


def test_tasks_of_questions_are_no_preferences(tmp_path: Path) -> None:
    rows, surface = rows_of(reward_study(tmp_path, "toy"))
    assert rows == ()
    assert ceilings(surface) == ()


def test_rewardbench_has_sections_and_their_mean(tmp_path: Path) -> None:
    study = reward_study(tmp_path, "rewardbench", topics=ALL_SUBSETS)
    num = len(ALL_SUBSETS)
    safe = {"xstest-should-refuse"}
    pattern = [RIGHT if name in safe or i % 2 else WRONG for i, name in enumerate(ALL_SUBSETS)]
    answer(study, "zero-shot", pattern)
    rows, _ = rows_of(study)
    bench = next(r for r in rows if (r.task, r.source) == ("rewardbench", "zero-shot"))
    right = {name: float(pattern[i] is RIGHT) for i, name in enumerate(ALL_SUBSETS)}
    assert len(bench.subsets) == num and bench.subsets == right
    counts = SUBSETS["Safety"]
    new = sum(n * right[name] for name, n in counts.items()) / sum(counts.values())
    swap = {"xstest-should-refuse": 250, "xstest-should-respond": 154}
    old = sum((swap.get(name, n)) * right[name] for name, n in counts.items())
    assert bench.sections["Safety"] == pytest.approx(new)
    assert bench.sections_old["Safety"] == pytest.approx(old / sum(counts.values()))
    assert bench.overall == pytest.approx(sum(bench.sections.values()) / 4)


@pytest.mark.usefixtures("composed")
def test_prior_sets_count_half_where_the_very_same_cells_answered_them(tmp_path: Path) -> None:
    study = reward_study(tmp_path, "preferences", "hh_rlhf")
    rows, _ = rows_of(study)
    found = {(row.task, row.source): row for row in rows}
    sources = ("zero-shot", "easy", "hard")
    own_set, other_models = (
        [found[task, source].accuracy for source in sources]
        for task in ("preferences/hh_rlhf", "hh_rlhf")
    )
    assert own_set != other_models, "else the test cannot tell whose answers count"
    for source in sources:
        bench, own = found["preferences/rewardbench", source], found["preferences/hh_rlhf", source]
        mean = sum(bench.sections.values()) / 4
        assert own.accuracy is not None
        assert bench.overall_with_prior == pytest.approx((4 * mean + 0.5 * own.accuracy) / 4.5)
        assert bench.prior_sets == ("hh_rlhf",)
        assert (own.overall_with_prior, own.prior_sets) == (None, ())
    surface = compute_surface(study.storage, study.plan)
    page = render_page(study.plan, surface, gather(study.storage, study.plan, surface))
    assert "Prior sets count half: HH-RLHF (its whole test set, harmless pairs included)" in page
    assert "Anthropic Helpful, Anthropic HHH, SHP, Summarize" in page
    for part in ("hh_rlhf", "llmbar", "rewardbench"):
        assert f"preferences/{part}: unknown ceiling" in page


def test_arms_of_another_axis_are_other_models(tmp_path: Path) -> None:
    """`hard` on one task and `hard` on another were trained on different pairs."""
    study = reward_study(tmp_path, "rewardbench", "hh_rlhf", topics=ALL_SUBSETS)
    rows, surface = rows_of(study)
    assert {row.task for row in rows} == {"rewardbench", "hh_rlhf"}
    assert all(row.overall_with_prior is None and row.prior_sets == () for row in rows)
    page = render_page(study.plan, surface, gather(study.storage, study.plan, surface))
    assert "No prior set was answered by the same models" in page


@pytest.mark.usefixtures("composed")
def test_an_arm_with_a_missing_seed_stands_with_the_reason(tmp_path: Path) -> None:
    study = reward_study(tmp_path, "preferences")
    study.fail_cell(study.cells("hard")[1])
    rows, surface = rows_of(study)
    hard = [row for row in rows if row.source == "hard"]
    assert {row.task: row.num_pairs for row in hard} == {
        "preferences/hh_rlhf": 30, "preferences/llmbar": 30, "preferences/rewardbench": 60,
    }  # fmt: skip
    reason = "1 of 3 reward-model cells missing: failed: out of memory"
    assert {row.reason for row in hard} == {reason}
    assert all(row.accuracy is None and not row.subsets for row in hard)
    assert all(row.reason is None and row.accuracy for row in rows if row.source == "easy")
    page = render_page(study.plan, surface, gather(study.storage, study.plan, surface))
    told = {row["subsets (%), or why there is no number"] for row in page_rows(page, "reward-rows")}
    assert reason in told


@pytest.mark.usefixtures("composed")
def test_rewards_are_a_file_beside_the_surface(tmp_path: Path) -> None:
    study = reward_study(tmp_path, "preferences")
    study.fail_cell(study.cells("hard")[1])
    rows, surface = rows_of(study)
    write_report(study.storage, study.plan, surface)
    content = study.storage.read_bytes("fake/rewards.parquet")
    stored = pq.read_table(io.BytesIO(content)).to_pylist()
    whole = {(line["task"], line["source"]): line for line in stored if line["subset"] is None}
    assert {key: line["accuracy"] for key, line in whole.items()} == {
        (row.task, row.source): row.accuracy for row in rows
    }
    bench = next(r for r in rows if (r.task, r.source) == ("preferences/rewardbench", "easy"))
    line = whole["preferences/rewardbench", "easy"]
    assert {name: line[name] for name in SUBSETS} == dict(bench.sections)
    assert (line["four_sections"], line["with_prior_sets"], line["prior_sets"]) == (
        bench.overall, bench.overall_with_prior, "hh_rlhf",
    )  # fmt: skip
    assert whole["preferences/llmbar", "hard"]["reason"].startswith("1 of 3")
    subsets = [r for r in stored if r["source"] == "easy" and r["subset"] is not None]
    assert {line["subset"]: line["accuracy"] for line in subsets} == dict(bench.subsets)


def test_without_prior_sets_there_is_one_overall_mean(tmp_path: Path) -> None:
    rows, _ = rows_of(reward_study(tmp_path, "rewardbench", topics=ALL_SUBSETS))
    assert all(row.overall is not None and row.overall_with_prior is None for row in rows)


def test_a_section_that_is_not_whole_has_no_mean(tmp_path: Path) -> None:
    rows, _ = rows_of(reward_study(tmp_path, "rewardbench", topics=list(SUBSETS["Chat"])))
    for row in rows:
        assert list(row.sections) == ["Chat"]
        assert row.overall is None


def voted(*pairs: tuple[float, float]) -> TaskItems:
    """Items with so many votes against the majority, and so many of them ties."""
    table = pa.table(
        {
            "id": [str(i) for i in range(len(pairs))],
            "measure.disagreement": [against for against, _ in pairs],
            "measure.tie_votes": [ties for _, ties in pairs],
        }
    )
    return TaskItems(task="pandalm", data_hash="", split_hash="", table=table)


def test_the_ceiling_is_what_one_annotator_scores_against_the_others() -> None:
    # All three agree: each scores 1. Two against one: the one scores 0 (half if it is a tie), and
    # each of the two meets one for and one against: a half (three quarters with a tie).
    assert votes_agreement(voted((0, 0))).accuracy == 1.0
    assert votes_agreement(voted((1, 0))).accuracy == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert votes_agreement(voted((1, 1))).accuracy == pytest.approx((0.5 + 0.75 + 0.75) / 3)
    assert votes_agreement(voted((0, 0), (1, 0))).num_items == 2


def test_the_page_shows_rewards_and_says_where_no_ceiling_is_known(tmp_path: Path) -> None:
    study = reward_study(tmp_path, "rewardbench", topics=ALL_SUBSETS)
    surface = compute_surface(study.storage, study.plan)
    page = render_page(study.plan, surface, gather(study.storage, study.plan, surface))
    assert "rewardbench: unknown ceiling (one label per pair)." in page
    for name in ("Chat Hard", "Safety (old)", "with prior sets", "xstest-should-respond"):
        assert name in page


@pytest.mark.usefixtures("composed")
def test_a_task_of_several_sets_has_a_row_a_set(tmp_path: Path) -> None:
    """Each set is averaged alone; only RewardBench's own subsets make sections."""
    study = reward_study(tmp_path, "preferences")
    by_set = {"hh_rlhf": RIGHT, "llmbar": TIE}
    rng = np.random.default_rng(0)
    luck = {name: bool(rng.integers(2)) for name in ALL_SUBSETS}
    task = study.tasks["preferences"]
    pattern = [
        by_set.get(item.id.partition("/")[0]) or (RIGHT if luck[item.topic or ""] else WRONG)
        for item in task.by_id(task.split.test)
    ]
    answer(study, "zero-shot", pattern)
    rows = {row.task: row for row in rows_of(study)[0] if row.source == "zero-shot"}
    found = {name: (row.accuracy, row.num_pairs) for name, row in rows.items()}
    assert found["preferences/hh_rlhf"] == (1.0, 30)
    assert found["preferences/llmbar"] == (0.5, 30)
    assert not rows["preferences/llmbar"].sections
    bench = rows["preferences/rewardbench"]
    assert bench.subsets == {name: float(right) for name, right in luck.items()}
    counts = SUBSETS["Safety"]
    right = sum(n * luck[name] for name, n in counts.items()) / sum(counts.values())
    assert bench.sections["Safety"] == pytest.approx(right)
