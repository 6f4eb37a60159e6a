"""Files of a run folder that are damaged or of another version: one line, and the rest works."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study import report, status
from study.artifacts.plan import program_version
from study.cli.command import BAD_INPUT, OK
from study.cost import prices
from study.cost.prices import read_prices
from study.sweep import main as sweep
from tests.support.fakes import FakeStudy, fake_space
from tests.support.small_study import SmallStudy, scores_of
from trainables.storage import layout
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import InvalidRecordError, read_record


@pytest.fixture
def study(tmp_path: Path) -> FakeStudy:
    storage = open_storage(str(tmp_path / "runs"))
    return FakeStudy(storage=storage, space=fake_space(seeds=2)).write().finish()


def folder_of(study: FakeStudy) -> str:
    return study.storage.path(study.space.name)


def file_of(study: FakeStudy, key: str) -> Path:
    return Path(study.storage.path(key))


def change(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("command", [report.main, status.main])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "7.3", "shards": 4}, "written by version 7.3"),
        ({"version": None, "points": "none"}, "written by an unknown version"),
    ],
)
def test_a_plan_of_another_version_is_refused_in_one_line(
    study: FakeStudy,
    command: Callable[[list[str]], int],
    changes: dict[str, object],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(file_of(study, layout.plan("fake")), **changes)
    assert command([folder_of(study)]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "fake/plan.json" in line and said in line
    assert f"this is version {program_version()}" in line
    assert "Run `python -m study.sweep` again" in line and "keeps all valid records" in line


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: table.drop_columns(["topic"]),
        lambda table: table.set_column(
            table.column_names.index("gold"), "gold", pa.array(["a"] * table.num_rows)
        ),
        lambda table: table.replace_schema_metadata({}),
        lambda table: table.replace_schema_metadata({b"hashes": b'{"toy": 1}'}),
    ],
)
def test_an_items_table_of_another_version_is_refused_in_one_line(
    study: FakeStudy,
    damage: Callable[[pa.Table], pa.Table],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = file_of(study, layout.items("fake"))
    pq.write_table(damage(pq.read_table(file)), file)
    assert report.main([folder_of(study)]) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "items.parquet" in line and "Run `python -m study.sweep` again" in line


def test_a_record_of_another_version_is_not_valid_and_said_in_one_line(study: FakeStudy) -> None:
    cell = study.plan.cells[0]
    change(file_of(study, layout.record(cell.id)), shards=4, num_items="many")
    with pytest.raises(InvalidRecordError, match="written by another version") as caught:
        read_record(study.storage, cell.id)
    assert "Record.shards" in str(caught.value) and "\n" not in str(caught.value)


def test_a_price_table_of_another_version_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    shipped = (Path(prices.__file__).parent / "prices.toml").read_text()
    file.write_text(f"shards = 4\n{shipped}")
    with pytest.raises(ValueError, match="is not a price table: ") as caught:
        read_prices(file)
    assert "\n" not in str(caught.value) and "shards" in str(caught.value)


@pytest.mark.parametrize("key", [layout.record, layout.scores, layout.failure])
def test_a_folder_in_the_place_of_a_cells_file_costs_that_cell_alone(
    study: FakeStudy, key: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    cell = study.plan.cells[0]
    if key is layout.failure:
        file_of(study, layout.record(cell.id)).unlink()
    file_of(study, key(cell.id)).unlink(missing_ok=True)
    file_of(study, key(cell.id)).mkdir()
    assert report.main([folder_of(study)]) == OK
    said = capsys.readouterr().out
    assert f"1 of {len(study.plan.cells)} cells are missing or failed" in said
    status.main([folder_of(study), "--json"])
    found = json.loads(capsys.readouterr().out)
    if key is layout.record:
        assert list(found["not_valid"]) == [cell.id]
        assert "record.json is a folder" in found["not_valid"][cell.id]
        assert status.main([folder_of(study)]) == OK
        assert "record.json is a folder" in capsys.readouterr().out


def test_a_record_that_may_not_be_read_costs_that_cell_alone(
    study: FakeStudy,
) -> None:
    """The tests may run as root, whom no permission stops."""
    filesystem = study.storage.filesystem
    cell = study.plan.cells[0]

    class Forbidding:
        def __getattr__(self, name: str) -> object:
            return getattr(filesystem, name)

        def open_input_file(self, path: str) -> object:
            if path.endswith(layout.record(cell.id)):
                raise PermissionError(errno.EACCES, "Permission denied")
            return filesystem.open_input_file(path)

    object.__setattr__(study.storage, "filesystem", Forbidding())
    with pytest.raises(InvalidRecordError, match=r"record\.json cannot be read: Permission denied"):
        read_record(study.storage, cell.id)


def test_a_sweep_makes_a_cell_again_whose_file_is_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = SmallStudy(folder=tmp_path / "study"), tmp_path / "runs"
    text = (tmp_path / "study" / "space.py").read_text()
    for method in ("LinearProbe(n_train=6), ", "LoRA(n_train=6, epochs=1)"):
        text = text.replace(method, "")
    (tmp_path / "study" / "space.py").write_text(text)
    arguments = [*study.arguments, "--out", str(out), "--address", "in-process"]
    assert sweep(arguments) == OK
    before = dict(scores_of(out))
    first, second, *_ = sorted(before)
    files = (out / layout.record(first), out / layout.scores(second))
    for file in files:
        file.unlink()
        (file / "inside").mkdir(parents=True)
    assert sweep(arguments) == OK
    said = capsys.readouterr().out
    assert all(f"{file} is a folder, not a file" in said for file in files)
    assert scores_of(out) == before


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_full_disk_leaves_the_older_report_as_it_is(
    study: FakeStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([folder_of(study), "--figures"]) == OK
    before = contents(Path(study.storage.base))
    file_of(study, layout.record(study.plan.cells[0].id)).unlink()
    before.pop(layout.record(study.plan.cells[0].id))
    real = Storage._put
    for full_for in ("index.html", "surface.parquet", ".png"):

        def put(self: Storage, path: str, content: bytes, full_for: str = full_for) -> None:
            if full_for in path:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(self, path, content)

        with monkeypatch.context() as patch:
            patch.setattr(Storage, "_put", put)
            capsys.readouterr()
            assert report.main([folder_of(study), "--figures"]) == BAD_INPUT
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: [Errno 28] No space left on device: ")
        assert folder_of(study) in line and full_for in line
        assert contents(Path(study.storage.base)) == before, "nothing new, nothing half-written"
    assert report.main([folder_of(study), "--figures"]) == OK
    after = contents(Path(study.storage.base))
    assert after.keys() == before.keys()
    assert after["fake/report/index.html"] != before["fake/report/index.html"]
