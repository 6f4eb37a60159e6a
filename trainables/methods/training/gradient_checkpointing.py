"""Gradient checkpointing: activations inside a layer are recomputed for the gradient.

It costs one more forward pass, so it is used only where activations would not fit into memory. It
changes no number: the same operations run on the same values.
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

STATES_PER_WIDTH = 32
"""Values that a layer keeps for the gradient per token, in units of the hidden size.

Measured: 31 for LoRA on SmolLM2-135M and Gemma-3-270M, whose MLPs have a gate. Korthikanti et al.
2022, arXiv:2205.05198, equation 1, has 17 for a layer without one.
"""

MEMORY_SHARE = 0.4
"""Share of a GPU's memory without the base's weights that activations may use. The rest holds
gradients, the optimizer's state, logits over the vocabulary, and the allocator's losses."""


@contextmanager
def checkpointed(base: Base, execution: Execution, num_tokens: int) -> Iterator[None]:
    """Checkpoints the model's layers for a while, if the execution or the memory asks for it.

    Args:
        base: The model; forward passes inside the context go through its own layers.
        execution: Whether to checkpoint; None: the expected size of the activations decides.
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
    """Returns a note for the record if checkpointing was wanted but is not possible."""
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
    modules = base.model.modules()
    return [module for module in modules if isinstance(module, GradientCheckpointingLayer)]


def needs_checkpointing(base: Base, num_tokens: int) -> bool:
    """Returns whether a micro-batch's activations would need too much of the device's memory.

    This depends on the kind of device, the process's share of it, the model and the token budget,
    never on what else is in memory at the moment. On a CPU it is False.
    """
    if base.device.type != "cuda":
        return False
    total = torch.cuda.get_device_properties(base.device).total_memory
    memory = total * torch.cuda.get_per_process_memory_fraction(base.device)
    free = memory - base.model.get_memory_footprint()
    return bool(state_bytes(base, num_tokens) > MEMORY_SHARE * free)


def state_bytes(base: Base, num_tokens: int) -> int:
    """Returns the approximate bytes of activations inside the layers in a training pass."""
    config = base.model.config.get_text_config()
    values = STATES_PER_WIDTH * config.hidden_size * config.num_hidden_layers * num_tokens
    return int(values * base.model.dtype.itemsize)
