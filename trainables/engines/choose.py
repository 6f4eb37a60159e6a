"""Which engine a footprint means, and how a base model is loaded for it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from search_spaces.space import EngineName
from trainables.engines.plain import plain_engine
from trainables.engines.protocol import MakeEngine
from trainables.engines.sharded_base import gather_in_passes, sharded_loading
from trainables.engines.zero import Zero
from trainables.models import Base

SHARDED: EngineName = "zero-3"
"""The engine whose base model is in pieces, whatever a cell does with it."""


def choose_engine(name: EngineName, *, offload: bool) -> MakeEngine:
    """Returns what starts the engine of one training."""
    if name == "plain":
        return plain_engine
    return Zero(stage=int(name.removeprefix("zero-")), offload=offload)


def load_for_engine(
    load: Callable[[], Base], name: EngineName, *, dtype: str, device: str, offload: bool
) -> Base:
    """Returns the base model as the engine wants it: whole, or in pieces over the workers.

    Args:
        load: Loads the base model.
        name: The engine.
        dtype: The number format that the base model is loaded in.
        device: Where the model will be used.
        offload: Whether pieces lie in the memory of the CPU.
    """
    if name != SHARDED:
        return load()
    with sharded_loading(torch.device(device), dtype=dtype, offload=offload):
        base = load()
    gather_in_passes(base.model)
    return base
