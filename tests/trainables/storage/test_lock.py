"""Two sweeps on one run folder: the second is refused, and the lock of a dead one is taken over."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from study import sweep
from tests.support.small_study import SmallStudy
from trainables.errors import LockLostError, RunFolderInUseError
from trainables.storage import heartbeat, layout, lock
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.heartbeat import STALE_S
from trainables.storage.lock import held
from trainables.storage.process_identity import ProcessIdentity, has_ended, this_process


def sign(out: Path, age: float = 0.0, **word: object) -> None:
    """Writes the lock of another sweep, `age` seconds ago."""
    known = {"token": "other", **this_process().model_dump(), "time": time.time()}
    out.mkdir(exist_ok=True)
    (out / layout.LOCK).write_text(json.dumps(known | word))
    os.utime(out / layout.LOCK, (time.time() - age,) * 2)


class FullFile(io.FileIO):
    """A new file on a disk that is full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")

    def write(self, content: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def token_in(out: Path) -> object:
    return json.loads((out / layout.LOCK).read_text())["token"]


def test_the_second_holder_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    with held(storage):
        with (
            pytest.raises(RunFolderInUseError, match=rf"process {os.getpid()}.*another --out"),
            held(storage),
        ):
            pass
        assert (tmp_path / layout.LOCK).exists(), "who was refused does not take the lock away"
    assert not (tmp_path / layout.LOCK).exists()
    with held(storage):
        pass


def test_a_lock_whose_process_is_gone_is_taken_over(tmp_path: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    sign(tmp_path, pid=int(gone.stdout))
    with held(open_storage(str(tmp_path))):
        assert json.loads((tmp_path / layout.LOCK).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("other", [{"pid_namespace": "pid:[1]"}, {"boot": "another"}])
def test_a_process_of_another_container_with_this_hosts_name_may_live(
    tmp_path: Path, other: dict[str, str]
) -> None:
    """Its number means another process here, or none; only the age of its sign is known."""
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    sign(tmp_path, pid=int(gone.stdout), **other)
    with pytest.raises(RunFolderInUseError), held(open_storage(str(tmp_path))):
        pass


def test_an_identity_names_the_boot_and_the_namespace_of_the_process() -> None:
    known = this_process()
    assert known.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert known.pid_namespace == os.readlink("/proc/self/ns/pid")
    assert not has_ended(known)
    assert not has_ended(ProcessIdentity())


def test_a_lock_that_cannot_be_read_is_judged_by_its_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LONG_SETTLE_BEATS", 0.0)
    monkeypatch.setattr(lock, "SETTLE_S", 0.0)
    (tmp_path / layout.LOCK).write_text("{half")
    with pytest.raises(RunFolderInUseError, match="host unknown"):
        held(open_storage(str(tmp_path))).__enter__()
    os.utime(tmp_path / layout.LOCK, (time.time() - STALE_S - 5,) * 2)
    with held(open_storage(str(tmp_path))):
        pass


@pytest.mark.parametrize(("age", "is_free"), [(STALE_S + 5, True), (STALE_S - 30, False)])
def test_a_lock_of_another_host_is_judged_by_its_last_sign(
    tmp_path: Path, age: float, is_free: bool
) -> None:
    sign(tmp_path, age, host="elsewhere", pid=1)
    storage = open_storage(str(tmp_path))
    if is_free:
        with held(storage):
            pass
    else:
        with pytest.raises(RunFolderInUseError, match="host elsewhere"), held(storage):
            pass


@pytest.mark.parametrize("seconds_off", [-3600, 3600])
def test_a_wrong_clock_of_the_other_host_changes_nothing(
    tmp_path: Path, seconds_off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LONG_SETTLE_BEATS", 0.0)
    monkeypatch.setattr(lock, "SETTLE_S", 0.0)
    storage = open_storage(str(tmp_path))
    sign(tmp_path, host="elsewhere", pid=1, time=time.time() + seconds_off)
    with pytest.raises(RunFolderInUseError, match="last heartbeat 0 s ago"), held(storage):
        pass
    sign(tmp_path, STALE_S + 5, host="elsewhere", pid=1, time=time.time() + seconds_off)
    with held(storage):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_slow_taker_does_not_displace_the_one_that_took_over_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see a dead sweep's lock; the word of one is on its way until the other one holds."""
    monkeypatch.setattr(lock, "SETTLE_S", 0.0)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.2)
    sign(tmp_path, STALE_S + 5, host="elsewhere", pid=1)
    is_on_its_way, may_go_on = threading.Event(), threading.Event()
    write = Storage.write_bytes
    slow: list[str] = []

    def wait(self: Storage, key: str, content: bytes) -> None:
        is_slow = threading.current_thread() is not threading.main_thread()
        if is_slow and key == layout.LOCK and not may_go_on.is_set():
            is_on_its_way.set()
            may_go_on.wait(30)
        write(self, key, content)

    def take() -> None:
        try:
            with held(open_storage(str(tmp_path))):
                slow.append("held")
        except RunFolderInUseError:
            slow.append("refused")

    monkeypatch.setattr(Storage, "write_bytes", wait)
    thread = threading.Thread(target=take)
    thread.start()
    assert is_on_its_way.wait(30)
    quick = []
    try:
        with held(open_storage(str(tmp_path))):
            quick.append("held")
            may_go_on.set()
            thread.join()
    except RunFolderInUseError:
        may_go_on.set()
        thread.join()
    assert [*quick, *slow].count("held") == 1


def test_a_live_holder_is_not_displaced_by_a_sweep_whose_clock_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shared disk: by the second sweep's clock the lock is an hour old."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(lock, "SETTLE_S", 0.0)
    monkeypatch.setattr(lock, "is_own_disk", lambda storage: False)
    storage = open_storage(str(tmp_path))
    with held(storage):
        mine = token_in(tmp_path)
        identity = this_process().model_copy(update={"host": "elsewhere"})
        monkeypatch.setattr(lock, "has_ended", lambda process: False)
        monkeypatch.setattr(lock, "this_process", lambda: identity)
        monkeypatch.setattr(lock, "_age", lambda storage: 3600.0)
        with pytest.raises(RunFolderInUseError), held(storage):
            pass
        assert token_in(tmp_path) == mine


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_displaced_holder_is_interrupted_and_leaves_the_lock_alone(
    tmp_path: Path, is_removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.05)
    with (
        pytest.raises(LockLostError, match="has taken over"),
        held(open_storage(str(tmp_path))),
    ):
        if is_removed:
            (tmp_path / layout.LOCK).unlink()
        else:
            sign(tmp_path, host="elsewhere", settled=True)
        time.sleep(30)
        pytest.fail("it went on")
    if is_removed:
        assert not (tmp_path / layout.LOCK).exists()
    else:
        assert token_in(tmp_path) == "other"


def test_a_living_holder_answers_one_who_is_about_to_take_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.05)
    with held(open_storage(str(tmp_path))):
        mine = token_in(tmp_path)
        sign(tmp_path, host="elsewhere", settled=False)
        deadline = time.monotonic() + 30
        while token_in(tmp_path) != mine:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_file_is_created_only_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(str(tmp_path / "new"))
    storage.create_bytes("a/b", b"one")
    with pytest.raises(FileExistsError):
        storage.create_bytes("a/b", b"two")
    assert storage.read_bytes("a/b") == b"one"
    monkeypatch.setattr(Path, "open", lambda self, mode: FullFile(self))
    with pytest.raises(OSError, match="No space left"):
        storage.create_bytes("a/c", b"one")
    assert not storage.exists("a/c"), "no half-written lock is left"


def test_a_sweep_that_loses_its_lock_stops_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object, **options: object) -> int:
        sign(tmp_path / "runs", host="elsewhere", settled=True)
        time.sleep(30)
        return 0

    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(sweep, "run_study", run)
    study = SmallStudy(folder=tmp_path / "study")
    before = signal.getsignal(signal.SIGINT)
    try:
        status = sweep.main([*study.arguments, "--out", str(tmp_path / "runs")])
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 1
    assert "This sweep has stopped; finished cells are kept" in capsys.readouterr().err


def test_a_sweep_on_a_folder_in_use_exits_with_2_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = SmallStudy(folder=tmp_path / "study"), tmp_path / "runs"
    sign(out)
    assert sweep.main([*study.arguments, "--out", str(out), "--address", "in-process"]) == 2
    assert "in use by another sweep" in capsys.readouterr().err
    assert not (out / "cells").exists()
