"""The memory of this machine is what its container or batch job may use."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainables.cluster import machine_memory
from trainables.cluster.machine_memory import this_machine

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine_memory, "OWN_CGROUPS", tmp_path / "own")
    pages = {"SC_PHYS_PAGES": 64 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)


def limit(folder: Path, own: str, file: str, text: str) -> None:
    (folder / "own").write_text(own)
    path = folder / "cgroup" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("own", "file", "text", "expected"),
    [
        ("0::/\n", "memory.max", f"{8 * GIB}\n", 8),
        ("0::/\n", "memory.max", "max\n", 64),
        ("0::/job/step\n", "job/memory.max", f"{16 * GIB}\n", 16),
        ("0::/job\n", "job/memory.max", f"{128 * GIB}\n", 64),
        ("1:cpu:/\n4:memory:/job\n", "memory/job/memory.limit_in_bytes", f"{4 * GIB}\n", 4),
        ("1:cpu:/job\n", "memory/job/memory.limit_in_bytes", f"{4 * GIB}\n", 64),
    ],
)
def test_the_tightest_limit_counts(
    tmp_path: Path, own: str, file: str, text: str, expected: int
) -> None:
    limit(tmp_path, own, file, text)
    assert this_machine(with_gpus=False).memory == expected * GIB


def test_a_system_without_control_groups_has_all_of_its_memory() -> None:
    found = this_machine(with_gpus=False)
    assert found.memory == 64 * GIB and not found.num_gpus


def test_the_smallest_gpu_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [80 * GIB, 24 * GIB]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(sizes))
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(total_memory=sizes[index]),
    )
    found = this_machine(with_gpus=True)
    assert found.num_gpus == 2 and found.gpu_memory == 24 * GIB
