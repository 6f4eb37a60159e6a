"""Workers that run cells together: memory that runs out on one, a full disk, a notice to leave.

Two workers of one worker group are two threads with one store; what runs a cell only looks at its
batch. A group of two processes: test_zero.py.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from search_spaces.registry import find_space
from study.artifacts.plan import Plan
from study.planning.planner import Inputs, make_plan
from tests.support.small_study import SmallStudy
from tests.support.workers import worker_of
from trainables.cells import runner
from trainables.cells.planned import PlannedCell
from trainables.cells.retries import RetryPolicy
from trainables.cells.run import CellInputs, CellResult
from trainables.distributed.worker_group import GroupBrokenError, WorkerGroup
from trainables.methods.base.interface import Answers
from trainables.models.loading import Base, load_base
from trainables.models.oom import LEAST_SHARE
from trainables.storage import layout
from trainables.storage.claims import CellClaims
from trainables.storage.failures import failure_of, read_failure
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import read_record

FULL = torch.OutOfMemoryError("CUDA out of memory.")


class LostWorkerError(BaseException):
    """The process is gone: its group was ended."""


class Study:
    """Some cells of a planned study, and a run folder."""

    def __init__(self, plan: Plan, inputs: Inputs, base: Base, out: Path) -> None:
        cells = [cell for cell in plan.cells if cell.cell.recipe.method == "in-context"]
        self.cells: list[PlannedCell] = cells[:3]
        self.inputs, self.base = inputs, base
        self.out, self.storage = out, open_storage(str(out))

    def run(
        self,
        look: Callable[[int, str, float], object],
        *,
        group: str = "g",
        grace_s: float = 9.0,
        **more: Any,
    ) -> list[BaseException | None]:
        """Runs the cells on a worker group of two; returns what each worker raised.

        Args:
            look: Is called with rank, the cell's id and share of the usual batch, in place of a
                model; may raise.
            group: Names the start of the group.
            grace_s: How long one that failed waits for the other.
            more: Of the workers.
        """
        store = dist.HashStore()

        def run(rank: int) -> BaseException | None:
            def run_one(inputs: CellInputs, base: Base) -> CellResult:
                id_ = self.id_of(inputs)
                look(rank, id_, inputs.context.execution.token_share)
                scores = [np.arange(len(item.choices), dtype=float) for item in inputs.test]
                return CellResult(answers=Answers(log_probs=scores))

            one = worker_of(
                self.inputs,
                self.out,
                is_first=rank == 0,
                worker_group=WorkerGroup(rank=rank, size=2, store=store, grace_s=grace_s),
                run_cell=run_one,
                **more,
            )
            one.group = group
            try:
                one.run([(cell,) for cell in self.cells], range(len(self.cells)))
            except BaseException as error:
                return error
            return None

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(run, range(2)))

    def id_of(self, inputs: CellInputs) -> str:
        return next(cell.id for cell in self.cells if cell.cell == inputs.context.cell)

    def finished(self) -> list[bool]:
        return [self.storage.exists(layout.record(cell.id)) for cell in self.cells]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Inputs, Base]:
    study = SmallStudy(folder=tmp_path_factory.mktemp("study"))
    plan, inputs = make_plan(find_space(study.arguments[0]), study.folder / "data")
    (source,) = inputs.models.values()
    return plan, inputs, load_base(source, dtype="float32", quantization="none", device="cpu")


@pytest.fixture
def study(
    planned: tuple[Plan, Inputs, Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Study:
    plan, inputs, base = planned
    monkeypatch.setattr(runner, "load_for_engine", lambda *args, **options: base)
    return Study(plan, inputs, base, tmp_path / "runs")


def test_a_team_that_runs_out_of_memory_on_one_worker_tries_again_at_half(study: Study) -> None:
    tried: dict[int, list[float]] = {0: [], 1: []}
    short = study.cells[1].id

    def look(rank: int, id_: str, share: float) -> None:
        if id_ == short:
            tried[rank].append(share)
            if rank == 1 and share > 0.25:
                raise FULL

    assert study.run(look) == [None, None]
    assert tried == {0: [1.0, 0.5, 0.25], 1: [1.0, 0.5, 0.25]}
    for cell in study.cells:
        record = read_record(study.storage, cell.id)
        assert record.execution.get("token_share") == (0.25 if cell.id == short else None)
        if cell.id == short:
            assert record.execution["class"] == "B"
            assert [note for note in record.notes if "batches of 0.25 of the usual" in note]
    assert list(study.storage.list(layout.RUNNING)) == []


def test_the_gpus_of_a_cell_are_recorded_whether_it_failed_or_not(study: Study) -> None:
    failing = study.cells[1].id

    def look(rank: int, id_: str, share: float) -> None:
        if id_ == failing:
            raise ValueError("no")

    study.run(look, gpus=0.5)
    record = read_record(study.storage, study.cells[0].id)
    assert record.execution["gpus_per_worker"] == 0.5
    failure = failure_of(study.storage, failing)
    assert failure is not None and failure.gpus == 2 * 0.5


def strand(at: float, ended: threading.Event) -> Callable[[int, str, float], None]:
    """Memory runs out on the second worker while the first waits for it in a collective."""

    def look(rank: int, id_: str, share: float) -> None:
        if share < at:
            return
        if rank == 1:
            raise FULL
        ended.wait(10)
        raise LostWorkerError

    return look


def end_when_broken(study: Study, at: float, group: str) -> list[BaseException | None]:
    ended = threading.Event()
    real = RetryPolicy._leave_broken_group

    def leave(self: RetryPolicy, *rest: Any) -> None:
        real(self, *rest)
        ended.set()  # Ray ends all workers of a group that broke

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RetryPolicy, "_leave_broken_group", leave)
        return study.run(strand(at, ended), group=group, grace_s=0.3)


def test_a_group_that_broke_by_memory_begins_the_cell_at_half(study: Study) -> None:
    first, second = end_when_broken(study, 0.2, "one")
    assert isinstance(first, LostWorkerError)
    assert isinstance(second, GroupBrokenError) and second.ran_out
    cell = study.cells[0]
    claim = json.loads(study.storage.read_bytes(layout.running(cell.id)))
    assert (claim["share"], claim["attempt"]) == (0.5, 0)
    assert read_failure(study.storage, cell.id) is None
    end_when_broken(study, 0.2, "two")
    tried: list[tuple[str, float]] = []
    assert study.run(lambda *seen: tried.append(seen[1:]), group="three") == [None, None]
    shares = dict(tried)
    assert shares == {cell.id: 0.25, study.cells[1].id: 1.0, study.cells[2].id: 1.0}
    assert read_record(study.storage, cell.id).execution["token_share"] == 0.25
    assert tried[0][0] == cell.id, "memory that ran out is no death: the cell is no suspect"


def test_a_cell_that_no_batch_is_small_enough_for_fails_and_is_not_tried_again(
    study: Study,
) -> None:
    claims = CellClaims(storage=study.storage, group="zero", is_leaving=lambda: False)
    claims.write(study.cells[0].id, 0, LEAST_SHARE)
    _, second = end_when_broken(study, 0.0, "one")
    assert isinstance(second, GroupBrokenError)
    assert "out of memory" in (read_failure(study.storage, study.cells[0].id) or "")
    assert study.run(lambda *seen: None, group="two") == [None, None]
    assert study.finished() == [False, True, True]


def test_a_full_disk_ends_all_workers_of_a_team_at_once(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Storage, path: str, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Storage, "_put", full)
    seen: list[Any] = []
    errors = study.run(lambda *looked: seen.append(looked))
    assert seen == []
    assert all(isinstance(error, OSError) for error in errors), errors
    assert all("No space left on device" in str(error) for error in errors)


@pytest.mark.parametrize("what", [layout.running, layout.scores])
def test_a_file_that_does_not_fit_fails_its_cell_alone(
    study: Study, monkeypatch: pytest.MonkeyPatch, what: Callable[[str], str]
) -> None:
    key, real = what(study.cells[0].id), Storage._put

    def put(self: Storage, path: str, content: bytes) -> None:
        if key in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, path, content)

    monkeypatch.setattr(Storage, "_put", put)
    assert study.run(lambda *seen: None) == [None, None]
    assert study.finished() == [False, True, True]
    assert "No space left" in (read_failure(study.storage, study.cells[0].id) or "")


def test_a_group_that_breaks_on_a_full_disk_breaks_all_the_same(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Storage._put

    def put(self: Storage, path: str, content: bytes) -> None:
        if "failure" in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, path, content)

    monkeypatch.setattr(Storage, "_put", put)
    ended = threading.Event()

    def look(rank: int, id_: str, share: float) -> None:
        if rank == 1:
            raise OSError("a checkpoint does not fit")
        ended.wait(2)
        raise LostWorkerError

    _, second = study.run(look, grace_s=0.3)
    assert isinstance(second, GroupBrokenError) and not second.ran_out
    assert "this could not be recorded in the run folder" in second.__notes__[0]


@pytest.mark.parametrize("error", [OSError("a refusing bucket"), ValueError("not a record")])
def test_what_only_one_worker_cannot_read_fails_the_cell_on_all(
    study: Study, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real, times = runner.make_inputs, {"left": 1}

    def make(*args: Any, **options: Any) -> CellInputs:
        if options["execution"].worker_group.rank == 1 and times["left"]:
            times["left"] -= 1
            raise error
        return real(*args, **options)

    monkeypatch.setattr(runner, "make_inputs", make)
    seen: list[tuple[int, str]] = []
    assert study.run(lambda rank, id_, share: seen.append((rank, id_))) == [None, None]
    assert study.finished() == [False, True, True]
    assert study.cells[0].id not in {id_ for _, id_ in seen}, "nobody began it"
    assert str(error) in (read_failure(study.storage, study.cells[0].id) or "")


def test_a_worker_under_notice_begins_no_further_unit(study: Study) -> None:
    noticed = threading.Event()

    def look(rank: int, id_: str, share: float) -> None:
        if id_ == study.cells[1].id:
            noticed.set()

    assert study.run(look, is_leaving=noticed.is_set) == [None, None]
    assert study.finished() == [True, True, False]
    assert study.run(lambda *seen: None, group="h") == [None, None]
    assert study.finished() == [True, True, True]
