"""Status: every cell of a plan is done, running, waiting or failed, from files alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.recipes import LinearProbe
from study.analysis.surface_rows import recipe_text
from study.artifacts.costs import BaseCost, StudyCost
from study.artifacts.plan import read_plan, read_plan_summary, write_plan
from study.artifacts.study_folder import open_run
from study.cli.command import BAD_INPUT, FAILED, OK
from study.running.blocks import plan_units
from study.running.run_state import RunState, read_run_state
from study.status import _memory, main
from study.sweep import main as sweep_main
from tests.support.fakes import PEAK_MEMORY, FakeStudy, fake_space
from tests.support.small_study import SmallStudy
from trainables.cells.planned import PlannedCell, RunContext
from trainables.cells.run import CellInputs, CellResult
from trainables.cluster.in_process import InProcessExecutor
from trainables.models.loading import Base
from trainables.storage import heartbeat, layout
from trainables.storage.failures import write_failure
from trainables.storage.filesystem import open_storage
from trainables.storage.heartbeat import STALE_S
from trainables.storage.process_identity import this_process

NOW = 1_000_000.0

TOKEN = "sweep-1"


@pytest.fixture(autouse=True)
def _quick_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tests' disk counts as shared."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.2)


@pytest.fixture
def study(tmp_path: Path) -> FakeStudy:
    return FakeStudy(storage=open_storage(str(tmp_path)), space=fake_space(seeds=2)).write()


def claim(study: FakeStudy, cell: PlannedCell, **changes: object) -> None:
    """Writes that a worker began a cell, half a second ago."""
    values = {"host": "elsewhere", "pid": 1, "started": NOW - 0.5, "token": TOKEN, **changes}
    study.storage.write_bytes(layout.running(cell.id), json.dumps(values).encode())
    os.utime(Path(study.storage.base) / layout.running(cell.id), (float(values["started"]),) * 2)
    sweep_gave_a_sign(study, ago=0)


def sweep_gave_a_sign(
    study: FakeStudy, ago: float, now: float = NOW, token: str | None = TOKEN
) -> None:
    """Writes the sweep's lock, some seconds ago."""
    word = {"token": token, "host": "elsewhere", "pid": 1}
    study.storage.write_bytes(layout.LOCK, json.dumps(word).encode())
    os.utime(Path(study.storage.base) / layout.LOCK, (now - ago,) * 2)


def state_of(study: FakeStudy, cells: Iterable[PlannedCell], now: float = NOW) -> RunState:
    """Reads the state of cells that are a unit each."""
    return read_run_state(study.storage, [(cell,) for cell in cells], now=now)


def mixed(study: FakeStudy) -> tuple[PlannedCell, ...]:
    """Two cells done, two running, two failed, the rest waiting; returns the plan's cells."""
    cells = study.plan.cells
    study.finish(cells[:2])
    claim(study, cells[2])
    claim(study, cells[3], host="node-2")
    study.fail_cell(cells[4], "CUDA out of memory")
    study.fail_cell(cells[5], "CUDA out of memory")
    return cells


def test_every_cell_is_in_one_state(study: FakeStudy) -> None:
    cells = mixed(study)
    state = state_of(study, cells)
    assert set(state.done) == {cell.id for cell in cells[:2]}
    assert [cell.planned for cell in state.running] == list(cells[2:4])
    assert [cell.planned for cell in state.failed] == list(cells[4:6])
    assert list(state.waiting) == list(cells[6:])
    assert state.num_cells == len(cells)


def test_eta_is_that_of_two_workers_that_share_the_cells_that_are_left(study: FakeStudy) -> None:
    """By hand: cells of equal work take 1.5 s; two have run for 0.5 s, the others wait.

    The second base model has still to be loaded, in 0.5 s.
    """
    cells = tuple(cell.model_copy(update={"flop": 1e9}) for cell in mixed(study))
    state = state_of(study, cells)
    num_waiting = len(cells) - 6
    assert num_waiting % 2 == 0
    assert state.cell_seconds == 4.0
    assert state.seconds_left == pytest.approx(2 * 1.0 + 1.5 * num_waiting + 0.5, rel=1e-3)
    assert state.eta_seconds == pytest.approx(1.0 + 1.5 * num_waiting / 2 + 0.5, rel=1e-3)


def test_measured_pace_is_that_of_the_same_base_and_method(study: FakeStudy) -> None:
    slow = study.cells("easy", model="large")[0]
    quick = study.cells("easy", model="small")[0]
    study.finish([slow, quick])
    path = Path(study.storage.base) / layout.record(slow.id)
    record = json.loads(path.read_text())
    record["seconds"]["total"] = 100.0
    path.write_text(json.dumps(record))
    for seconds, model in ((99.5, "large"), (1.5, "small")):
        waiting = study.cells("hard", model=model)[0]
        state = state_of(study, [slow, quick, waiting])
        assert state.seconds_left == pytest.approx(seconds)


def test_nothing_is_guessed_before_a_cell_has_finished(study: FakeStudy) -> None:
    claim(study, study.plan.cells[0])
    state = state_of(study, study.plan.cells)
    assert state.seconds_left is None and state.eta_seconds is None


def test_finished_cell_is_done_though_its_claim_or_failure_is_left(study: FakeStudy) -> None:
    cell = study.plan.cells[0]
    study.finish([cell])
    claim(study, cell)
    study.storage.write_bytes(layout.failure(cell.id), b'{"reason": "old"}')
    state = state_of(study, [cell])
    assert set(state.done) == {cell.id} and not state.running and not state.failed


def test_failed_cell_that_is_tried_again_is_running(study: FakeStudy) -> None:
    cell = study.plan.cells[0]
    study.fail_cell(cell)
    claim(study, cell)
    state = state_of(study, [cell])
    assert len(state.running) == 1 and not state.failed


def test_claim_of_a_dead_process_of_this_machine_does_not_count(study: FakeStudy) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    alive, dead = study.plan.cells[:2]
    claim(study, alive, **this_process().model_dump())
    claim(study, dead, **this_process().model_dump() | {"pid": ended.pid})
    state = state_of(study, [alive, dead])
    assert [cell.planned for cell in state.running] == [alive]
    assert list(state.waiting) == [dead]


@pytest.mark.parametrize("ago", [STALE_S - 10, STALE_S + 10, None])
def test_cells_of_a_sweep_that_gives_no_sign_are_lost_and_wait(
    study: FakeStudy, ago: float | None
) -> None:
    """None: the lock was taken away."""
    cells = mixed(study)
    study.fail_cell(cells[3], "CUDA out of memory")
    if ago is None:
        study.storage.delete(layout.LOCK)
    else:
        sweep_gave_a_sign(study, ago)
    state = state_of(study, cells)
    assert state.num_cells == len(cells)
    if ago is not None and ago < STALE_S:
        assert state.is_at_work and not state.lost and state.eta_seconds is not None
        assert [cell.planned for cell in state.running] == list(cells[2:4])
    else:
        assert not state.is_at_work and not state.running and state.eta_seconds is None
        assert list(state.lost) == [cells[2]] and cells[2] in state.waiting
        assert cells[3] in [cell.planned for cell in state.failed]


def test_a_cell_in_hand_is_seen_to_run_and_the_seconds_of_a_failed_one_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep hands its workers what its lock says, and they put it into their signs."""
    small, out = SmallStudy(folder=tmp_path / "study"), tmp_path / "runs"
    run_blocks, seen = InProcessExecutor.run_blocks, []

    def fail(inputs: CellInputs, base: Base) -> CellResult:
        storage, name = open_run(str(out / "small"))
        state = read_run_state(storage, plan_units(read_plan(storage, name)))
        seen.append((len(state.running), len(state.lost), state.is_at_work))
        raise RuntimeError("enough")

    def failing(self: InProcessExecutor, blocks: Any, run_context: RunContext) -> Any:
        return run_blocks(self, blocks, replace(run_context, run_cell=fail))

    monkeypatch.setattr(InProcessExecutor, "run_blocks", failing)
    assert sweep_main([*small.arguments, "--out", str(out), "--address", "in-process"]) == 1
    assert seen == [(1, 0, True)] * small.num_cells
    storage, name = open_run(str(out / "small"))
    state = read_run_state(storage, plan_units(read_plan(storage, name)))
    assert len(state.failed) == small.num_cells and state.heartbeat is None
    assert all(cell.failure.seconds > 0 for cell in state.failed)
    assert state.cell_seconds == pytest.approx(sum(c.failure.seconds for c in state.failed))


def test_cells_of_a_killed_sweep_do_not_run_while_another_one_holds_the_folder(
    study: FakeStudy,
) -> None:
    of_killed, of_living = study.plan.cells[:2]
    claim(study, of_killed, token="killed")
    claim(study, of_living)
    state = state_of(study, study.plan.cells)
    assert [cell.planned for cell in state.running] == [of_living]
    assert list(state.lost) == [of_killed]


@pytest.mark.parametrize("seconds_off", [-300.0, -70.0, 70.0, 300.0])
@pytest.mark.parametrize("is_alive", [True, False])
def test_a_viewers_wrong_clock_makes_no_living_sweep_dead_and_no_dead_one_alive(
    study: FakeStudy, seconds_off: float, is_alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's clock is right; the sweep gave a sign just now, and its cell began 30 s ago."""
    monkeypatch.setattr(heartbeat, "is_own_disk", lambda storage: False)
    real = time.time()
    claim(study, study.plan.cells[0], started=real - 30.0)
    sweep_gave_a_sign(study, ago=0.0, now=real)
    ended = threading.Event()

    def beat() -> None:
        while is_alive and not ended.wait(0.05):
            os.utime(Path(study.storage.base) / layout.LOCK)

    thread = threading.Thread(target=beat)
    thread.start()
    state = state_of(study, study.plan.cells, now=real + seconds_off)
    ended.set()
    thread.join()
    assert state.is_at_work == is_alive and len(state.running) == is_alive
    for cell in state.running:
        assert 29.0 < cell.seconds < 31.0 + time.time() - real


def test_no_second_look_at_a_sign_that_is_hours_old(
    study: FakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "is_own_disk", lambda storage: False)
    monkeypatch.setattr(heartbeat, "_await_renewal", lambda *_: pytest.fail("it looked again"))
    sweep_gave_a_sign(study, ago=7200.0)
    assert not state_of(study, study.plan.cells).is_at_work


def test_text_says_that_no_sweep_is_at_work(
    study: FakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = mixed(study)
    run = f"{study.storage.root}/fake"
    sweep_gave_a_sign(study, STALE_S + 10, now=time.time())
    main([run])
    said = capsys.readouterr().out
    assert (
        f"waiting  {len(cells) - 4} (2 started by a process that has ended)" in said
        and "no sweep is running" in said
    )
    assert re.search(r"not running, last heartbeat 1:1\d ago", said), said
    main([run, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["lost"] == [cell.id for cell in cells[2:4]] and not said["sweep_is_at_work"]


def test_cell_that_runs_far_too_long_is_marked(study: FakeStudy) -> None:
    done, soon, late = study.plan.cells[:3]
    study.finish([done])
    claim(study, soon, started=NOW - 500)
    claim(study, late, started=NOW - 700)
    state = state_of(study, [done, soon, late])
    assert [cell.is_overdue for cell in state.running] == [False, True]


def test_the_summary_of_a_plan_has_its_queue(study: FakeStudy) -> None:
    summary = read_plan_summary(study.storage, "fake")
    assert (summary.version, summary.cost) == (study.plan.version, study.plan.cost)
    recipes = {id(cell.cell.recipe): cell.cell.recipe for cell in summary.cells}
    distinct = {recipe_text(cell.cell.recipe) for cell in study.plan.cells}
    assert len(recipes) == len(distinct) == 3, "equal recipes are one value"
    for short, cell in zip(
        (cell for unit in plan_units(summary) for cell in unit),
        (cell for unit in plan_units(study.plan) for cell in unit),
        strict=True,
    ):
        assert (short.id, short.label, short.arm_label) == (cell.id, cell.label, cell.arm_label)
        assert (short.model_name, short.base_key, short.flop) == (
            *(cell.model_name, cell.base_key, cell.flop),
        )


def test_the_status_of_a_study_with_a_probe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = fake_space(methods=(LinearProbe(n_train=8),), seeds=2)
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write()
    study.finish(study.plan.cells[:3])
    assert main([str(tmp_path / "fake")]) == OK
    assert "done     3 (21 %)" in capsys.readouterr().out


def test_unreadable_claim_and_invalid_record_leave_the_cell_waiting(study: FakeStudy) -> None:
    first, second = study.plan.cells[:2]
    study.storage.write_bytes(layout.running(first.id), b"{")
    study.storage.write_bytes(layout.record(second.id), b"{}")
    state = state_of(study, [first, second])
    assert list(state.waiting) == [first, second]


def test_the_highest_peaks_are_named(study: FakeStudy) -> None:
    state = read_run_state(study.storage, plan_units(study.plan))
    peaks = {f"model-{n}": n * 2**30 for n in range(1, 8)}
    ((_, text),) = _memory(replace(state, peak_memory_of=peaks), {"model-7": 8.0})
    assert text == (
        "at most model-7 7.0 GiB of 8.0 planned, model-6 6.0 GiB, model-5 5.0 GiB, "
        "model-4 4.0 GiB, less for 3 more"
    )


def test_text_says_all_of_it(study: FakeStudy, capsys: pytest.CaptureFixture[str]) -> None:
    cells = mixed(study)
    sweep_gave_a_sign(study, ago=0, now=time.time())
    assert main([f"{study.storage.root}/fake"]) == FAILED
    said = capsys.readouterr().out
    for wanted in (
        rf"{len(cells)}",
        "done     2 (",
        "running  2",
        f"waiting  {len(cells) - 6}",
        "failed   2",
        "0:04 of cells",
        "at most small 1.5 GiB",
        "node-2",
        "running, last heartbeat 0:00 ago",
        "2 x CUDA out of memory",
    ):
        assert wanted in said, said
    assert cells[4].id in said or cells[5].id in said


def test_json_holds_the_same(study: FakeStudy, capsys: pytest.CaptureFixture[str]) -> None:
    cells = mixed(study)
    sweep_gave_a_sign(study, ago=0, now=time.time())
    assert main([f"{study.storage.root}/fake", "--json"]) == FAILED
    said = json.loads(capsys.readouterr().out)
    assert (said["cells"], said["done"], said["waiting"]) == (len(cells), 2, len(cells) - 6)
    assert {row["cell"] for row in said["running"]} == {cell.id for cell in cells[2:4]}
    assert {row["reason"] for row in said["failed"]} == {"CUDA out of memory"}
    assert said["dollars"] is None and said["gpu_seconds"] == 0
    assert set(said["peak_memory"].values()) == {PEAK_MEMORY}
    assert said["last_sign_seconds"] < 60


def test_finished_study(study: FakeStudy, capsys: pytest.CaptureFixture[str]) -> None:
    study.finish()
    assert main([f"{study.storage.root}/fake/"]) == OK
    assert "all cells are done" in capsys.readouterr().out
    state = state_of(study, study.plan.cells)
    assert state.seconds_left == state.eta_seconds == 0.0


def on_gpus(
    study: FakeStudy, cell: PlannedCell, seconds: float, *, workers: int = 1, gpus: float = 1
) -> None:
    study.finish([cell])
    path = Path(study.storage.base) / layout.record(cell.id)
    record = json.loads(path.read_text())
    record["seconds"]["total"] = seconds
    record["execution"] |= {"device": "cuda", "workers": workers, "gpus_per_worker": gpus}
    path.write_text(json.dumps(record))


def priced(study: FakeStudy, **instances: str | None) -> None:
    """Writes the plan anew, with the node type of each base model."""
    bases = tuple(
        BaseCost(
            model=model,
            num_cells=1,
            flop=1.0,
            bytes_moved=None,
            memory_gib=None,
            instance=instance,
            workers=1,
            gpu_hours=None,
            worker_hours=None,
            on_demand=None,
            spot=None,
            measured_share=0.0,
        )
        for model, instance in instances.items()
    )
    cost = StudyCost(
        prices="",
        bases=bases,
        num_nodes=1,
        starts_on_demand=None,
        starts_spot=None,
        gpu_hours=None,
        on_demand=None,
        spot=None,
    )
    write_plan(study.storage, study.plan.model_copy(update={"cost": cost}))


def test_money_is_that_of_the_gpu_seconds_on_the_named_type(
    study: FakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: 1800 s on two of four GPUs at 5.672 $ an hour, whatever the plan says."""
    on_gpus(study, study.plan.cells[0], 1800.0, workers=2)
    priced(study, small="g5.2xlarge")
    run = f"{study.storage.root}/fake"
    assert main([run, "--json", "--instance", "g5.12xlarge"]) == OK
    dollars = json.loads(capsys.readouterr().out)["dollars"]
    assert dollars["on_demand"] == pytest.approx(0.5 * 2 / 4 * 5.672)
    assert main([run, "--instance", "none.large"]) == BAD_INPUT
    assert "no price" in capsys.readouterr().err
    assert main([run, "--prices", "prices.toml"]) == BAD_INPUT


def test_a_worker_that_shared_a_gpu_is_counted_by_its_fraction(
    study: FakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    on_gpus(study, study.plan.cells[0], 1800.0, gpus=0.25)
    assert main([f"{study.storage.root}/fake", "--json"]) == OK
    assert json.loads(capsys.readouterr().out)["gpu_seconds"] == 450


def test_money_is_by_default_that_of_each_models_node_type_and_of_failed_cells_too(
    study: FakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: an hour and a failed half hour on a g5.12xlarge (4 GPUs, 5.672 $), an hour of the
    other model on a g5.2xlarge (1.212 $)."""
    small, failed = study.cells("easy", model="small")[:2]
    large = study.cells("easy", model="large")[0]
    on_gpus(study, small, 3600.0)
    on_gpus(study, large, 3600.0)
    write_failure(study.storage, failed.id, reason="x", details="", seconds=1800.0, gpus=2)
    run = f"{study.storage.root}/fake"
    priced(study, small="g5.12xlarge", large="g5.2xlarge")
    main([run, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (said["gpu_seconds"], said["cell_seconds"]) == (3 * 3600.0, 2.5 * 3600.0)
    assert said["dollars"]["on_demand"] == pytest.approx((1 + 0.5 * 2) / 4 * 5.672 + 1.212)
    assert said["models_without_price"] == []
    priced(study, small="g5.12xlarge", large=None)
    main([run])
    said_text = capsys.readouterr().out
    assert "($2.84 on-demand) on g5.12xlarge; unknown price: large" in said_text


def test_run_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in (str(tmp_path / "none"), "..", "s3://bucket"):
        assert main([run]) == BAD_INPUT
        assert capsys.readouterr().err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_run_is_split_into_run_folder_and_study(tmp_path: Path) -> None:
    storage, space = open_run(f"{tmp_path}/runs/micro/")
    assert (storage.root, space) == (f"{tmp_path}/runs", "micro")
    storage, space = open_run("s3://bucket/runs/micro/?region=eu-west-1")
    assert (storage.root, space) == ("s3://bucket/runs?region=eu-west-1", "micro")
    assert storage.base == "bucket/runs"
