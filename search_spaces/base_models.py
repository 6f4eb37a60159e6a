"""Base models and what their cells take of a cluster. Pure values; nothing is loaded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from search_spaces.values import Value

EngineName = Literal["plain", "zero-1", "zero-2", "zero-3"]
"""Who holds a training: one worker, or all of a block by one of DeepSpeed's ZeRO stages."""


class Footprint(Value):
    """What one block's worker group takes of the cluster: execution, never identity."""

    workers: PositiveInt | None = None
    """Workers of a block; None: as many as one node of the cluster can hold."""
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeInt | None = None
    """None: one where the cluster has GPUs, else none."""
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


class BaseModelRef(Value):
    """A causal language model: one of the embedded lab's, a folder, or a Hugging Face name."""

    name: str = Field(min_length=1)
    """`micro-s`, a path to a folder with a config.json, or `owner/name` on the Hub."""
    revision: str | None = None
    """Commit on the Hub; without it the current one is looked up and pinned in the plan."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    footprint: Footprint | None = None
    """Of blocks of this base model; None: the space's."""
