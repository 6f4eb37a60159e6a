"""AdamW's state as named tensors, for checkpoints without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def optimizer_state(
    optimizer: torch.optim.Optimizer, stepped: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Returns copies of the updated tensors and of the optimizer's state of each, on the CPU."""
    state: dict[str, Tensor] = {}
    for index, tensor in enumerate(stepped):
        state[f"weight {index}"] = tensor.detach().to("cpu", copy=True)
        for name, value in optimizer.state.get(tensor, {}).items():
            state[f"{name} {index}"] = torch.as_tensor(value).detach().to("cpu", copy=True)
    return state


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, stepped: Sequence[Tensor], state: Mapping[str, Tensor]
) -> None:
    """Restores what `optimizer_state` returned, for the same tensors in the same order.

    Raises:
        ValueError: If the state belongs to other tensors.
    """
    for index, tensor in enumerate(stepped):
        saved = state.get(f"weight {index}")
        if saved is None or saved.shape != tensor.shape:
            shape = "none" if saved is None else str(tuple(saved.shape))
            raise ValueError(
                f"a checkpoint of another training: tensor {index} has shape "
                f"{tuple(tensor.shape)}, the checkpoint's has {shape}"
            )
        with torch.no_grad():
            tensor.copy_(saved)
        suffix = f" {index}"
        saved_state = {
            name.removesuffix(suffix): value
            for name, value in state.items()
            if name.endswith(suffix) and not name.startswith(("weight ", "held "))
        }
        # The count of steps stays on the CPU, as torch keeps it.
        optimizer.state[tensor] = {
            name: value.clone() if name == "step" else value.to(tensor.device, copy=True)
            for name, value in saved_state.items()
        }
