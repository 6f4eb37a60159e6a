"""The peak memory of a record covers its own cell alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from trainables.cells import peak_memory
from trainables.cells.peak_memory import start_measuring

MIB = 2**20
LARGE, SMALL = 300 * MIB, 50 * MIB


def use(number: int) -> None:
    torch.ones(number, dtype=torch.uint8)  # written, so that its pages are resident


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets the peak")
def test_a_small_cell_after_a_large_one_has_a_small_peak() -> None:
    start_measuring("cpu")
    before = start_measuring("cpu")()
    large = start_measuring("cpu")
    use(LARGE)
    assert 0.9 * LARGE < large() - before < 1.5 * LARGE
    small = start_measuring("cpu")
    use(SMALL)
    assert 0.9 * SMALL < small() - before < LARGE / 2


def test_a_kernel_that_cannot_reset_the_peak_gives_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_memory, "CLEAR_REFS", tmp_path / "no folder" / "clear_refs")
    measured = start_measuring("cpu")
    use(LARGE)
    assert measured() > LARGE


def test_a_gpu_cell_has_the_peak_of_its_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = {"cuda": 7 * MIB}
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.update(cuda=0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peaks[device])
    measured = start_measuring("cuda")
    assert measured() == 0, "an earlier cell's peak does not count"
    peaks["cuda"] = 3 * MIB
    assert measured() == 3 * MIB
