"""Training of 16-bit weights by fp32 master weights, with loss scaling for fp16.

A bf16 weight has 8 significant bits, so rounding discards updates below 1/512 of the weight: most
updates at the usual learning rates. fp16 also cannot represent gradients below 6e-8.

Source: Micikevicius et al. 2018, arXiv:1710.03740, sections 3.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

FIRST_LOSS_SCALE = 2.0**16
"""The initial scale of `torch.amp.GradScaler`. A power of two changes no significant bit."""

MasterPair = tuple[nn.Parameter, nn.Parameter]
"""A 16-bit weight of the model, and its fp32 master."""


def master_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns fp32 copies of a model's 16-bit weights, and its fp32 weights, by name."""
    return {
        name: parameter if parameter.dtype.itemsize > 2 else nn.Parameter(parameter.data.float())
        for name, parameter in model.named_parameters()
    }


def master_pairs(
    parameters: Sequence[nn.Parameter], masters: Sequence[nn.Parameter]
) -> tuple[MasterPair, ...]:
    """Returns the weights that have a separate master, each with that master."""
    pairs = zip(parameters, masters, strict=True)
    return tuple((parameter, master) for parameter, master in pairs if parameter is not master)


def cast_masters(pairs: Sequence[MasterPair]) -> None:
    """Writes the masters into the model's weights, rounded to nearest."""
    with torch.no_grad():
        for parameter, master in pairs:
            parameter.copy_(master)


@contextmanager
def gradients_on_masters(pairs: Sequence[MasterPair]) -> Iterator[None]:
    """Moves each new gradient to its master, so that micro-batches accumulate in fp32.

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
