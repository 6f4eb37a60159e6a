"""Tokens that a cell read and how busy its GPU was, for its record."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from trainables.models.loading import Base
from trainables.storage.checkpoints import Usage

SAMPLE_INTERVAL_S = 1.0


@dataclass(slots=True)
class GpuUtilisation:
    """How busy the GPU was in this process."""

    samples: list[float] = field(default_factory=list)
    """A share in [0, 1], once a second; empty on a CPU."""

    @property
    def mean(self) -> float | None:
        """Mean share of the time that a kernel ran on the GPU; None: not known."""
        return sum(self.samples) / len(self.samples) if self.samples else None


@contextmanager
def measure_usage(base: Base, usage: Usage) -> Iterator[GpuUtilisation]:
    """Measures the body; a GPU that other processes use counts their work too.

    Every forward pass embeds its tokens, whatever adapters or engines wrap the model, so they are
    counted there. Utilisation comes from NVIDIA's management library through torch.

    Args:
        base: The base model of the cell.
        usage: The tokens are added to it.
    """
    gpu, stop = GpuUtilisation(), threading.Event()

    def count(_: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        usage.tokens += inputs[0].numel()

    hook = base.model.get_input_embeddings().register_forward_pre_hook(count)
    thread = threading.Thread(target=_sample, args=(base.device, gpu, stop), daemon=True)
    if base.device.type == "cuda":
        thread.start()
    try:
        yield gpu
    finally:
        hook.remove()
        stop.set()
        if thread.is_alive():
            thread.join()


def _sample(device: torch.device, gpu: GpuUtilisation, stop: threading.Event) -> None:
    while not stop.wait(SAMPLE_INTERVAL_S):
        try:
            gpu.samples.append(torch.cuda.utilization(device) / 100.0)
        except Exception:  # no library, no permission, or a slice of a GPU: not known
            return
