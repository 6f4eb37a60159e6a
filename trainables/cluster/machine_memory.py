"""The memory of this machine and of its GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A machine that workers run on."""

    name: str = "this machine"
    memory: float
    """CPU memory in bytes."""
    num_gpus: int = 0
    gpu_memory: float = 0.0
    """Of its smallest GPU, in bytes."""


def this_machine(*, with_gpus: bool) -> Machine:
    """Returns this machine, as far as its container or batch job may use it.

    Args:
        with_gpus: Whether to ask for its GPUs, which loads torch.
    """
    memory = min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_cgroup_limits())
    if not with_gpus:
        return Machine(memory=memory)
    import torch

    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    sizes = [float(device.total_memory) for device in devices]
    return Machine(memory=memory, num_gpus=len(sizes), gpu_memory=min(sizes, default=0.0))


def _cgroup_limits() -> Iterator[float]:
    """Yields the limits of this process's control groups and of those around them.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html.
    """
    yield float("inf")
    lines = OWN_CGROUPS.read_text().splitlines() if OWN_CGROUPS.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root, name = CGROUPS, "memory.max"
        if controllers:
            root, name = CGROUPS / "memory", "memory.limit_in_bytes"
            if "memory" not in controllers.split(","):
                continue
        folder = root / path.lstrip("/")
        for each in (folder, *folder.parents):
            limit = each / name
            text = limit.read_text().strip() if limit.is_file() else "max"
            if text.isdigit():
                yield float(text)
