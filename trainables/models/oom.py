"""Out-of-memory retry: work that fails is repeated from its start with batches half as large."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

LEAST_SHARE = 1 / 64
"""Least share of the usual batch: there a batch has one or two rows."""

CPU_MESSAGE = "DefaultCPUAllocator: can't allocate memory"
"""Message of torch's RuntimeError when a CPU runs out of memory."""

MESSAGES = (
    CPU_MESSAGE,
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "HIP error: out of memory",
    "STATUS_ALLOC_FAILED",
    "cublasLt ran into an error",
)
"""Messages of RuntimeErrors for memory that runs out outside torch's allocator, which has its own
error class: in the driver, in cuBLAS, cuDNN or cuSOLVER (`CUBLAS_STATUS_ALLOC_FAILED`), and in the
int8 product of bitsandbytes. The last one also stands for faults that a smaller batch does not
cure; they are raised after all attempts."""

CONTEXT_BYTES = 2**30
"""GPU memory outside torch's allocator: CUDA's context and the libraries' workspaces."""

Result = TypeVar("Result")


def limit_gpu_memory(gpus_per_worker: float) -> None:
    """Limits this process to its fraction of the GPU's memory, where it shares a GPU.

    Whether a cell runs out of memory, and halves its batches, then never depends on its neighbours.
    """
    if 0 < gpus_per_worker < 1:
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(
            max(0.0, gpus_per_worker - CONTEXT_BYTES / total)
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error means that the device ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(message in text for message in MESSAGES)


def find_executable_batch_size(
    work: Callable[[float], Result], share: float, device: torch.device
) -> tuple[Result, float]:
    """Returns the result of the work, and the share of the usual batch that fits.

    Args:
        work: Called with a share of the usual batch, in (0, 1]; it must be repeatable.
        share: Of the first attempt.
        device: Its cached memory is freed between attempts.

    Raises:
        RuntimeError: Another error of the work, or out of memory at the least share.
    """
    while True:
        try:
            return work(share), share
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or share / 2 < LEAST_SHARE:
                raise
        # Outside the handler, because the error's traceback holds tensors of the failed attempt.
        share /= 2
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def halved_note(share: float) -> str:
    """Returns the record's note on work with this share of the usual batch."""
    return f"memory ran out: run again with batches of {share:g} of the usual tokens (class B)"
