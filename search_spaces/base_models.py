"""Base models and what their cells take of a cluster. Pure values; nothing is loaded."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from search_spaces.frozen import FrozenModel

EngineName = Literal["plain", "zero-1", "zero-2", "zero-3"]
"""Who holds a training: one worker, or all of a block by one of DeepSpeed's ZeRO stages."""

BosRule = Literal["always", "never"]
"""Whether a text starts with the tokenizer's BOS, whatever the tokenizer itself does."""

GPU_STEPS = 10_000
"""Steps of a GPU that Ray can allocate."""


class Footprint(FrozenModel):
    """What one block's worker group takes of the cluster: execution, never identity."""

    workers: PositiveInt | None = None
    """Workers of a block; None: as many as one node of the cluster can hold."""
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeFloat | None = None
    """A whole number, or a fraction below 1 of a GPU that workers share: 0.5 puts two workers on
    each. None: one GPU where the cluster has GPUs, else none."""
    engine: EngineName = "plain"
    """`plain`: every worker runs cells of its own. DeepSpeed's ZeRO stages: all workers of a block
    run each cell together, and share its optimizer's state (1), gradients too (2), weights too
    (3)."""
    offload: bool = False
    """Whether what ZeRO shares lies in the memory of the CPU instead of the GPU's."""

    @model_validator(mode="after")
    def _zero_goes_with_what_it_shares(self) -> Footprint:
        if self.offload and self.engine == "plain":
            raise ValueError("offload is ZeRO's: give engine zero-1, zero-2 or zero-3 with it")
        return self

    @model_validator(mode="after")
    def _gpus_can_be_allocated(self) -> Footprint:
        gpus = self.gpus_per_worker
        if gpus is None or gpus.is_integer():
            return self
        if gpus > 1:
            raise ValueError(
                f"gpus_per_worker={gpus:g}: a worker has a whole number of GPUs, or shares one GPU "
                "by a fraction below 1, such as 0.5"
            )
        if self.engine != "plain":
            raise ValueError(
                f"gpus_per_worker={gpus:g}: workers of engine {self.engine} exchange tensors by "
                "NCCL, which refuses two workers on one GPU; use a whole number, or engine plain"
            )
        if gpus != round(gpus * GPU_STEPS) / GPU_STEPS:
            raise ValueError(
                f"gpus_per_worker={gpus}: Ray allocates GPUs in steps of {1 / GPU_STEPS:g}; use "
                f"{max(1, int(gpus * GPU_STEPS)) / GPU_STEPS:g}"
            )
        return self


class BaseModelRef(FrozenModel):
    """A causal language model: one of the embedded lab's, a folder, or a Hugging Face name."""

    name: str = Field(min_length=1)
    """`micro-s`, a path to a folder with a config.json, or `owner/name` on the Hub."""
    revision: str | None = None
    """Commit on the Hub; without it the current one is looked up and pinned in the plan."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of unquantized weights. `auto`: the checkpoint's own, which of the lab's bases
    is float32. The plan resolves it, and the resolved format is part of a cell's identity."""
    bos: BosRule | None = None
    """Whether texts start with the tokenizer's BOS; None: as the tokenizer itself starts a text. A
    chat template (`chat:` prompts) writes its own start, and gets no other."""
    footprint: Footprint | None = None
    """Of blocks of this base model; None: the space's."""


def workers_on(num_gpus: float, gpus_per_worker: float) -> int:
    """Returns how many workers fit on the GPUs of one node; a shared GPU is never split over two.

    Args:
        num_gpus: Of the node.
        gpus_per_worker: Above 0, as `Footprint.gpus_per_worker`.
    """
    if gpus_per_worker >= 1:
        return int(num_gpus // gpus_per_worker)
    # In Ray's own steps: in floats 1 // 0.1 is 9.
    return int(num_gpus) * (GPU_STEPS // round(gpus_per_worker * GPU_STEPS))


def gpus_for(workers: int, gpus_per_worker: float) -> int:
    """Returns how many whole GPUs of one node the workers need; 0 where they need none."""
    if gpus_per_worker >= 1 or not gpus_per_worker:
        return int(workers * gpus_per_worker)
    return math.ceil(workers / workers_on(1, gpus_per_worker))
