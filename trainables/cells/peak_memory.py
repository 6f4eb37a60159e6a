"""Peak memory of one cell, for its record: the plan's estimate is compared with it."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")

RESET_PEAK = "5"
"""Written to `clear_refs`, it sets the kernel's peak (VmHWM) to the memory resident now; see
https://docs.kernel.org/filesystems/proc.html."""

KIB = 1024


def start_measuring(device: str) -> Callable[[], int]:
    """Starts a measurement; returns a function that returns the peak since then, in bytes.

    On a GPU it is the peak of torch's allocator, without CUDA's context. On a CPU it is the peak
    resident set of the whole process: Python and its libraries, the base model, and whatever else
    the process holds (with `--address in-process`, the driver's plan too). The kernel keeps this
    peak exactly, and resetting it costs microseconds; sampling in a thread would miss short peaks.
    Where the kernel cannot reset it (not Linux), it is the peak since the process started.

    Args:
        device: `cpu`, or a CUDA device as torch names it.
    """
    if device.startswith("cuda"):
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: int(torch.cuda.max_memory_allocated(device))
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:
        return _peak_since_start
    return _peak_since_reset


def _peak_since_reset() -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return KIB * int(found[1]) if found else _peak_since_start()


def _peak_since_start() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else KIB * peak
