"""Calibration of arms: compared with a slow reading of their records, by test level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from study.analysis.calibration import CALIBRATION_COLUMNS, CalibrationRow, calibration_rows
from study.analysis.surface import compute_surface
from study.reporting.content import gather
from study.reporting.files import write_tables
from study.reporting.terminal import finding_parts
from study.statistics.calibration import brier_score, calibrate, selective_accuracy
from tests.support.fake_ssrm import ssrm, ssrm_space
from tests.support.fakes import FakeStudy, fake_study
from trainables.storage.filesystem import open_storage

ONE = {"models": (BaseModelRef(name="small"),), "methods": (LoRA(n_train=8),), "seeds": 2}


def found_row(rows: tuple[CalibrationRow, ...], **wanted: object) -> CalibrationRow:
    (row,) = [r for r in rows if all(getattr(r, name) == v for name, v in wanted.items())]
    return row


@pytest.mark.parametrize("level", [None, "hard", "steps 4"])
def test_rows_are_those_of_the_records(tmp_path: Path, level: str | None) -> None:
    study = fake_study(tmp_path, **ONE)
    row = found_row(
        calibration_rows(compute_surface(study.storage, study.plan)),
        condition="easy",
        test_level=level,
    )
    lowest = {None: 1, "hard": 3, "steps 4": 4}[level]
    task = study.tasks["toy"]
    items = {i.id: i for i in task.by_id(task.split.test) if int(i.id.split("-")[1]) >= lowest}
    sure, right, given, gold = [], [], [], []
    for cell in study.cells("easy"):
        for answer in pq.read_table(tmp_path / "cells" / cell.id / "scores.parquet").to_pylist():
            if answer["item_id"] in items:
                odds = np.exp(answer["log_probs"])
                given.append(odds / odds.sum())
                gold.append(items[answer["item_id"]].answer)
                sure.append(answer["confidence"])
                right.append(answer["correct"])
    assert (row.num_items, row.num_seeds, len(sure)) == (len(items), 2, 2 * len(items))
    assert row.ece.estimate == pytest.approx(calibrate(sure, right).ece, abs=1e-6)
    assert [(b.confidence, b.accuracy, b.count) for b in row.bins] == [
        (pytest.approx(b.confidence, abs=1e-6), pytest.approx(b.accuracy), b.count)
        for b in calibrate(sure, right).bins
    ]
    assert all(0.0 <= b.low <= b.accuracy <= b.high <= 1.0 and b.low < b.high for b in row.bins)
    assert row.brier.estimate == pytest.approx(brier_score(given, gold), abs=1e-6)
    assert row.selective_area.estimate == pytest.approx(
        selective_accuracy(sure, right).area, abs=1e-6
    )
    for found in (row.brier, row.selective_area):
        assert found.low is not None and found.high is not None
        assert found.low < (found.estimate or 0.0) < found.high
    assert row.brier_change.estimate is None


def test_self_training_has_its_change_and_every_view_has_the_numbers(tmp_path: Path) -> None:
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=ssrm_space(ssrm(0.5))).write()
    surface = compute_surface(study.storage, study.finish().plan)
    content = gather(study.storage, study.plan, surface)
    after = found_row(content.calibration, condition="easy_ssrm tau 0.5", test_level="hard")
    before = found_row(content.calibration, condition="easy", test_level="hard")
    assert after.brier.estimate is not None and before.brier.estimate is not None
    change = after.brier_change
    assert change.estimate == pytest.approx(after.brier.estimate - before.brier.estimate)
    assert change.low is not None and change.high is not None and change.p_value is not None
    write_tables(study.storage, "fake", content)
    table = pq.read_table(tmp_path / "fake" / "calibration.parquet")
    assert table.column_names == [column.name for column in CALIBRATION_COLUMNS]
    (line,) = [
        line
        for line in table.to_pylist()
        if (line["condition"], line["test_level"]) == ("easy_ssrm tau 0.5", "hard")
    ]
    assert (line["brier"], line["ece_high"]) == (after.brier.estimate, after.ece.high)
    assert line["brier_change_p"] == change.p_value
    printed = "\n".join(map(str, finding_parts(content)))
    assert f"{100 * after.selective_area.estimate:.1f} [" in printed
    assert f"{after.brier.estimate:.2f} [" in printed


def test_an_arm_that_has_not_finished_has_no_row(tmp_path: Path) -> None:
    study = fake_study(tmp_path, **ONE)
    study.fail_cell(study.cells("easy")[0])
    rows = calibration_rows(compute_surface(study.storage, study.plan))
    assert {row.condition for row in rows} == {"zero-shot", "hard", "all"}
