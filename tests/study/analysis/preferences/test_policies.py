"""Win rates between policies: against a plain count, and the table that a reader sees."""

from __future__ import annotations

import io
from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from search_spaces.recipes import LoRA
from study.analysis.preferences.policies import (
    WinRate,
    label_accuracy_of,
    rewards_of,
    win_rate,
    win_rates,
    win_shares,
)
from study.analysis.surface import compute_surface
from study.artifacts.plan import Plan
from study.artifacts.points import PlannedArm
from study.artifacts.policies import PolicyComparison
from study.reporting.content import gather
from study.reporting.files import write_tables
from study.reporting.page import render_page
from study.reporting.terminal import win_rate_table
from tests.support.fakes import FakeStudy, fake_space
from tests.support.page_data import page_rows
from trainables.data.lab.preferences import preference_questions
from trainables.storage import layout
from trainables.storage.filesystem import open_storage
from trainables.storage.records import (
    PAIRS_SCHEMA,
    REWARDS_SCHEMA,
    InvalidRecordError,
    parquet_bytes,
)


def table(rewards: np.ndarray, *, order: slice = slice(None)) -> pa.Table:
    rows = [
        {"question_id": f"q{q}", "sample": s, "reward": float(value), "text": "7"}
        for q, values in enumerate(rewards)
        for s, value in enumerate(values)
    ]
    return pa.Table.from_pylist(rows[order], schema=REWARDS_SCHEMA)


QUESTION = preference_questions()[0]


def pairs_table() -> pa.Table:
    """Three pairs whose better answer is preferred, one whose worse one is, one of equals."""
    right = QUESTION.problem.answer
    answers = [(0, 1), (1, 2), (0, 5), (3, 0), (4, 4)]
    rows = [
        {"question_id": QUESTION.id, "chosen": str(right + a), "rejected": str(right + b)}
        for a, b in answers
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS_SCHEMA)


def test_labels_are_right_where_the_preferred_answer_is_the_better_one() -> None:
    assert label_accuracy_of(pairs_table()) == 0.75
    assert label_accuracy_of(pairs_table().slice(4)) is None


def test_share_of_wins_counts_ties_half() -> None:
    """Counted by hand, sample by sample."""
    first = np.array([[0.0, -1.0, -2.0, -3.0], [-5.0, -5.0, 0.0, -9.0]])
    second = np.array([[-1.0, -1.0, -1.0, -1.0], [-5.0, -6.0, -1.0, -9.0]])
    expected = [(1 + 0.5 + 0 + 0) / 4, (0.5 + 1 + 1 + 0.5) / 4]
    assert win_shares(first, second).tolist() == expected
    assert (win_shares(first, second) + win_shares(second, first)).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="same questions and samples"):
        win_shares(first, second[:, :3])


def test_interval_of_one_seed_is_students_over_questions() -> None:
    """The samples of a question are one cluster: the oracle is a t interval of question means."""
    shares = np.random.default_rng(0).choice([0.0, 0.25, 0.5, 0.75, 1.0], 60)
    found = win_rate([shares], ["s0"], level=0.95)
    oracle = stats.ttest_1samp(shares, 0.5)
    low, high = oracle.confidence_interval(0.95)
    assert found.estimate == pytest.approx(shares.mean() - 0.5)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((low - 0.5, high - 0.5))


def test_seeds_that_disagree_widen_the_interval() -> None:
    shares = np.random.default_rng(1).choice([0.0, 0.5, 1.0], 80)
    alike = win_rate([shares] * 3, ["a", "b", "c"], level=0.95)
    apart = win_rate(
        [np.clip(shares + by, 0, 1) for by in (-0.4, 0.0, 0.4)], ["a", "b", "c"], level=0.95
    )
    assert alike.low is not None and apart.low is not None
    assert alike.estimate - alike.low < 0.5 * (apart.estimate - apart.low)


def test_rewards_are_joined_by_question_and_sample() -> None:
    values = np.arange(12.0).reshape(3, 4)
    assert rewards_of(table(values, order=slice(None, None, -1))).values.tolist() == values.tolist()
    with pytest.raises(InvalidRecordError, match="same samples"):
        rewards_of(table(values, order=slice(0, 11)))
    doubled = pa.concat_tables([table(values[:1, :2]), table(values[:1, :2])])
    with pytest.raises(InvalidRecordError, match="same samples"):
        rewards_of(doubled)


@pytest.fixture
def study(tmp_path: Path) -> FakeStudy:
    return FakeStudy(storage=open_storage(str(tmp_path)), space=fake_space()).write()


def with_policies(study: FakeStudy) -> tuple[Plan, Mapping[str, list[str]]]:
    """Lets cells of the fake study stand for policies: one a seed, one cell for the base."""
    cells = {
        "before": [cell.id for cell in study.cells("easy")],
        "after": [cell.id for cell in study.cells("hard")],
        "gold": [cell.id for cell in study.cells("all")],
        "base": [cell.id for cell in study.cells("zero-shot", method="any")][:1],
    }
    draws = ("d0", "d1", "d2")
    arms = {
        name: PlannedArm(cells=tuple(ids), draws=() if name == "base" else draws)
        for name, ids in cells.items()
    }
    comparison = PolicyComparison(
        model="small",
        task="toy",
        recipe=LoRA(),
        condition="1/4 + SSRM",
        threshold=0.8,
        ssrm_round=2,
        **arms,
    )
    return study.plan.model_copy(update={"policies": (comparison,)}), cells


def finish(
    study: FakeStudy,
    cells: Mapping[str, list[str]],
    without: str = "",
    ties: Container[str] = (),
) -> None:
    """Writes records whose rewards rise from the base over before and after to gold.

    Args:
        study: Whose cells they are.
        cells: Policy -> its cells.
        without: A cell that has not run.
        ties: Cells whose labelled pairs are all of equal gold rewards.
    """
    planned = {cell.id: cell for cell in study.plan.cells}
    for name, ids in cells.items():
        for seed, id_ in enumerate(ids):
            if id_ == without:
                continue
            rng = np.random.default_rng(seed)
            level = {"base": 0.0, "before": 0.5, "after": 1.0, "gold": 4.0}[name]
            rewards = np.floor(rng.normal(level, 1.0, (40, 4)))
            files = {layout.rewards(id_): parquet_bytes(table(rewards))}
            if name != "base":
                pairs = pairs_table().slice(4) if id_ in ties else pairs_table()
                files[layout.pairs(id_)] = parquet_bytes(pairs)
            study.finish_cell(planned[id_], files=files)


def found_by_sides(rows: tuple[WinRate, ...]) -> dict[tuple[str, str], WinRate]:
    return {(row.first, row.second): row for row in rows}


def test_win_rates_of_a_study(study: FakeStudy) -> None:
    plan, cells = with_policies(study)
    finish(study, cells)
    surface = compute_surface(study.storage, plan)
    rows = win_rates(study.storage, plan, surface)
    found = found_by_sides(rows)
    assert list(found) == [
        ("after", "before"),
        ("before", "base"),
        ("after", "base"),
        ("gold", "base"),
    ]
    gold, after = found["gold", "base"].rate, found["after", "before"].rate
    assert gold.estimate is not None and gold.estimate > 0.95
    assert after.low is not None and after.estimate is not None and after.high is not None
    assert 0.5 < after.low < after.estimate < after.high < 1.0
    row = found["gold", "base"]
    assert (row.num_questions, row.num_samples, row.num_seeds) == (40, 4, 3)
    assert row.label_accuracy == 0.75
    text = str(win_rate_table(rows))
    assert "1/4 + SSRM tau 0.8 round 2" in text and f"{100 * after.estimate:.1f}" in text
    write_tables(study.storage, "fake", gather(study.storage, plan, surface))
    content = study.storage.read_bytes(layout.alignment("fake"))
    stored = pq.read_table(io.BytesIO(content)).to_pylist()
    assert [row["win_rate"] for row in stored] == [row.rate.estimate for row in rows]


def test_pairs_of_equal_rewards_say_nothing_of_the_labels(study: FakeStudy) -> None:
    plan, cells = with_policies(study)
    finish(study, cells, ties={cells["after"][0], *cells["gold"]})
    surface = compute_surface(study.storage, plan)
    rows = win_rates(study.storage, plan, surface)
    found = found_by_sides(rows)
    assert found["after", "base"].label_accuracy == 0.75  # of the two seeds that have one
    assert found["gold", "base"].label_accuracy is None
    assert found["gold", "base"].rate.estimate is not None
    content = gather(study.storage, plan, surface)
    write_tables(study.storage, "fake", content)
    stored = pq.read_table(io.BytesIO(study.storage.read_bytes(layout.alignment("fake"))))
    assert stored["label_accuracy"].to_pylist() == [0.75, 0.75, 0.75, None]
    gold = str(win_rate_table(rows)).splitlines()[-1]
    assert gold.rstrip().endswith("pairs of equal rewards") and "nan" not in gold
    page = render_page(plan, surface, content)
    assert page_rows(page, "win-rate-rows")[-1]["labels right %"] == "pairs of equal rewards"


def test_missing_policy_is_said_and_the_others_stand(study: FakeStudy) -> None:
    plan, cells = with_policies(study)
    finish(study, cells, without=cells["after"][1])
    found = found_by_sides(win_rates(study.storage, plan, compute_surface(study.storage, plan)))
    assert found["after", "base"].reason == "1 of 3 after cells missing: not run"
    assert found["after", "base"].rate.estimate is None
    assert found["before", "base"].rate.estimate is not None


def test_rewards_that_the_record_does_not_vouch_for_are_refused(study: FakeStudy) -> None:
    plan, cells = with_policies(study)
    finish(study, cells)
    forged = parquet_bytes(table(np.zeros((40, 4))))
    study.storage.write_bytes(layout.rewards(cells["gold"][0]), forged)
    found = found_by_sides(win_rates(study.storage, plan, compute_surface(study.storage, plan)))
    reason = found["gold", "base"].reason
    assert reason is not None and "does not match the hash in its record" in reason
    assert found["before", "base"].reason is None


def test_the_page_shows_win_rates_and_why_one_is_missing(study: FakeStudy) -> None:
    plan, cells = with_policies(study)
    study.finish([cell for cell in plan.cells if cell.id != cells["after"][1]])
    finish(study, cells, without=cells["after"][1])
    surface = compute_surface(study.storage, plan)
    page = render_page(plan, surface, gather(study.storage, plan, surface))
    assert '<section id="policies">' in page and "Win rates under the gold reward" in page
    assert "1 of 3 after cells missing: not run" in page
    gold = found_by_sides(win_rates(study.storage, plan, surface))["gold", "base"].rate
    assert gold.estimate is not None and f"{100 * gold.estimate:.1f}" in page
    without = study.plan
    page = render_page(without, surface, gather(study.storage, without, surface))
    assert '<section id="policies">' not in page
