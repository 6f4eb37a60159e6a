"""Training of 16-bit weights: fp32 masters are stepped, and fp16's loss is scaled.

A bf16 weight has 8 significant bits: an update below 1/512 of it is rounded away, which is most
updates at the usual learning rates. fp16 in addition holds no gradient below 6e-8.

Source: Micikevicius et al. 2018, arXiv:1710.03740, sections 3.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

FIRST_LOSS_SCALE = 2.0**16
"""As `torch.amp.GradScaler` begins. A power of two: scaling changes no significant bit."""

MasterPair = tuple[nn.Parameter, nn.Parameter]
"""A 16-bit weight as it scores, and its fp32 master."""


def master_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns fp32 copies of a model's 16-bit weights, by name; its fp32 weights are themselves."""
    return {
        name: parameter if parameter.dtype.itemsize > 2 else nn.Parameter(parameter.data.float())
        for name, parameter in model.named_parameters()
    }


def master_pairs(
    parameters: Sequence[nn.Parameter], masters: Sequence[nn.Parameter]
) -> tuple[MasterPair, ...]:
    """Returns the weights that are not their own masters, each with its master."""
    pairs = zip(parameters, masters, strict=True)
    return tuple((parameter, master) for parameter, master in pairs if parameter is not master)


def cast_masters(pairs: Sequence[MasterPair]) -> None:
    """Writes the masters into the weights that score, rounded to nearest."""
    with torch.no_grad():
        for parameter, master in pairs:
            parameter.copy_(master)


@contextmanager
def gradients_on_masters(pairs: Sequence[MasterPair]) -> Iterator[None]:
    """Moves each gradient to its master as soon as it is there: micro-batches add up in fp32.

    Args:
        pairs: Their 16-bit weights require gradients.
    """
    handles = [
        parameter.register_post_accumulate_grad_hook(partial(_move_gradient, master))
        for parameter, master in pairs
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _move_gradient(master: nn.Parameter, parameter: Tensor) -> None:
    if parameter.grad is None:
        return
    gradient = parameter.grad.float()
    parameter.grad = None
    master.grad = gradient if master.grad is None else master.grad.add_(gradient)
