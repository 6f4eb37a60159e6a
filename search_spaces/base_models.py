"""Base models and the cluster resources of their cells, as pure values."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from search_spaces.frozen import FrozenModel

EngineName = Literal["plain", "zero-1", "zero-2", "zero-3"]
"""Which workers run a training: one alone, or all of a block with a DeepSpeed ZeRO stage."""

BosRule = Literal["always", "never"]
"""Whether texts start with the BOS token; overrides the tokenizer."""

GPU_STEPS = 10_000
"""Smallest fractions of a GPU that Ray can allocate, per GPU."""


class Footprint(FrozenModel):
    """Cluster resources of one block's worker group: execution, never identity."""

    workers: PositiveInt | None = None
    """Workers of a block; None: as many as fit on one node of the cluster."""
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeFloat | None = None
    """A whole number, or a fraction below 1 of a GPU that workers share: 0.5 puts two workers on
    each. None: one GPU where the cluster has GPUs, else none."""
    engine: EngineName = "plain"
    """`plain`: each worker runs different cells. DeepSpeed's ZeRO stages: all workers of a block
    run each cell together and shard its optimizer state (1), its gradients too (2), its weights
    too (3)."""
    offload: bool = False
    """Whether ZeRO keeps its shards in CPU memory instead of GPU memory."""

    @model_validator(mode="after")
    def _zero_goes_with_what_it_shares(self) -> Footprint:
        if self.offload and self.engine == "plain":
            raise ValueError("offload needs a ZeRO engine: set engine to zero-1, zero-2 or zero-3")
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
    """A causal language model: one of the embedded lab's, a folder, or a Hugging Face name.

    Its identity is the content of its files, or its commit on the Hub; neither `name` nor `path` is
    part of it.
    """

    name: str = Field(min_length=1)
    """How tables and messages name the model. Without `path` it also locates it: `micro-s`, a path
    to a folder with a config.json, or `owner/name` on the Hub."""
    path: str | None = Field(default=None, min_length=1)
    """Folder in Hugging Face format, which may be anywhere; None: `name` locates the model."""
    revision: str | None = None
    """Commit on the Hub; None: the plan looks up the current one and pins it."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of unquantized weights. `auto`: that of the checkpoint (float32 for the lab's
    bases). The plan resolves it, and the resolved format is part of a cell's identity."""
    bos: BosRule | None = None
    """Whether texts start with the BOS token; None: the tokenizer decides. A chat template (`chat:`
    prompts) writes its own start."""
    footprint: Footprint | None = None
    """For blocks of this base model; None: the footprint of the space."""


def workers_on(num_gpus: float, gpus_per_worker: float) -> int:
    """Returns how many workers fit on the GPUs of one node; no worker spans two shared GPUs.

    Args:
        num_gpus: Of the node.
        gpus_per_worker: Above 0, as `Footprint.gpus_per_worker`.
    """
    if gpus_per_worker >= 1:
        return int(num_gpus // gpus_per_worker)
    # In Ray's own steps: in floats 1 // 0.1 is 9.
    return int(num_gpus) * (GPU_STEPS // round(gpus_per_worker * GPU_STEPS))


def gpus_for(workers: int, gpus_per_worker: float) -> int:
    """Returns how many whole GPUs of one node the workers need; may be 0."""
    if gpus_per_worker >= 1 or not gpus_per_worker:
        return int(workers * gpus_per_worker)
    return math.ceil(workers / workers_on(1, gpus_per_worker))
