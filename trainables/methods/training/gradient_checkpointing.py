"""Gradient checkpointing: states inside a layer are computed again for the gradient, not kept.

It costs one more forward pass, so it is used only where the states would not fit. It changes no
number: the same operations run on the same values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from trainables.methods.base.interface import Execution
from trainables.models.loading import Base

STATES_PER_WIDTH = 17
"""Values that a layer keeps for the gradient per token, in units of the hidden size.

Source: Korthikanti et al. 2022, arXiv:2205.05198, equation 1: 34 bytes per token and unit of width
in 16 bits, for an MLP of four times the width; attention scores are not kept by fused kernels.
"""

MEMORY_SHARE = 0.4
"""Of a GPU's memory beside the base's weights that kept states may take: the rest holds gradients,
the optimizer's state, the vocabulary's logits, and what the allocator cannot use."""


@contextmanager
def checkpointed(base: Base, execution: Execution, num_tokens: int) -> Iterator[None]:
    """Checkpoints the model's layers for a while, if the execution or the memory asks for it.

    Args:
        base: The model; forward passes inside the context go through its own layers.
        execution: Says whether, or leaves it to the expected size of the states.
        num_tokens: Of a micro-batch.
    """
    if not _is_wanted(base, execution, num_tokens):
        yield
        return
    layers = _layers(base)
    try:
        for layer in layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def checkpointing_notes(base: Base, execution: Execution, num_tokens: int) -> tuple[str, ...]:
    """Returns what a record says of a training whose states should not have been kept, but were."""
    if not _is_wanted(base, execution, num_tokens) or _layers(base):
        return ()
    return (
        f"no gradient checkpointing: {type(base.model).__name__} has no layers that transformers "
        "can checkpoint, so all states are kept for the gradient",
    )


def _is_wanted(base: Base, execution: Execution, num_tokens: int) -> bool:
    if execution.checkpointing is None:
        return needs_checkpointing(base, num_tokens)
    return execution.checkpointing


def _layers(base: Base) -> list[GradientCheckpointingLayer]:
    return [part for part in base.model.modules() if isinstance(part, GradientCheckpointingLayer)]


def needs_checkpointing(base: Base, num_tokens: int) -> bool:
    """Says whether a micro-batch's states would take too much of the device's memory.

    The answer depends on the kind of device, the process's share of it, the model and the budget of
    tokens only, never on what else is in memory at the moment. On a CPU it is no.
    """
    if base.device.type != "cuda":
        return False
    total = torch.cuda.get_device_properties(base.device).total_memory
    memory = total * torch.cuda.get_per_process_memory_fraction(base.device)
    room = memory - base.model.get_memory_footprint()
    return bool(state_bytes(base, num_tokens) > MEMORY_SHARE * room)


def state_bytes(base: Base, num_tokens: int) -> int:
    """Returns about how many bytes a training pass over so many tokens keeps inside the layers."""
    config = base.model.config.get_text_config()
    values = STATES_PER_WIDTH * config.hidden_size * config.num_hidden_layers * num_tokens
    return int(values * base.model.dtype.itemsize)
