"""Settings of a process that computes on CPUs."""

from __future__ import annotations

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's numbers of its settings (malloc.h)."""

KEPT_BYTES = 256 * 2**20
"""Freed memory that a process keeps for the next tensors."""

HEAP_BYTES = 32 * 2**20
"""Tensors up to this size come from the kept memory. glibc itself goes no higher."""


def set_up_cpu(threads: int) -> None:
    """Sets the threads of torch's operations, and keeps freed memory for the next tensors.

    By default glibc may return freed memory to the system, which clears each page before it hands
    it out again: that took 5 to 30 % of a scoring pass of micro-l. The setting changes no result.
    Other C libraries keep their own rules.
    """
    torch.set_num_threads(threads)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, HEAP_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
