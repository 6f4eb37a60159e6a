"""Two studies: matched by coordinates, paired where they can be, with one correction for all."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LoRA
from search_spaces.space import TaskAxis
from study.analysis.run_comparison.columns import COMPARISON_COLUMNS, comparison_table
from study.analysis.run_comparison.coordinates import ComparedRun, locate
from study.analysis.run_comparison.differences import RunComparison, RunDifference, compare_runs
from study.analysis.run_comparison.identity import field_differences
from study.analysis.surface import ArmReader, compute_surface
from study.artifacts.points import Point
from study.statistics.across_points.multiplicity import simultaneous_level
from study.statistics.differences import paired_difference
from study.statistics.recovery import Roles
from study.statistics.sgr_difference import estimate_sgr_difference
from tests.study.analysis.test_floor import with_zero_shot
from tests.support.fakes import EASY, FakeStudy, fake_space, fake_study
from trainables.storage.filesystem import open_storage
from trainables.storage.records import parquet_bytes

SMALL = (BaseModelRef(name="small"),)
ONE_METHOD = {"models": SMALL, "methods": (LoRA(n_train=8),)}


def run_of(study: FakeStudy) -> ComparedRun:
    surface = compute_surface(study.storage, study.plan)
    return ComparedRun(address=study.storage.path("fake"), plan=study.plan, surface=surface)


def compared(first: FakeStudy, second: FakeStudy) -> RunComparison:
    return compare_runs(run_of(first), run_of(second))


def more_items(folder: Path) -> FakeStudy:
    """A study whose task has other data, so another split."""
    space = fake_space(**ONE_METHOD)
    study = FakeStudy(storage=open_storage(str(folder)), space=space, items_per_level=90)
    return study.write().finish()


def lora_on_easy(study: FakeStudy) -> tuple[Point, ArmReader]:
    """The point of LoRA on easy labels and the hard test items, and what reads its arms."""
    surface = compute_surface(study.storage, study.plan)
    (point,) = [
        row.point
        for row in surface.rows
        if (row.point.recipe.method, row.point.source, row.point.test_level.name)
        == ("lora", "easy", "hard")
    ]
    return point, ArmReader(surface.items, surface.scores)


def row_of(comparison: RunComparison, quantity: str, **wanted: str) -> RunDifference:
    (row,) = [
        row
        for row in comparison.rows
        if row.quantity == quantity and all(getattr(row.where, k) == v for k, v in wanted.items())
    ]
    return row


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeStudy, FakeStudy]:
    """Another learning rate and one seed more in B, on the same split."""
    faster = (InContext(k=4), LoRA(n_train=8, learning_rate=1e-3))
    return (
        fake_study(tmp_path_factory.mktemp("a"), models=SMALL),
        fake_study(tmp_path_factory.mktemp("b"), models=SMALL, methods=faster, seeds=4),
    )


@pytest.fixture(scope="module")
def comparison(studies: tuple[FakeStudy, FakeStudy]) -> RunComparison:
    return compared(*studies)


def test_differences_are_those_of_the_paired_arms(
    studies: tuple[FakeStudy, FakeStudy], comparison: RunComparison
) -> None:
    row = row_of(comparison, "accuracy", method="lora", labels="easy", test_level="hard")
    points = [lora_on_easy(study) for study in studies]
    arms = [reader.arm(point.easy, *point.place) for point, reader in points]
    level = simultaneous_level(0.95, comparison.num_tests)
    expected = paired_difference(*arms, level=level)
    found = row.difference
    assert row.pairing == "paired" and (row.first_items, row.second_items) == (60, 60)
    assert (row.first, row.second) == pytest.approx(tuple(arm.scores.mean() for arm in arms))
    assert (found.estimate, found.low, found.high, found.p_value) == pytest.approx(
        (expected.estimate, expected.low, expected.high, expected.p_value)
    )
    assert set(arms[0].draw_ids) < set(arms[1].draw_ids), "three of four draws are the same"


def test_sgrs_have_the_joint_covariance_and_share_their_floor(
    studies: tuple[FakeStudy, FakeStudy], comparison: RunComparison
) -> None:
    row = row_of(comparison, "sgr", method="lora", labels="easy", test_level="hard")
    arms = {}
    for name, study in zip("AB", studies, strict=True):
        point, reader = lora_on_easy(study)
        assert point.hard is not None
        arms["floor"] = reader.arm(point.zero_shot, *point.place)
        arms[f"easy {name}"] = reader.arm(point.easy, *point.place)
        arms[f"hard {name}"] = reader.arm(point.hard, *point.place)
    expected = estimate_sgr_difference(
        arms,
        Roles("floor", "easy A", "hard A"),
        Roles("floor", "easy B", "hard B"),
        level=simultaneous_level(0.95, comparison.num_tests),
    )
    found = row.difference
    assert expected.estimate is not None
    assert (found.estimate, found.low, found.high, found.p_value) == pytest.approx(
        (expected.estimate, expected.low, expected.high, expected.p_value), abs=1e-6
    )


def test_one_correction_covers_accuracies_and_sgrs(comparison: RunComparison) -> None:
    tested = [row for row in comparison.rows if row.difference.p_value is not None]
    assert {row.quantity for row in tested} == {"accuracy", "sgr"}
    assert len(tested) == comparison.num_tests
    smallest = min(tested, key=lambda row: row.difference.p_value or 0.0)
    assert smallest.holm_p == pytest.approx(
        min(1.0, len(tested) * (smallest.difference.p_value or 0.0))
    )
    for row in tested:
        assert row.difference.low is not None and row.difference.high is not None
        if not row.difference.low <= 0.0 <= row.difference.high:
            assert (row.holm_p or 0.0) < 0.05, "an interval without 0 is significant"


def test_what_differs_is_what_the_correction_leaves(comparison: RunComparison) -> None:
    first = next(row for row in comparison.rows if row.difference.p_value is not None)
    rows = [
        replace(first, holm_p=holm_p, difference=replace(first.difference, p_value=p_value))
        for p_value, holm_p in ((0.01, 0.2), (0.002, 0.01), (0.001, 0.04))
    ]
    assert replace(comparison, rows=(*rows,)).differing == (rows[2], rows[1])


def test_fields_that_differ_are_named_once(comparison: RunComparison) -> None:
    fields = {field.name: field for field in comparison.fields}
    assert set(fields) == {"recipe.learning_rate", "seeds"}
    rate, seeds = fields["recipe.learning_rate"], fields["seeds"]
    assert (rate.first, rate.second, rate.num_arms) == ("0.0001", "0.001", 6)
    assert (seeds.first, seeds.second, seeds.num_arms) == ("0, 1, 2", "0, 1, 2, 3", 12)
    share = row_of(comparison, "sgr", method="lora", labels="easy", test_level="hard")
    assert share.fields_text == "recipe.learning_rate: 0.0001 | 0.001; seeds: 0, 1, 2 | 0, 1, 2, 3"
    zero_shot = row_of(comparison, "accuracy", labels="zero-shot", test_level="hard")
    assert zero_shot.pairing == "same cells" and zero_shot.first == zero_shot.second
    assert zero_shot.holm_p is None


def test_a_field_of_several_values_names_none(comparison: RunComparison) -> None:
    arms = [{"rank": ("1", "2")}, {"rank": ("1", "3")}]
    found = field_differences((comparison.first, comparison.second), arms)
    (rank,) = [field for field in found if field.name == "rank"]
    assert (rank.first, rank.second, rank.num_arms) == ("1", "several", 2)


def test_another_split_is_unpaired_with_welchs_interval(tmp_path: Path) -> None:
    first = fake_study(tmp_path / "a", **ONE_METHOD)
    second = more_items(tmp_path / "b")
    found = compared(first, second)
    assert {row.pairing for row in found.rows} == {"unpaired"}
    assert {"data_hash", "split_hash"} <= {field.name for field in found.fields}
    row = row_of(found, "accuracy", labels="zero-shot", test_level="hard")
    scores = []
    for study in (first, second):
        surface = compute_surface(study.storage, study.plan)
        point = surface.rows[0].point
        reader = ArmReader(surface.items, surface.scores)
        scores.append(reader.arm(point.zero_shot, *point.place).scores[:, 0])
    welch = stats.ttest_ind(*scores, equal_var=False)
    interval = welch.confidence_interval(simultaneous_level(0.95, found.num_tests))
    assert row.difference.p_value == pytest.approx(welch.pvalue)
    assert (row.difference.low, row.difference.high) == pytest.approx(tuple(interval))
    easy = row_of(found, "accuracy", labels="easy", test_level="hard")
    assert easy.difference.p_value is not None
    run = run_of(first)
    items = run.surface.items
    test = {"toy": replace(items.test["toy"], split_hash="other")}
    other = replace(run, surface=replace(run.surface, items=replace(items, test=test)))
    same_data = compare_runs(run, other)
    assert {row.pairing for row in same_data.rows} == {"unpaired"}, "of other items, not of cells"
    assert all(row.difference.estimate == pytest.approx(0.0, abs=1e-12) for row in same_data.rows)


def test_arms_on_other_items_of_one_split_are_compared_on_the_common_ones(tmp_path: Path) -> None:
    first = fake_study(tmp_path / "a", **ONE_METHOD)
    harder = Level(name="hard", low=4, high=4)
    axis = TaskAxis(task="toy", measure="steps", train_levels=(EASY, harder), test_levels=(harder,))
    second = fake_study(tmp_path / "b", **{**ONE_METHOD, "tasks": (axis,)})
    found = compared(first, second)
    row = row_of(found, "accuracy", labels="hard", test_level="hard")
    assert (row.pairing, row.first_items, row.second_items) == ("paired", 30, 30)
    rows = compute_surface(first.storage, first.plan).rows
    whole = next(r.hard for r in rows if r.point.test_level.name == "hard")
    assert row.first is not None and row.first != whole, "the accuracy on 30 items, not on 60"
    levels = [field for field in found.fields if field.name == "level hard of toy by steps"]
    assert [(level.first, level.second) for level in levels] == [("3 to 4", "4 to 4")]


def test_what_only_one_study_has_is_listed_and_what_varies_is_a_coordinate(
    tmp_path: Path,
) -> None:
    ranks = tuple(LoRA(n_train=8, rank=rank) for rank in (2, 4))
    first = fake_study(tmp_path / "a", models=SMALL, methods=ranks, seeds=2)
    second = fake_study(tmp_path / "b", models=SMALL, methods=ranks[:1], seeds=2)
    found = compared(first, second)
    assert not found.only_in("B") and not found.differing
    assert {row.where.method for row in found.only_in("A")} == {"lora rank=4"}
    both = [row for row in found.rows if row.studies == "both"]
    assert {row.where.method for row in both} == {"zero-shot", "lora rank=2"}
    assert {row.pairing for row in both} == {"same cells"}
    assert found.num_tests == 0


def test_missing_cells_are_a_reason_and_no_number(tmp_path: Path) -> None:
    first = fake_study(tmp_path / "a", **ONE_METHOD)
    second = FakeStudy(
        storage=open_storage(str(tmp_path / "b")),
        space=fake_space(models=SMALL, methods=(LoRA(n_train=8, epochs=2),)),
    ).write()
    second.finish([cell for cell in second.plan.cells if cell.condition != "hard"])
    found = compared(first, second)
    row = row_of(found, "accuracy", labels="hard", test_level="hard")
    assert row.reason == "B: 3 of 3 arm cells missing: not run"
    assert row.difference.estimate is None and row.second is None and row.first is not None
    share = row_of(found, "sgr", labels="easy", test_level="hard")
    assert share.reason == "B: 3 of 3 hard cells missing: not run"
    easy = row_of(found, "accuracy", labels="easy", test_level="hard")
    assert easy.difference.low is not None
    with_zero_shot(second.finish(), right=0.3, unreadable=0.2)
    share = row_of(compared(first, second), "sgr", labels="easy", test_level="hard")
    assert share.difference.estimate is None and share.first is not None and share.second is None
    assert share.reason is not None and re.match("B: .*read", share.reason), share.reason


def test_models_are_matched_without_their_folder(tmp_path: Path) -> None:
    changes = {"methods": (InContext(k=4),), "seeds": 2}
    first = fake_study(tmp_path / "a", models=(BaseModelRef(name="org/Small-1"),), **changes)
    second = fake_study(tmp_path / "b", models=(BaseModelRef(name="/data/small-1"),), **changes)
    found = compared(first, second)
    assert not found.only_in("A") and not found.only_in("B")
    assert [field.name for field in found.fields] == ["model"]


def test_models_keep_their_folder_where_only_it_tells_them_apart(tmp_path: Path) -> None:
    runs = []
    for folder, names in (("a", ("org/x", "other/x")), ("b", ("org/x", "y"))):
        models = tuple(BaseModelRef(name=name) for name in names)
        space = fake_space(models=models, methods=(InContext(k=4),), seeds=1)
        study = FakeStudy(storage=open_storage(str(tmp_path / folder)), space=space).write()
        runs.append(run_of(study))
    for one, two in (locate(*runs), locate(*runs[::-1])[::-1]):
        assert {where.model for where in one.points} == {"org/x", "other/x"}
        assert {where.model for where in two.points} == {"org/x", "y"}


def test_the_table_is_documented_and_typed(comparison: RunComparison) -> None:
    table = comparison_table(comparison)
    read = pq.read_table(io.BytesIO(parquet_bytes(table)))
    assert read.equals(table) and read.num_rows == len(comparison.rows)
    assert all(field.metadata[b"meaning"] for field in read.schema)
    row = read.to_pylist()[0]
    assert list(row) == [column.name for column in COMPARISON_COLUMNS]
    numbers = [row["a"], row["b"], row["difference"]]
    assert all(np.isfinite(value) for value in numbers if value is not None)


def test_exchanging_the_studies_changes_the_signs(
    studies: tuple[FakeStudy, FakeStudy], comparison: RunComparison
) -> None:
    other = compared(*reversed(studies))
    for row in comparison.rows:
        twin = row_of(
            other,
            row.quantity,
            **{f: getattr(row.where, f) for f in ("method", "labels", "test_level")},
        )
        assert (twin.first, twin.second) == pytest.approx((row.second, row.first))
        if row.difference.low is not None:
            assert twin.difference.high == pytest.approx(-row.difference.low, abs=1e-4)
            assert twin.holm_p == pytest.approx(row.holm_p, abs=1e-4)
