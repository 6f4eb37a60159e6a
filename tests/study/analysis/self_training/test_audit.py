"""The audit of self-training: gold joined afterwards, by id, and the numbers that come of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search_spaces.levels import Level
from search_spaces.space import TaskAxis
from search_spaces.supervision import Condition
from study.analysis.self_training.audit import AuditedRound, AuditRow, PoolAnswers, audit_rows
from study.analysis.self_training.detectors import detector_rows, warning_lines
from study.analysis.self_training.rounds import Rounds, band_name, read_rounds
from study.analysis.self_training.tables import audit_table
from study.analysis.surface import compute_surface
from study.report import main
from study.reporting.self_training import gather_self_training
from tests.support import fakes
from tests.support.fake_ssrm import ssrm, ssrm_space
from tests.support.fake_tasks import pool_rows
from tests.support.fakes import FakeStudy
from trainables.cells.parent_state import SELECTION_SCHEMA
from trainables.cells.planned import PlannedCell
from trainables.data.items import text_hash
from trainables.data.task import SplitTask
from trainables.storage import layout
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record, read_scores


def ssrm_study(root: Path, *conditions: object, **changes: object) -> FakeStudy:
    space = ssrm_space(*conditions, **changes)  # type: ignore[arg-type]
    return FakeStudy(storage=open_storage(str(root)), space=space).write().finish()


def rounds_of(study: FakeStudy) -> Rounds:
    return read_rounds(study.storage, study.plan, compute_surface(study.storage, study.plan))


def cell_of(study: FakeStudy, condition: str, number: int = 1, tau: float = 0.7) -> PlannedCell:
    """The first seed of a round."""
    return next(
        cell
        for cell in study.cells(condition)
        if cell.cell.round == number and cell.cell.self_training.threshold == tau
    )


def gold_of(study: FakeStudy) -> dict[str, str]:
    """Item id -> hash of the right choice."""
    return {item.id: text_hash(item.choices[item.answer]) for item in study.tasks["toy"].data.items}


def row_of(rows: tuple[AuditRow, ...], cell: PlannedCell, *where: object) -> AuditRow:
    (row,) = [r for r in rows if (r.cell, r.items, r.moment, r.level) == (cell.id, *where)]
    return row


def ece(confidence: list[float], correct: list[float]) -> float:
    """Expected calibration error by the definition: 10 bins of equal width."""
    total = 0.0
    for number in range(10):
        held = [
            (c, r)
            for c, r in zip(confidence, correct, strict=True)
            if min(int(c * 10), 9) == number
        ]
        if held:
            gap = abs(sum(c for c, _ in held) - sum(r for _, r in held))
            total += gap / len(confidence)
    return total


def test_the_pool_before_a_round_is_held_against_gold(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path)
    planned = cell_of(study, "easy_ssrm")
    gold = gold_of(study)
    pool = pool_rows(planned, study.tasks["toy"])
    right = [float(row["label"] == gold[row["item_id"]]) for row in pool]
    kept = [i for i, row in enumerate(pool) if row["weight"] > 0]
    confidence = [max(row["probabilities"]) for row in pool]
    row = row_of(audit_rows(rounds_of(study).audited), planned, "pool", "before", "hard")
    assert 0 < len(kept) < len(pool)
    assert (row.num_items, row.num_selected) == (len(pool), len(kept))
    assert row.coverage == pytest.approx(len(kept) / len(pool))
    assert row.accuracy == pytest.approx(np.mean(right))
    assert (
        row.selected_accuracy
        == row.target_accuracy
        == pytest.approx(np.mean(np.array(right)[kept]))
    )
    assert row.mean_confidence == pytest.approx(np.mean(confidence))
    assert row.ece_equal_width == pytest.approx(ece(confidence, right))
    brier = np.mean(
        [
            sum(
                (p - (choice == gold[r["item_id"]])) ** 2
                for p, choice in zip(r["probabilities"], r["choices"], strict=True)
            )
            for r in pool
        ]
    )
    assert row.brier == pytest.approx(brier)
    order = np.argsort([-c for c in confidence])
    by_coverage = np.cumsum(np.array(right)[order]) / np.arange(1, len(pool) + 1)
    assert row.selective_area == pytest.approx(by_coverage.mean())
    assert sum(row.histogram_right) == sum(right)
    assert sum(row.histogram_right) + sum(row.histogram_wrong) == len(pool)
    assert (row.threshold, row.threshold_used, row.role) == (0.7, 0.7, "self-training")


def test_controls_select_the_same_and_are_trained_on_other_labels(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path)
    rows = audit_rows(rounds_of(study).audited)
    found = {
        name: row_of(rows, cell_of(study, name), "pool", "before", "hard")
        for name in ("easy_ssrm", "oracle", "random")
    }
    assert len({row.num_selected for row in found.values()}) == 1
    assert len({row.selected_accuracy for row in found.values()}) == 1
    assert found["oracle"].target_accuracy == 1.0
    assert found["random"].target_accuracy < found["easy_ssrm"].target_accuracy
    assert {name: row.role for name, row in found.items()} == {
        "easy_ssrm": "self-training", "oracle": "control", "random": "control",
    }  # fmt: skip


def test_test_items_are_those_of_the_pools_levels_before_and_after(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path)
    planned = cell_of(study, "easy_ssrm")
    rows = audit_rows(rounds_of(study).audited)
    for moment, id_ in (("before", planned.cell.parent), ("after", planned.id)):
        table = read_scores(study.storage, id_, read_record(study.storage, id_)).to_pylist()
        hard = [r for r in table if r["item_id"].split("-")[1] in "34"]
        row = row_of(rows, planned, "test", moment, "hard")
        assert row.num_items == len(hard) == 60
        assert row.accuracy == pytest.approx(np.mean([r["correct"] for r in hard]))
        assert row.mean_confidence == pytest.approx(np.mean([r["confidence"] for r in hard]))
        assert row.coverage is None
        assert row_of(rows, planned, "test", moment, None).num_items == 60  # and no easy ones


def test_the_pool_after_a_round_is_what_the_next_round_found(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path, ssrm(0.7, rounds=2))
    rows = audit_rows(rounds_of(study).audited)
    first, second = cell_of(study, "easy_ssrm"), cell_of(study, "easy_ssrm", 2)
    assert second.cell.parent == first.id
    after, before = (
        row_of(rows, first, "pool", "after", None),
        row_of(rows, second, "pool", "before", None),
    )
    assert (after.accuracy, after.brier) == (before.accuracy, before.brier)
    last = row_of(rows, second, "pool", "after", None)
    assert last.num_items == before.num_items and last.brier != before.brier


def test_ties_count_their_share() -> None:
    answers = PoolAnswers(
        ids=("a", "b", "c"),
        levels=("hard",) * 3,
        probabilities=(np.array([0.5, 0.5]), np.array([0.4, 0.4, 0.2]), np.array([0.9, 0.1])),
        gold=(1, 2, 0),
    )
    assert answers.correct.tolist() == [0.5, 0.0, 1.0]
    assert answers.confidence.tolist() == [0.5, 0.4, 0.9]


def test_nothing_selected_is_no_number_and_no_nan(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path, ssrm(0.999))
    table = audit_table(audit_rows(rounds_of(study).audited))
    before = [r for r in table.to_pylist() if (r["items"], r["moment"]) == ("pool", "before")]
    assert {(r["num_selected"], r["coverage"], r["selected_accuracy"]) for r in before} == {
        (0, 0.0, None)
    }
    for column in table.columns:
        if pa.types.is_floating(column.type):
            assert not np.isnan(column.drop_null().to_numpy()).any()


def test_items_on_disk_hold_no_question_and_no_answer(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path)
    content = (tmp_path / "fake" / "items.parquet").read_bytes()
    cells = str(pq.read_table(tmp_path / "fake" / "items.parquet").to_pylist())
    for item in study.tasks["toy"].data.items[:5]:
        for text in (item.question, *item.choices[:3]):
            assert text.encode() not in content
            assert text not in cells


def test_a_selection_that_is_not_the_records_is_named_and_the_rest_is_audited(
    tmp_path: Path,
) -> None:
    study = ssrm_study(tmp_path)
    broken = cell_of(study, "easy_ssrm")
    study.storage.write_bytes(layout.selection(broken.id), b"not parquet")
    surface = compute_surface(study.storage, study.plan)
    section = gather_self_training(study.storage, study.plan, surface)
    (line,) = section.warnings
    assert line.startswith("not audited: ") and broken.id in line
    assert broken.id not in {row.cell for row in section.audit}
    assert len(section.audit) > 0


def test_a_selection_of_other_items_is_refused_by_item(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path)
    surface = compute_surface(study.storage, study.plan)
    pool = surface.items.pool["toy"]
    hashes = pool.table["gold_hash"].to_pylist()
    at = pool.table.column_names.index("gold_hash")
    other = pool.table.set_column(at, "gold_hash", pa.array(["0" * 16] * len(hashes)))
    object.__setattr__(pool, "table", other)
    found = read_rounds(study.storage, study.plan, surface)
    assert found.audited == ()
    assert all("exactly one correct choice" in fault for fault in found.faults)


def test_fake_selections_are_like_real_ones(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path)
    rows = pool_rows(cell_of(study, "easy_ssrm"), study.tasks["toy"])
    assert list(rows[0]) == SELECTION_SCHEMA.names
    pa.Table.from_pylist(rows, schema=SELECTION_SCHEMA)


def test_both_ends_of_a_figure_have_the_models_own_temperature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"temperature": 2.0, "temperature_after": 0.5}
    plain_rows, plain_facts = fakes.pool_rows, fakes.round_facts

    def rows_of(planned: PlannedCell, task: SplitTask) -> list[dict[str, object]]:
        rows = plain_rows(planned, task)
        for row in rows:
            for when in ("", "_after"):
                raw = row[f"probabilities{when}"]
                row[f"raw_probabilities{when}"] = raw
                row[f"probabilities{when}"] = tempered(raw, values[f"temperature{when}"])
        return rows

    monkeypatch.setattr(fakes, "pool_rows", rows_of)
    monkeypatch.setattr(
        fakes,
        "round_facts",
        lambda planned, rows: (
            plain_facts(planned, rows) | {name: {"value": v} for name, v in values.items()}
        ),
    )
    study = ssrm_study(tmp_path, ssrm(0.7))
    rows = audit_rows(rounds_of(study).audited)
    planned = cell_of(study, "easy_ssrm")
    gold = {item.id: item.answer for item in study.tasks["toy"].data.items}
    for moment, id_ in (("before", planned.cell.parent), ("after", planned.id)):
        table = read_scores(study.storage, id_, read_record(study.storage, id_)).to_pylist()
        hard = [r for r in table if r["item_id"].split("-")[1] in "34"]
        row = row_of(rows, planned, "test", moment, "hard")
        assert (
            row.temperature == values["temperature" if moment == "before" else "temperature_after"]
        )
        for name, value in (("", row.temperature), ("raw_", 1.0)):
            said = [tempered(np.exp(r["log_probs"]), value) for r in hard]
            right = [
                float(np.argmax(p) == gold[r["item_id"]]) for p, r in zip(said, hard, strict=True)
            ]
            sure = [max(p) for p in said]
            assert getattr(row, f"{name}mean_confidence") == pytest.approx(np.mean(sure))
            assert getattr(row, f"{name}ece_equal_width") == pytest.approx(ece(sure, right))
        pool = row_of(rows, planned, "pool", moment, "hard")
        found = rows_of(planned, study.tasks["toy"])
        when = "" if moment == "before" else "_after"
        for name in ("", "raw_"):
            sure = [max(r[f"{name}probabilities{when}"]) for r in found]
            assert getattr(pool, f"{name}mean_confidence") == pytest.approx(np.mean(sure))
        assert pool.temperature == row.temperature
        assert pool.brier != pool.raw_brier and pool.ece_equal_mass != pool.raw_ece_equal_mass


def tempered(probabilities: Sequence[float], temperature: float) -> list[float]:
    """A distribution at another temperature, by its powers."""
    powers = np.asarray(probabilities) ** (1.0 / temperature)
    return list(powers / powers.sum())


def test_without_calibration_raw_numbers_are_the_same(tmp_path: Path) -> None:
    for row in audit_rows(rounds_of(ssrm_study(tmp_path, ssrm(0.7))).audited):
        assert row.temperature is None
        assert row.raw_ece_equal_width == row.ece_equal_width and row.raw_brier == row.brier


def test_what_had_no_room_is_confident_and_not_selected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_rows = fakes.pool_rows

    def two_shown(planned: PlannedCell, task: SplitTask) -> list[dict[str, object]]:
        rows = plain_rows(planned, task)
        confident = [row for row in rows if row["is_confident"]]
        for row in confident[2:]:
            row |= {"weight": 0.0, "trained_on": None}
        return rows

    monkeypatch.setattr(fakes, "pool_rows", two_shown)
    study = ssrm_study(tmp_path, ssrm(0.5))
    planned = cell_of(study, "easy_ssrm", tau=0.5)
    row = row_of(audit_rows(rounds_of(study).audited), planned, "pool", "before", "hard")
    confident = [r for r in two_shown(planned, study.tasks["toy"]) if r["is_confident"]]
    gold = gold_of(study)
    assert (row.num_confident, row.num_selected) == (len(confident), 2)
    assert row.coverage == pytest.approx(2 / row.num_items)
    expected = np.mean([r["label"] == gold[r["item_id"]] for r in confident[:2]])
    assert row.selected_accuracy == row.target_accuracy == pytest.approx(expected)


def large_round(study: FakeStudy, number: int) -> AuditedRound:
    """A round with a pool of two levels: of each item two kept, then two not."""
    pool = PoolAnswers(
        ids=tuple(f"i{n}" for n in range(number)),
        levels=tuple("odd" if n % 2 else "even" for n in range(number)),
        probabilities=tuple(np.array([0.9, 0.1]) for _ in range(number)),
        gold=tuple(int(n % 2 == 1 and n % 3 == 0) for n in range(number)),
    )
    return replace(
        rounds_of(study).audited[0],
        pool=pool,
        pool_after=pool.take([0, 1]),
        selected=np.array([n % 4 < 2 for n in range(number)]),
        confident=np.ones(number, dtype=bool),
        kept=tuple(0 if n % 4 < 2 else None for n in range(number)),
        targets=tuple(1 if n % 4 < 2 else None for n in range(number)),
        test_before=None,
        test_after=None,
    )


def test_numbers_of_a_level_are_of_its_items_alone(tmp_path: Path) -> None:
    number = 1_200
    rows = audit_rows([large_round(ssrm_study(tmp_path, ssrm(0.7)), number)])
    by_level = {row.level: row for row in rows if row.moment == "before"}
    kept_odd = [n for n in range(number) if n % 4 == 1]
    wrong = sum(n % 3 == 0 for n in kept_odd) / len(kept_odd)
    assert by_level["odd"].selected_accuracy == pytest.approx(1.0 - wrong)
    assert by_level["odd"].target_accuracy == pytest.approx(wrong)
    assert by_level["even"].target_accuracy == 0.0
    assert by_level[None].target_accuracy == pytest.approx(wrong / 2)


def test_a_larger_pool_is_not_gone_through_once_an_item(tmp_path: Path) -> None:
    """Whole arrays are made into lists as often for 400 items as for 200."""
    study = ssrm_study(tmp_path, ssrm(0.7))
    counts = []
    for number in (200, 400):
        large, calls = large_round(study, number), Counter[str]()

        def count(_: object, event: str, called: object, calls: Counter[str] = calls) -> None:
            if event == "c_call":
                calls[getattr(called, "__name__", "")] += 1

        sys.setprofile(count)
        try:
            audit_rows([large])
        finally:
            sys.setprofile(None)
        counts.append(calls["tolist"])
    assert counts[0] == counts[1] > 0


BANDS = TaskAxis(
    task="toy",
    measure="steps",
    train_levels=(Level(name="easy", low=1, high=2), Level(name="hard", low=5, high=6)),
    test_levels=(Level(name="hard too", low=5, high=6), Level(name="steps 6", low=6, high=6)),
)


@pytest.mark.parametrize(
    ("value", "band"),
    [(1, "easy"), (4, "no level"), (5, "hard without steps 6"), (6, "steps 6")],
)
def test_bands_are_the_finest_that_train_and_test_levels_cut(value: float, band: str) -> None:
    assert band_name(BANDS, value) == band


def test_bands_of_overlapping_levels_are_disjoint() -> None:
    axis = TaskAxis(
        task="toy",
        measure="steps",
        train_levels=(Level(name="pairs", low=1, high=9),),
        test_levels=(Level(name="low", low=1, high=5), Level(name="high", low=4, high=9)),
    )
    found = [band_name(axis, value) for value in (2, 4, 9)]
    assert found == ["low without high", "low and high", "high without low"]


def test_pairs_of_one_training_level_are_audited_by_the_margins_they_are_tested_on(
    tmp_path: Path,
) -> None:
    pairs = Level(name="pairs", low=1, high=4)
    axis = TaskAxis(
        task="toy",
        measure="steps",
        train_levels=(pairs,),
        test_levels=(pairs, *(Level(name=f"margin {n}", low=n, high=n) for n in range(1, 5))),
        train_on_all=False,
        conditions=(ssrm(0.5).model_copy(update={"levels": ("pairs",), "unlabelled": ("pairs",)}),),
    )
    study = ssrm_study(tmp_path, tasks=(axis,))
    rows = audit_rows(rounds_of(study).audited)
    for items, moment in product(("pool", "test"), ("before", "after")):
        levels = {row.level for row in rows if (row.items, row.moment) == (items, moment)}
        assert levels == {None, "margin 1", "margin 2", "margin 3", "margin 4"}


def easiest_only(planned: PlannedCell, task: object) -> list[dict[str, object]]:
    """Selects, of the hard pool, what has three steps."""
    rows = pool_rows(planned, task)  # type: ignore[arg-type]
    for row in rows:
        is_kept = row["item_id"].split("-")[1] == "3"
        row |= {"weight": float(is_kept), "trained_on": row["label"] if is_kept else None}
    return rows


def test_detectors_say_which_source_warns_in_how_many_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fakes, "pool_rows", easiest_only)
    study = ssrm_study(tmp_path)
    surface = compute_surface(study.storage, study.plan)
    rows = detector_rows(study.plan, surface, rounds_of(study))
    assert {row.source for row in rows} == {
        "easy_ssrm tau 0.5 round 1",
        "easy_ssrm tau 0.7 round 1",
    }
    lines = warning_lines(rows, {})
    mine = [line for line in lines if "easiest of the hard in 3 of 3 seeds" in line]
    assert len(mine) == 2
    assert "selected by level: hard" in mine[0]
    assert main([str(tmp_path / "fake"), "--table"]) == 0
    out = capsys.readouterr().out
    assert out.count("easiest of the hard in 3 of 3 seeds") == 2
    page = (tmp_path / "fake" / "report" / "index.html").read_text()
    assert page.count("easiest of the hard in 3 of 3 seeds") == 2


def test_a_chain_is_judged_once_at_its_last_round(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path, ssrm(0.5, rounds=3))
    surface = compute_surface(study.storage, study.plan)
    rows = detector_rows(study.plan, surface, rounds_of(study))
    assert {row.source for row in rows} == {"easy_ssrm tau 0.5 round 3"}
    confirmation = next(row for row in rows if row.name == "confirmation bias")
    assert confirmation.low is not None  # needs more than one round


def test_a_chain_is_judged_where_a_control_goes_on(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path, ssrm(0.5, rounds=2), ssrm(0.5, "oracle", rounds=3))
    last = study.cells("easy_ssrm")
    oracle = study.cells("oracle")
    assert {c.cell.parent for c in oracle if c.cell.round == 3} <= {c.id for c in last}
    rows = detector_rows(study.plan, compute_surface(study.storage, study.plan), rounds_of(study))
    assert {(row.source, row.num_seeds) for row in rows} == {("easy_ssrm tau 0.5 round 2", 3)}


def test_a_chain_whose_last_round_failed_is_judged_at_the_one_before(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path, ssrm(0.5, rounds=3), ssrm(0.5, "oracle", rounds=3))
    for planned in study.cells("easy_ssrm"):
        if planned.cell.round == 3:
            study.fail_cell(planned)
    rows = detector_rows(study.plan, compute_surface(study.storage, study.plan), rounds_of(study))
    assert {(row.source, row.num_seeds) for row in rows} == {("easy_ssrm tau 0.5 round 2", 3)}


def test_one_round_is_enough_to_drift_and_to_confirm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped spaces have one round; its teacher and its student are two looks."""
    plain_rows = fakes.pool_rows

    def drifting(planned: PlannedCell, task: SplitTask) -> list[dict[str, object]]:
        rows = plain_rows(planned, task)
        for row in rows:
            row["label_after"] = text_hash("4")
            row["first_position"] = row["first_position_after"] = 0.4
        return rows

    monkeypatch.setattr(fakes, "pool_rows", drifting)
    study = ssrm_study(tmp_path, ssrm(0.5))
    rows = detector_rows(study.plan, compute_surface(study.storage, study.plan), rounds_of(study))
    warned = {row.name: row.num_warned for row in rows}
    assert warned["class drift"] == warned["position preference"] == 3
    values = {row.name: row.low for row in rows}
    assert values["confirmation bias"] is not None
    assert values["position preference"] == pytest.approx(0.4)


def test_accumulated_labels_are_judged_as_they_were_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Round 1 keeps right labels; in round 2 the model would give wrong ones, and keeps the old."""

    def rows_of(planned: PlannedCell, task: SplitTask) -> list[dict[str, object]]:
        rows = pool_rows(planned, task)
        for row in rows:
            answer = next(i for i in task.data.items if i.id == row["item_id"])
            right = text_hash(answer.choices[answer.answer])
            wrong = text_hash(answer.choices[(answer.answer + 1) % 4])
            says = right if planned.cell.round == 1 else wrong
            row["probabilities"] = [0.7 if t == says else 0.1 for t in row["choices"]]
            row |= {"label": says, "trained_on": right, "confidence": 0.7, "weight": 1.0}
        return rows

    monkeypatch.setattr(fakes, "pool_rows", rows_of)
    study = ssrm_study(tmp_path, accumulating(rounds=2), accumulating("oracle", rounds=2))
    rows = audit_rows(rounds_of(study).audited)
    last = [r for r in rows if (r.ssrm_round, r.items, r.moment) == (2, "pool", "before")]
    assert {r.targets for r in last} == {"pseudo", "oracle"}
    for row in last:
        assert row.accuracy == 0.0
        assert (row.coverage, row.selected_accuracy, row.target_accuracy) == (1.0, 1.0, 1.0)


def accumulating(targets: str = "pseudo", rounds: int = 1) -> Condition:
    condition = ssrm(0.5, targets, rounds)
    options = condition.self_training.model_copy(update={"memory": "accumulate"})
    return condition.model_copy(update={"self_training": options})
