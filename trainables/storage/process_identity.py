"""Which kind of machine this is, and which process on which machine: for records and signs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def host_kind() -> str:
    """Returns what kind of processor this is: equal kinds give equal bytes."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def this_process() -> dict[str, str | int]:
    """Returns what tells this process from all others, as signs in the run folder carry it.

    A host's name alone does not: containers share one, and each numbers its processes anew.
    """
    return {"host": platform.node(), "pid": os.getpid(), **_numbering()}


def has_ended(process: Mapping[str, Any]) -> bool:
    """Says whether a process is known to be gone.

    Of another machine's nothing is known, nor of another container's or of before the last boot.

    Args:
        process: What `this_process` gave there, perhaps among other things.
    """
    here: Mapping[str, str | int] = {"host": platform.node(), **_numbering()}
    if any(process.get(name) != value for name, value in here.items()):
        return False
    try:
        os.kill(int(process["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError, KeyError, TypeError, ValueError):
        return False
    return False


@cache
def _numbering() -> Mapping[str, str]:
    """Returns the names of the boot and of the namespace within which processes have numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux: there are no such containers
        return {"boot": "", "pid_namespace": ""}
    return {"boot": boot, "pid_namespace": namespace}
