"""Selects the engine of a footprint, and loads base models for it."""

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
"""The engine that shards the base model for all methods."""


def choose_engine(name: EngineName, *, offload: bool) -> MakeEngine:
    """Returns a function that starts the engine of one training."""
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
    """Returns the base model as the engine needs it: whole, or sharded over the workers.

    Args:
        name: The engine.
        source: Of the model.
        dtype: Format of unquantized weights, as in `load_base`.
        quantization: As in `load_base`.
        device: Where the model will be used.
        offload: Whether shards are kept in CPU memory.

    Raises:
        ValueError: As `load_base`.
    """
    if name != SHARDED:
        return load_base(source, dtype, quantization, device)
    check_weights(source)  # loading in shards does not report unexpected tensors
    with sharded_loading(torch.device(device), dtype=dtype, offload=offload):
        base = load_base(source, dtype, quantization, device)
    gather_in_passes(base.model)
    return base
