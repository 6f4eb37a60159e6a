"""An archive: a study's records in few files, restored into another run folder and continued."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from search_spaces.registry import find_space
from study.analysis.surface import compute_surface
from study.archive import NOTE, archive_study
from study.archive import main as archive
from study.artifacts.plan import Plan, read_plan
from study.cli.command import OK
from study.planning.planner import make_plan
from study.running.executor import missing_cells
from study.sweep import main as sweep
from tests.support.small_study import SmallStudy
from trainables.cells.planned import PlannedCell
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.storage import layout
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import read_record

HEAD = "from search_spaces.supervision import Condition, SelfTraining\n"
SELF_TRAINED = (
    "conditions=(Condition(name='easy+SSRM', levels=('easy',), unlabelled=('hard',), "
    "self_training=SelfTraining(threshold=0.26, max_unlabelled=12)),), test_items=20,"
)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A study with self-training, whole, and what restoring its archive gave."""

    study: SmallStudy
    plan: Plan
    whole: Path
    folder: Path
    """Holds the archive and the runs restored from it."""

    def restored(self, name: str) -> Path:
        out = self.folder / name
        command = [str(out / "small"), "--from", str(self.folder / "archive")]
        assert archive(command) == OK
        return out

    def run(self, out: Path) -> None:
        assert sweep([*self.study.arguments, "--out", str(out), "--address", "in-process"]) == OK

    @property
    def children(self) -> list[PlannedCell]:
        return [cell for cell in self.plan.cells if cell.cell.parent is not None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("archive")
    study = SmallStudy(folder=folder)
    file = folder / "space.py"
    text = file.read_text().replace("seeds=2", "seeds=1")
    start, end = text.index("methods=("), text.index("seeds=")
    text = f"{text[:start]}methods=(InContext(k=2), LinearProbe(n_train=6)), {text[end:]}"
    model = shutil.copytree(MICRO_MODELS["micro-s"], folder / "weights")
    named = f"BaseModelRef(name='micro-s', path={str(model)!r})"
    text = text.replace("BaseModelRef(name='micro-s')", named)
    assert named in text
    file.write_text(HEAD + text.replace('measure="steps",', f'measure="steps", {SELF_TRAINED}'))
    whole = folder / "whole"
    study_ = Finished(study=study, plan=None, whole=whole, folder=folder)  # type: ignore[arg-type]
    study_.run(whole)
    assert archive([str(whole / "small"), "--to", str(folder / "archive")]) == OK
    plan = read_plan(open_storage(str(whole)), "small")
    return Finished(study=study, plan=plan, whole=whole, folder=folder)


def accuracies(out: Path, plan: Plan) -> list[Mapping[str, float]]:
    return [row.accuracies for row in compute_surface(open_storage(str(out)), plan).rows]


def numbers(out: Path, cell: PlannedCell, name: str, column: str) -> np.ndarray:
    rows = pq.read_table(out / layout.cell(cell.id) / f"{name}.parquet")[column].to_pylist()
    return np.concatenate([np.atleast_1d(row) for row in rows])


def test_an_archive_is_a_few_files_without_weights_texts_of_questions_or_paths(
    finished: Finished,
) -> None:
    folder = finished.folder / "archive" / "small"
    names = {"plan.json", "items.parquet", "records.jsonl", "scores.parquet", "selection.parquet"}
    assert {path.name for path in folder.iterdir()} == names
    question = json.loads(finished.study.data_file.read_text().splitlines()[0])["question"]
    for path in folder.iterdir():
        content = path.read_bytes()
        assert question.encode() not in content
        assert str(finished.folder).encode() not in content, "it holds the data and the weights"
    assert read_plan(open_storage(str(folder.parent)), "small").cells == finished.plan.cells


def test_an_archive_has_no_folder_of_a_function(tmp_path: Path) -> None:
    study = SmallStudy(folder=tmp_path / "mine", task="space.py:sums")
    plan, _ = make_plan(find_space(study.arguments[0]))
    assert str(tmp_path) in plan.model_dump_json()
    storage, folder = open_storage(str(tmp_path / "runs")), tmp_path / "archive"
    storage.write_bytes(layout.items("small"), b"")
    assert archive_study(storage, plan, open_storage(str(folder))) == 0
    text = (folder / "small" / "plan.json").read_text()
    assert str(tmp_path) not in text and '"source":"space.py:sums"' in text


@pytest.mark.parametrize(
    ("source", "archived"),
    [
        ("/home/someone/data/arc", "a local copy"),
        ("data/hub/owner/quiz:small", "a local copy"),
        ("/data/arc; /data/mmlu", "a local copy"),
        ("Hub cais/mmlu@0123; /data/arc", "Hub cais/mmlu@0123; a local copy"),
        ("https://host/file.json", "https://host/file.json"),
        ("Hub data set owner/quiz@0123", "Hub data set owner/quiz@0123"),
    ],
)
def test_an_archived_source_has_no_folder(
    finished: Finished, tmp_path: Path, source: str, archived: str
) -> None:
    plan = finished.plan
    tasks = tuple(task.model_copy(update={"source": source}) for task in plan.tasks)
    other = open_storage(str(tmp_path))
    archive_study(
        open_storage(str(finished.whole)), plan.model_copy(update={"tasks": tasks}), other
    )
    assert {task.source for task in read_plan(other, "small").tasks} == {archived}


def test_restored_records_give_the_same_results_with_rounded_scores(finished: Finished) -> None:
    out = finished.restored("equal")
    assert accuracies(out, finished.plan) == accuracies(finished.whole, finished.plan)
    for cell in finished.plan.cells:
        before, after = (
            read_record(open_storage(str(folder)), cell.id) for folder in (finished.whole, out)
        )
        assert after.notes == (*before.notes, NOTE)
        same = {
            "accuracy",
            "cell",
            "execution",
            "gpu_utilisation",
            "num_items",
            "peak_memory",
            "seconds",
            "selection",
            "tokens",
            "updates",
        }
        assert after.model_dump(include=same) == before.model_dump(include=same)
        pairs = [("scores", "log_probs"), ("scores", "confidence")]
        pairs += [("selection", "probabilities")] * (cell.cell.parent is not None)
        for name, column in pairs:
            exact, rounded = (
                numbers(folder, cell, name, column) for folder in (finished.whole, out)
            )
            np.testing.assert_array_equal(rounded, exact.astype(np.float32).astype(np.float64))


def test_a_restored_study_has_nothing_to_run(finished: Finished) -> None:
    out = finished.restored("whole again")
    assert missing_cells(open_storage(str(out)), finished.plan.cells) == []
    assert not list(out.glob("cells/*/adapter"))


def without(out: Path, cell: PlannedCell) -> Storage:
    shutil.rmtree(out / layout.cell(cell.id))
    return open_storage(str(out))


def test_a_parent_whose_state_is_gone_runs_again_only_for_a_child_that_has_to_run(
    finished: Finished,
) -> None:
    out = finished.restored("without a child")
    child = finished.children[-1]
    storage = without(out, child)
    missing = missing_cells(storage, finished.plan.cells)
    assert [cell.id for cell in missing] == [child.cell.parent, child.id]
    everything = missing_cells(storage, finished.plan.cells, keeps_adapters=True)
    assert {cell.id for cell in everything} > {cell.id for cell in missing}
    finished.run(out)
    again = read_record(storage, child.id)
    assert (
        again.scores_sha256
        == read_record(open_storage(str(finished.whole)), child.id).scores_sha256
    )


def test_what_is_there_is_not_replaced(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished.restored("twice")
    record = out / layout.record(finished.plan.cells[0].id)
    record.write_text("mine")
    capsys.readouterr()
    finished.restored("twice")
    assert "0 of" in capsys.readouterr().out and record.read_text() == "mine"


@pytest.mark.parametrize("extra", [[], ["--to", "a", "--from", "b"]])
def test_one_direction_is_named(
    finished: Finished, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert archive([str(finished.whole / "small"), *extra]) == 2
    assert "give --to FOLDER" in capsys.readouterr().err


def test_no_archive_is_an_error_of_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(tmp_path / "runs" / "small"), "--from", str(tmp_path / "empty")]
    assert archive(command) == 2
    assert "does not exist" in capsys.readouterr().err and not list(tmp_path.iterdir())
