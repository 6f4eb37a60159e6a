"""The surface: joined by id, complete or with a reason, and equal to the estimator on its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from search_spaces.recipes import LoRA
from study.analysis.scores import UNSEEN, collect_scores
from study.analysis.surface import Surface, compute_surface, write_surface
from study.analysis.surface_columns import COLUMNS, surface_table
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.artifacts.items import read_items
from study.artifacts.points import Point
from study.statistics.sgr import estimate_sgr
from tests.support.fakes import FakeStudy, fake_space, fake_study
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record, read_scores


def row_of(surface: Surface, **wanted: str) -> SurfaceRow:
    """Returns the one row whose columns have these values."""
    columns = [column for column in COLUMNS if column.name in wanted]
    (row,) = [r for r in surface.rows if all(c.value(r) == wanted[c.name] for c in columns)]
    return row


def accuracy(study: FakeStudy, cells: tuple[str, ...], prefix: str) -> np.ndarray:
    """Reads an arm's scores of the items whose id starts so, sorted by id: [items, seeds]."""
    columns = []
    for id_ in cells:
        table = read_scores(study.storage, id_, read_record(study.storage, id_))
        table = table.filter(pc.starts_with(table["item_id"], prefix)).sort_by("item_id")
        columns.append(table["correct"].to_numpy().astype(float))
    return np.stack(columns, axis=1)


LORA_HARD = {"model": "small", "method": "lora", "condition": "easy", "test_level": "steps 4"}


def test_a_row_is_the_estimate_of_its_arms(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    row = row_of(compute_surface(study.storage, study.plan), **LORA_HARD)
    assert row.point.hard is not None
    expected = estimate_sgr(
        accuracy(study, row.point.zero_shot.cells, "toy-4")[:, 0],
        accuracy(study, row.point.easy.cells, "toy-4"),
        accuracy(study, row.point.hard.cells, "toy-4"),
    )
    assert expected.value is not None
    assert row.sgr.estimate == pytest.approx(expected.value)
    assert (row.sgr.low, row.sgr.high) == pytest.approx((expected.low, expected.high))
    assert (row.zero_shot, row.easy, row.hard) == pytest.approx(
        (expected.zero_shot, expected.easy, expected.hard)
    )
    assert row.easy_gain.low == pytest.approx(expected.easy_gain.low)
    assert row.gap.high == pytest.approx(expected.gap_high)
    assert (row.verdict, row.num_items, row.num_seeds) == (expected.verdict, 30, 3)
    assert (row.num_cells, row.cell_seconds, row.reason) == (7, 14.0, None)


def test_scores_are_joined_by_id_whatever_the_order_of_a_record(tmp_path: Path) -> None:
    plain = fake_study(tmp_path / "plain")
    shuffled = FakeStudy(storage=open_storage(str(tmp_path / "shuffled"))).write()
    for planned in shuffled.plan.cells:
        shuffled.finish_cell(planned, shuffle=True)
    tables = [
        surface_table(compute_surface(study.storage, study.plan).rows)
        for study in (plain, shuffled)
    ]
    assert tables[0].equals(tables[1])


def test_missing_cells_give_the_reason_and_no_estimate(tmp_path: Path) -> None:
    study = FakeStudy(storage=open_storage(str(tmp_path))).write().finish()
    hard = study.cells("hard")
    for planned in hard[:2]:
        study.storage.delete(f"cells/{planned.id}")
    study.fail_cell(hard[2])
    surface = compute_surface(study.storage, study.plan)
    row = row_of(surface, **LORA_HARD)
    assert row.reason == "3 of 3 hard cells missing: 2 not run, 1 failed: out of memory"
    assert row.verdict is None
    assert row.sgr.estimate is None
    assert row.hard is None
    assert row.easy is not None  # the arms that are complete are shown
    assert (surface.counts.finished, surface.counts.not_run, surface.counts.failed) == (35, 2, 1)
    assert surface.reasons[hard[2].id] == "failed: out of memory"
    others = [r for r in surface.rows if r.point.model == "large"]
    assert all(r.reason is None for r in others)


def test_a_corrupt_record_is_missing_with_its_reason(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    broken = study.cells("easy")[0].id
    study.storage.write_bytes(layout.scores(broken), b"not parquet")
    surface = compute_surface(study.storage, study.plan)
    assert surface.counts.not_valid == 1
    reason = row_of(surface, **LORA_HARD).reason
    assert reason is not None
    assert "1 of 3 easy cells missing: record not valid" in reason


def test_records_of_other_plans_are_counted_and_change_nothing(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    before = surface_table(compute_surface(study.storage, study.plan).rows)
    fake_study(tmp_path, name="other", methods=(LoRA(n_train=4),))
    surface = compute_surface(study.storage, study.plan)
    assert surface.counts.ignored == 18  # 2 models x 3 conditions x 3 seeds; zero-shot is shared
    assert surface_table(surface.rows).equals(before)


def test_cells_of_another_split_are_refused_by_id(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    stranger = study.plan.cells[0]
    moved = stranger.cell.model_copy(update={"split_hash": "of-another-split"})
    cells = (stranger.model_copy(update={"cell": moved}), *study.plan.cells[1:])
    mixed = study.plan.model_copy(update={"cells": cells})
    with pytest.raises(ValueError, match=f"another split than items.parquet: {stranger.id}"):
        compute_surface(study.storage, mixed)


def finish_with_items(study: FakeStudy, planned: PlannedCell, test: tuple[str, ...]) -> None:
    """Writes the record of a cell as if these were its task's test items."""
    whole = study.tasks["toy"]
    other = replace(whole, split=replace(whole.split, test=test))
    study.tasks["toy"] = other
    study.finish_cell(planned)
    study.tasks["toy"] = whole


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("stranger", "it has 1 item (toy-1-0059) outside the test"),
        ("fewer", "it lacks 1 item (toy-1-0000)"),
        ("twice", "it has two scores of one item"),
    ],
)
def test_a_record_of_other_items_than_the_tests_is_not_valid(
    tmp_path: Path, fault: str, reason: str
) -> None:
    study = fake_study(tmp_path)
    planned, *others = study.cells("easy")
    test = study.tasks["toy"].split.test
    changed = {
        "stranger": (*test, "toy-1-0059"),
        "fewer": tuple(id_ for id_ in test if id_ != "toy-1-0000"),
        "twice": (*test, test[0]),
    }
    finish_with_items(study, planned, changed[fault])
    surface = compute_surface(study.storage, study.plan)
    assert list(surface.reasons) == [planned.id]
    assert surface.reasons[planned.id].startswith("record not valid: its record must score each")
    assert reason in surface.reasons[planned.id]
    row = row_of(surface, **LORA_HARD)
    assert row.reason is not None and "1 of 3 easy cells missing: record not valid" in row.reason
    assert row.easy is None and row.hard is not None
    assert (surface.counts.not_valid, surface.counts.finished) == (1, len(study.plan.cells) - 1)
    assert all(other.id in surface.scores.tasks["toy"].row for other in others)
    large = [r for r in surface.rows if r.point.model == "large"]
    assert all(r.reason is None for r in large)


def test_missing_scores_are_left_out_not_counted_wrong_and_their_share_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = fake_study(tmp_path)
    zero_shot = study.cells("zero-shot", method="any")[0].id
    collected = collect_scores(study.storage, study.plan, read_items(study.storage, "fake"))
    matrices = collected.tasks["toy"]
    position = study.tasks["toy"].split.test.index("toy-4-0003")
    matrices.correct[matrices.row[zero_shot], position] = UNSEEN
    whole = row_of(compute_surface(study.storage, study.plan), **LORA_HARD)
    monkeypatch.setattr("study.analysis.surface.collect_scores", lambda *_: collected)
    ragged = row_of(compute_surface(study.storage, study.plan), **LORA_HARD)
    assert (whole.num_items, ragged.num_items, ragged.reason) == (30, 29, None)
    assert (whole.missing_share, "missing" in whole.verdict_note) == (0.0, False)
    assert ragged.missing_share == pytest.approx(1 / (30 * 7))
    assert "0.48% of scores missing" in ragged.verdict_note
    shares = surface_table([whole, ragged])["missing_share"].to_pylist()
    assert shares == pytest.approx([0.0, 1 / 210])


def test_overlapping_draws_are_labelled_given_this_pool(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    crowded = tuple(p.model_copy(update={"pool_overlap": 0.6}) for p in study.plan.points)
    plan = study.plan.model_copy(update={"points": crowded})
    surface = compute_surface(study.storage, plan)
    assert all("given this pool" in row.verdict_note for row in surface.rows)
    untouched = compute_surface(study.storage, study.plan)
    assert not any("given this pool" in row.verdict_note for row in untouched.rows)


def test_items_of_one_group_are_clusters(tmp_path: Path) -> None:
    alone = compute_surface(*_study(tmp_path / "alone", group_size=1))
    grouped = compute_surface(*_study(tmp_path / "grouped", group_size=5))
    first, second = row_of(alone, **LORA_HARD), row_of(grouped, **LORA_HARD)
    assert second.gap.estimate == first.gap.estimate
    assert second.gap.low != first.gap.low
    assert "only 6 clusters" in second.verdict_note


def _study(path: Path, group_size: int) -> tuple[object, object]:
    study = FakeStudy(storage=open_storage(str(path)), group_size=group_size).write().finish()
    return study.storage, study.plan


def test_missing_numbers_are_null_in_the_file_never_nan(tmp_path: Path) -> None:
    study = FakeStudy(storage=open_storage(str(tmp_path))).write()
    study.finish(study.plan.cells[: len(study.plan.cells) // 2])
    surface = compute_surface(study.storage, study.plan)
    write_surface(study.storage, study.plan, surface)
    table = pq.read_table(tmp_path / "fake" / "surface.parquet")
    assert table.num_rows == len(study.plan.points)
    assert table["sgr"].null_count > 0
    for column in table.columns:
        if pa.types.is_floating(column.type):
            assert pc.all(pc.is_finite(column)).as_py() in (True, None)
    for row in table.to_pylist():
        assert (row["verdict"] is None) == (row["reason"] is not None)
        assert (row["sgr"] is None) == (not str(row["verdict"]).startswith("resolved"))


COLUMN_NAMES = """
model num_params task measure method recipe condition variant role train_level test_level
difficulty_gap num_labels search_labels label_cost label_kind noise_rate threshold ssrm_round
ssrm_rule ssrm_confidence ssrm_start ssrm_memory ssrm_admission ssrm_orders ssrm_calibration
ssrm_n_validation ssrm_label_smoothing ssrm_targets ssrm_max_unlabelled
zero_shot easy hard sgr sgr_low sgr_high verdict verdict_note caveats chance gap gap_low gap_high
easy_gain easy_gain_low easy_gain_high easy_gain_p hard_gain hard_gain_low hard_gain_high
hard_gain_p hard_minus_easy hard_minus_easy_low hard_minus_easy_high hard_minus_easy_p
full_recovery_p start ssrm_gain ssrm_gain_low ssrm_gain_high ssrm_gain_p
residual residual_low residual_high residual_verdict format_matched format_matched_low
format_matched_high format_matched_verdict num_items num_seeds missing_share
zero_shot_unreadable easy_unreadable hard_unreadable pool_overlap num_cells cell_seconds reason
"""


def test_users_find_the_columns_under_their_names_each_with_a_meaning(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    table = surface_table(compute_surface(study.storage, study.plan).rows)
    assert table.column_names[: len(COLUMNS)] == COLUMN_NAMES.split()
    assert all(column.meaning and not column.meaning.endswith(".") for column in COLUMNS)
    # Of a study without self-training, other columns are filled than those that need it.
    filled = {name for name in table.column_names if table[name].null_count < table.num_rows}
    assert filled >= {"train_level", "chance", "sgr_low", "gap_high", "easy_gain_p", "num_seeds"}


def test_every_recipe_factor_is_a_column(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    table = surface_table(compute_surface(study.storage, study.plan).rows)
    by_method = {row["method"]: row for row in table.to_pylist()}
    assert (by_method["in-context"]["k"], by_method["in-context"]["rank"]) == (4, None)
    assert (by_method["lora"]["rank"], by_method["lora"]["learning_rate"]) == (16, 1e-4)
    assert by_method["lora"]["quantization"] == "none"


def test_a_recipe_reads_well_and_tells_recipes_apart() -> None:
    assert recipe_text(LoRA(rank=4)).startswith(
        "lora(quantization=none, scoring=sum, orders=given, n_train=160"
    )
    assert recipe_text(LoRA(rank=4)) != recipe_text(LoRA(rank=8))


def test_a_level_without_a_hard_arm_says_so(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    point = study.plan.points[0]
    orphan = Point.model_validate(
        {**point.model_dump(), "hard": None, "hard_level": None, "reason": "no hard arm"}
    )
    plan = study.plan.model_copy(update={"points": (orphan,)})
    (row,) = compute_surface(study.storage, plan).rows
    assert (row.reason, row.verdict, row.hard) == ("no hard arm", None, None)
    assert row.easy is not None


def test_a_self_trained_source_has_its_residual_recovery(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    easy = row_of(compute_surface(study.storage, study.plan), **LORA_HARD).point
    source = next(
        p
        for p in study.plan.points
        if (p.model, p.recipe.method, p.condition, p.test_level.name)
        == ("small", "lora", "all", "steps 4")
    )
    trained = source.model_copy(update={"start": easy.easy, "threshold": 0.9})
    plan = study.plan.model_copy(update={"points": (trained,)})
    (row,) = compute_surface(study.storage, plan).rows
    assert row.residual_verdict is not None
    assert surface_table([row])["threshold"].to_pylist() == [0.9]
    has_number = row.residual_verdict.startswith("resolved")
    assert (row.residual.estimate is not None) == has_number


def test_without_items_the_reader_is_told_what_to_run(tmp_path: Path) -> None:
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=fake_space())
    with pytest.raises(ValueError, match=r"items.parquet does not exist: run `python -m study"):
        compute_surface(study.storage, study.plan)
