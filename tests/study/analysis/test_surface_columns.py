"""The frame of a surface: typed, documented, from a local folder and from a bucket."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search_spaces.recipes import InContext
from study.analysis.surface import compute_surface, load_surface, write_surface
from study.analysis.surface_columns import COLUMNS, surface_table
from tests.support.bucket_server import bucket_server, moto_or_skip
from tests.support.fakes import FakeStudy, fake_space, fake_study
from trainables.storage.filesystem import open_storage

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "surface-columns.md"

PANDAS = {"string": "string", "int64": "Int64", "double": "Float64"}


def test_the_frame_is_typed_and_documented(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    frame = load_surface(str(tmp_path / "fake"))
    rows = compute_surface(study.storage, study.plan).rows
    same = pa.Table.from_pandas(frame, preserve_index=False).to_pylist()
    assert same == surface_table(rows).to_pylist(), "and no missing value became a number"
    assert {c.name: str(frame[c.name].dtype) for c in COLUMNS} == {
        c.name: PANDAS[str(c.kind)] for c in COLUMNS
    }
    assert list(frame.attrs["columns"]) == list(frame)
    assert frame.attrs["columns"]["sgr_low"] == {
        "unit": "share of a gap",
        "meaning": "lower end of the interval of sgr",
    }
    assert all(each["meaning"] for each in frame.attrs["columns"].values())
    assert frame["n_train"].dtype == "Int64", "a factor of a recipe"


def test_the_file_has_the_same_documentation(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    surface = compute_surface(study.storage, study.plan)
    path = write_surface(study.storage, study.plan, surface)
    schema = pq.read_schema(path)
    (gap,) = [column for column in COLUMNS if column.name == "gap"]
    assert schema.field("gap").metadata == {
        b"unit": gap.unit.encode(),
        b"meaning": gap.meaning.encode(),
    }


def test_an_unfinished_study_has_reasons_and_no_numbers(tmp_path: Path) -> None:
    FakeStudy(storage=open_storage(str(tmp_path)), space=fake_space()).write()
    frame = load_surface(f"{tmp_path}/fake/")
    assert frame["sgr"].isna().all() and frame["reason"].str.contains("not run").all()


def test_a_bucket_gives_the_same_frame(tmp_path: Path) -> None:
    moto_or_skip()
    study = fake_study(tmp_path, models=fake_space().models[:1], methods=(InContext(k=4),), seeds=1)
    with pytest.MonkeyPatch.context() as patch, bucket_server(patch) as bucket:
        there = open_storage(bucket.root("runs"))
        copied = replace(study, storage=there)
        copied.write().finish()
        frame = load_surface(bucket.root("runs/fake"))
    pd.testing.assert_frame_equal(frame, load_surface(str(tmp_path / "fake")))


def test_a_folder_that_is_no_study_is_refused(tmp_path: Path) -> None:
    fake_study(tmp_path / "runs")
    with pytest.raises(ValueError, match="studies of this run folder are fake"):
        load_surface(str(tmp_path / "runs"))


def documented() -> str:
    """The table of the page, from the declared columns."""
    rows = "\n".join(f"| `{c.name}` | {c.kind} | {c.unit} | {c.meaning} |" for c in COLUMNS)
    return f"| column | type | unit | meaning |\n|---|---|---|---|\n{rows}\n"


def test_the_page_of_the_docs_lists_every_column() -> None:
    assert documented() in PAGE.read_text(), f"the table of {PAGE.name} must be\n\n{documented()}"
