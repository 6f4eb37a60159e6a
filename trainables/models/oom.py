"""Running out of memory: the work is done again from its start, in batches half as large."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

LEAST_SHARE = 1 / 64
"""Of the usual batch: below it a batch is a row or two, and less does not help."""

CPU_MESSAGE = "DefaultCPUAllocator: can't allocate memory"
"""What torch's plain RuntimeError says where a CPU's memory is spent."""

MESSAGES = (
    CPU_MESSAGE,
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "HIP error: out of memory",
    "STATUS_ALLOC_FAILED",
    "cublasLt ran into an error",
)
"""What a RuntimeError says where memory is spent outside of torch's own allocator, which has an
error of its own: by the driver, by cuBLAS, cuDNN or cuSOLVER (`CUBLAS_STATUS_ALLOC_FAILED`), and by
the int8 product of bitsandbytes. The last says it of other faults too, which a smaller batch does
not mend: they are raised after the tries."""

CONTEXT_BYTES = 2**30
"""Of a GPU, outside of torch's allocator: CUDA's context and the libraries' workspaces."""

Result = TypeVar("Result")


def limit_gpu_memory(gpus_per_worker: float) -> None:
    """Limits this process to its fraction of the GPU's memory, where it shares a GPU.

    So whether a cell runs out of memory, and halves its batches, never depends on its neighbours.
    """
    if 0 < gpus_per_worker < 1:
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(
            max(0.0, gpus_per_worker - CONTEXT_BYTES / total)
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Says whether an error means that the device's memory was spent."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(message in text for message in MESSAGES)


def find_executable_batch_size(
    work: Callable[[float], Result], share: float, device: torch.device
) -> tuple[Result, float]:
    """Returns what the work gives, and the share of the usual batch that it took.

    Args:
        work: Takes a share of the usual batch, in (0, 1]; must be able to start again.
        share: To begin with.
        device: Whose cached memory is given back between two tries.

    Raises:
        RuntimeError: What the work raised, if it is of another kind or the share is at its least.
    """
    while True:
        try:
            return work(share), share
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or share / 2 < LEAST_SHARE:
                raise
        # Outside of the handler: the error's traceback holds the tensors of the failed try.
        share /= 2
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def halved_note(share: float) -> str:
    """Returns what a record says of work that took this share of the usual batch."""
    return f"memory ran out: run again with batches of {share:g} of the usual tokens (class B)"
