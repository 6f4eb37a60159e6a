"""Kind of machine for records; identity of a process on its machine for locks and claims."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class ProcessIdentity(BaseModel):
    """Distinguishes a process from all others; locks and claims carry it.

    A host name alone is ambiguous: containers share one, and each has its own process numbers.
    """

    model_config = ConfigDict(frozen=True)

    host: str = ""
    pid: int = 0
    boot: str = ""
    """Identifies the boot; process numbers start again after each."""
    pid_namespace: str = ""
    """Identifies the container; each has its own process numbers."""


@cache
def host_kind() -> str:
    """Returns the processor model: equal models give equal bytes."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def this_process() -> ProcessIdentity:
    """Returns the identity of the current process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux: there are no such containers
        boot = namespace = ""
    return ProcessIdentity(
        host=platform.node(), pid=os.getpid(), boot=boot, pid_namespace=namespace
    )


def has_ended(process: ProcessIdentity) -> bool:
    """Returns whether a process is known to have ended.

    False for processes of other machines, of other containers and of earlier boots.
    """
    here = this_process()
    if (process.host, process.boot, process.pid_namespace) != (
        here.host,
        here.boot,
        here.pid_namespace,
    ):
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
