"""Where DeepSpeed's compiled part is kept, and a lock that nobody holds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from trainables.distributed.deepspeed_config import LONGEST_BUILD_S, build_folders, prepare_process


@pytest.mark.parametrize(
    ("age", "stays"), [(LONGEST_BUILD_S - 60, True), (LONGEST_BUILD_S + 60, False)]
)
def test_a_lock_of_a_build_that_was_killed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, stays: bool
) -> None:
    """torch waits without end for a lock that a killed process left behind."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    for name in ("DS_ACCELERATOR", "LOCAL_RANK", "PATH"):
        monkeypatch.setenv(name, os.environ.get(name, "0"))
    (folder,) = build_folders()
    folder.mkdir()
    lock = folder / "lock"
    lock.touch()
    then = time.time() - age
    os.utime(lock, (then, then))
    prepare_process(on_gpu=True)
    assert lock.exists() == stays


def test_without_a_build_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert build_folders() == []
    prepare_process(on_gpu=True)
