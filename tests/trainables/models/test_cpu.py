"""Settings of a process that computes on CPUs."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest
import torch

from trainables.models.cpu import HEAP_BYTES, KEPT_BYTES, set_up_cpu


@pytest.fixture(autouse=True)
def threads_kept() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_glibc_accepts_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    libc, accepted = ctypes.CDLL(None), {}

    def mallopt(number: int, value: int) -> int:
        accepted[number] = (value, libc.mallopt(number, value))
        return accepted[number][1]

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    set_up_cpu(2)
    assert torch.get_num_threads() == 2
    # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h; mallopt returns 1 where it succeeds.
    assert accepted == {-1: (KEPT_BYTES, 1), -3: (HEAP_BYTES, 1)}


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    set_up_cpu(1)
    assert torch.get_num_threads() == 1
