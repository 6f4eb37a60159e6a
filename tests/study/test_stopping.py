"""Ctrl-C, SIGTERM and a closed terminal: what is in hand is kept, and the run folder is free.

On Ray: test_sweep_ray.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from search_spaces.registry import find_space
from study import status
from study.cli.command import OK
from study.planning.planner import make_plan
from study.sweep import main
from tests.support.fault_study import FaultStudy
from tests.support.small_study import scores_of
from tests.support.workers import worker_of
from trainables import stop_signals
from trainables.methods.training.resume import TrainingProgress
from trainables.storage import layout
from trainables.storage.filesystem import open_storage
from trainables.storage.records import Record, read_record

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

STOPPED_AFTER = 3
"""Updates of the first training."""


def arguments_of(folder: Path) -> list[str]:
    study = FaultStudy(folder=folder, epochs=6)
    return [*study.arguments, "--out", str(folder / "runs"), "--address", "in-process"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main(arguments_of(folder)) == OK
    return folder / "runs"


@pytest.fixture(scope="module")
def expected(undisturbed: Path) -> Mapping[str, bytes]:
    """The scores of the study when it runs undisturbed."""
    return scores_of(undisturbed)


def records_of(out: Path) -> Mapping[str, Record]:
    storage = open_storage(str(out))
    return {id_: read_record(storage, id_) for id_ in scores_of(out)}


def signal_in_the_first_training(signum: int, patch: pytest.MonkeyPatch) -> None:
    real, waits = TrainingProgress.done, [True]

    def done(self: TrainingProgress, row: Mapping[str, float], *, counts: bool = True) -> None:
        if waits and self.num_done == STOPPED_AFTER - 1:
            waits.clear()
            os.kill(os.getpid(), signum)
        real(self, row, counts=counts)

    patch.setattr(TrainingProgress, "done", done)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_training_leaves_a_checkpoint_that_the_next_run_goes_on_from(
    signum: int,
    tmp_path: Path,
    expected: Mapping[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments, out = arguments_of(tmp_path), tmp_path / "runs"
    before = {each: signal.getsignal(each) for each in SIGNALS}
    with monkeypatch.context() as patch:
        signal_in_the_first_training(signum, patch)
        assert main(arguments) == SIGNALS[signal.Signals(signum)]
    said = capfd.readouterr()
    assert "to end or to write a checkpoint" in said.err
    assert "continues from here" in said.out
    assert {each: signal.getsignal(each) for each in SIGNALS} == before
    (kept,) = out.glob("checkpoints/*/progress.json")
    assert json.loads(kept.read_text())["update"] == STOPPED_AFTER
    assert kept.parent.name not in scores_of(out), "it has not ended"
    assert not (out / layout.LOCK).exists() and not (out / layout.RUNNING).exists()
    assert status.main([str(out / "small"), "--json"]) == OK
    found = json.loads(capfd.readouterr().out)
    assert found["lost"] == [] and found["waiting"] == len(expected) - len(scores_of(out))
    assert main(arguments) == OK
    assert scores_of(out) == expected


def test_a_resumed_cell_counts_the_time_and_the_tokens_of_both_processes(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, out = arguments_of(tmp_path), tmp_path / "runs"
    with monkeypatch.context() as patch:
        signal_in_the_first_training(signal.SIGTERM, patch)
        main(arguments)
    (kept,) = out.glob("checkpoints/*/progress.json")
    progress = json.loads(kept.read_text())
    assert progress["tokens"] > 0 and 0.0 < progress["seconds"] < 100.0
    kept.write_text(json.dumps({**progress, "seconds": 1000.0}))
    assert main(arguments) == OK
    resumed, alone = (records_of(each)[kept.parent.name] for each in (out, undisturbed))
    assert resumed.tokens is not None and alone.tokens is not None
    # What a process reads before its training, it reads again.
    assert alone.tokens <= resumed.tokens < alone.tokens + progress["tokens"] / 2
    assert 1000.0 < resumed.seconds["run"] < 1100.0
    total = resumed.seconds["load"] + resumed.seconds["run"]
    assert resumed.seconds["total"] == pytest.approx(total)


def test_no_further_cell_is_begun_after_a_signal(
    tmp_path: Path, expected: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes within a cell without a training: that one ends and has its record."""
    from trainables.cells import runner

    real = runner.write_record

    def write_record(*arguments: object, **options: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **options)  # type: ignore[arg-type]

    arguments, out = arguments_of(tmp_path), tmp_path / "runs"
    with monkeypatch.context() as patch:
        patch.setattr(runner, "write_record", write_record)
        assert main(arguments) == SIGNALS[signal.SIGTERM]
    assert len(scores_of(out)) == 1
    assert scores_of(out).items() <= expected.items()


def test_a_worker_that_is_told_to_stop_leaves_no_claim(
    tmp_path: Path, expected: Mapping[str, bytes]
) -> None:
    """On Ray the driver waits until no worker has a cell in hand."""
    study, out = FaultStudy(folder=tmp_path, epochs=6), tmp_path / "runs"
    plan, inputs = make_plan(find_space(study.arguments[0]), tmp_path / "data")
    asked: list[None] = []

    def must_stop() -> bool:
        asked.append(None)
        return len(asked) > len(plan.cells)  # in a training, which asks after every update

    worker = worker_of(inputs, out, must_stop=must_stop)
    worker.run([plan.cells], [0])
    assert not list((out / layout.RUNNING).iterdir())
    assert list(out.glob("checkpoints/*/progress.json"))
    assert scores_of(out).items() < expected.items()


def test_a_cell_that_does_neither_end_nor_checkpoint_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stop_signals, "GRACE_S", 0.1)
    with (
        pytest.raises(KeyboardInterrupt),
        stop_signals.signals_handled(),
        stop_signals.cells_stop_first(),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop_signals.is_asked(), "the first signal interrupts nothing"
        time.sleep(60)
    assert not stop_signals.is_asked()


SLOW = """
import os, signal, time
from trainables import stop_signals

{before}
with stop_signals.signals_handled(), stop_signals.cells_stop_first():
    for signum in {signals}:
        os.kill(os.getpid(), signum)
        time.sleep(0.01)
    print("still here", flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("before", "signals", "exit_status"),
    [
        ("", [signal.SIGTERM, signal.SIGTERM], 143),
        ("", [signal.SIGINT, signal.SIGTERM], 130),
        ("", [signal.SIGHUP, signal.SIGHUP], 0),  # of one terminal that closes
        ("signal.signal(signal.SIGHUP, signal.SIG_IGN)", [signal.SIGHUP, signal.SIGTERM], 0),
    ],
)
def test_a_second_signal_stops_at_once(
    before: str, signals: list[signal.Signals], exit_status: int
) -> None:
    script = SLOW.format(before=before, signals=[int(each) for each in signals])
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == exit_status, ended.stderr
    assert ("still here" in ended.stdout) == (exit_status == 0)
