"""Which engine a footprint means, and how a base model is loaded for it."""

from __future__ import annotations

import torch

from search_spaces.base_models import EngineName
from trainables.distributed.engine import MakeEngine
from trainables.distributed.sharded_model import gather_in_passes, sharded_loading
from trainables.distributed.single_process import plain_engine
from trainables.distributed.zero import Zero
from trainables.models.check import check_weights
from trainables.models.loading import Base, load_base
from trainables.models.source import ModelSource

SHARDED: EngineName = "zero-3"
"""The engine whose base model is in pieces, whatever a cell does with it."""


def choose_engine(name: EngineName, *, offload: bool) -> MakeEngine:
    """Returns what starts the engine of one training."""
    if name == "plain":
        return plain_engine
    return Zero(stage=int(name.removeprefix("zero-")), offload=offload)


def load_for_engine(
    name: EngineName,
    source: ModelSource,
    *,
    dtype: str,
    quantization: str,
    device: str,
    offload: bool,
) -> Base:
    """Returns the base model as the engine wants it: whole, or in pieces over the workers.

    Args:
        name: The engine.
        source: Where the model lies.
        dtype: Format of unquantized weights, as in `load_base`.
        quantization: As in `load_base`.
        device: Where the model will be used.
        offload: Whether pieces lie in the memory of the CPU.

    Raises:
        ValueError: As `load_base`.
    """
    if name != SHARDED:
        return load_base(source, dtype, quantization, device)
    check_weights(source)  # what loads in pieces reports no unexpected tensor
    with sharded_loading(torch.device(device), dtype=dtype, offload=offload):
        base = load_base(source, dtype, quantization, device)
    gather_in_passes(base.model)
    return base
