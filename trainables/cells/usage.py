"""Tokens that a cell read and how busy its GPU was, for its record."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from trainables.models.loading import Base

SAMPLE_INTERVAL_S = 1.0


@dataclass(slots=True)
class Usage:
    """What one process used."""

    tokens: int = 0
    """Tokens that went through the base model in forward passes, padding included."""
    samples: list[float] = field(default_factory=list)
    """Utilisation of the GPU, a share in [0, 1], once a second; empty on a CPU."""

    @property
    def gpu_utilisation(self) -> float | None:
        """Mean share of the time that a kernel ran on the GPU; None: not known."""
        return sum(self.samples) / len(self.samples) if self.samples else None


@contextmanager
def measure_usage(base: Base) -> Iterator[Usage]:
    """Measures the body; a GPU that other processes use counts their work too.

    Every forward pass embeds its tokens, whatever adapters or engines wrap the model, so they are
    counted there. Utilisation comes from NVIDIA's management library through torch.
    """
    usage, stop = Usage(), threading.Event()

    def count(_: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        usage.tokens += inputs[0].numel()

    hook = base.model.get_input_embeddings().register_forward_pre_hook(count)
    thread = threading.Thread(target=_sample, args=(base.device, usage, stop), daemon=True)
    if base.device.type == "cuda":
        thread.start()
    try:
        yield usage
    finally:
        hook.remove()
        stop.set()
        if thread.is_alive():
            thread.join()


def _sample(device: torch.device, usage: Usage, stop: threading.Event) -> None:
    while not stop.wait(SAMPLE_INTERVAL_S):
        try:
            usage.samples.append(torch.cuda.utilization(device) / 100.0)
        except Exception:  # no library, no permission, or a slice of a GPU: not known
            return
