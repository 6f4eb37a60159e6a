"""The table of points for other programs: the numbers of the frame, and texts that stay texts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from search_spaces.levels import Level
from study.analysis.surface import Surface, compute_surface
from study.analysis.surface_columns import surface_frame
from study.reporting.files import write_report
from study.reporting.surface_views.downloads import (
    DOWNLOADS,
    escaped,
    latex_table,
    surface_downloads,
)
from tests.support.fakes import EASY, HARD, fake_study

ODD = Level(name='a & b, "50 %_"', low=4, high=4)


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> Surface:
    axis = {"task": "toy", "measure": "steps", "train_levels": (EASY, HARD)}
    study = fake_study(
        tmp_path_factory.mktemp("study"), tasks=({**axis, "test_levels": (HARD, ODD)},)
    )
    return compute_surface(study.storage, study.plan)


def test_csv_and_json_hold_the_frame(surface: Surface) -> None:
    frame, files = surface_frame(surface.rows), surface_downloads(surface)
    read = pd.read_csv(io.BytesIO(files["surface.csv"])).astype(frame.dtypes.to_dict())
    pd.testing.assert_frame_equal(read, frame, check_exact=True)
    content = json.loads(files["surface.json"])
    assert content["columns"] == frame.attrs["columns"]
    rows = pd.DataFrame(content["rows"]).astype(frame.dtypes.to_dict())
    pd.testing.assert_frame_equal(rows, frame, check_exact=True)


def test_the_report_has_the_files(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    page = write_report(study.storage, study.plan, compute_surface(study.storage, study.plan))
    text = Path(page).read_text()
    for name in DOWNLOADS.values():
        assert (Path(page).parent / name).read_bytes(), name
        assert f'<a href="{name}" download>' in text


def test_latex_has_every_point_and_escapes_names(surface: Surface, tmp_path: Path) -> None:
    text = latex_table(surface.rows)
    assert text == surface_downloads(surface)["surface.tex"].decode()
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + len(surface.rows)
    assert {line.count(" & ") for line in lines} == {9}
    assert r'a \& b, "50 \%\_"' in text
    assert escaped(r"\input{x}^~<") == (
        r"\textbackslash{}input\{x\}\textasciicircum{}\textasciitilde{}\textless{}"
    )
