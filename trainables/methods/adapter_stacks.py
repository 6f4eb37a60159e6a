"""Adapters in stacks: the factors of several, side by side beside one frozen base.

Shape legend: see `trainables.methods.adapters`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.recipes import QLoRA
from trainables.methods.adapters import add_low_rank
from trainables.methods.inputs import TrainedState
from trainables.models import Base

DOWN, UP = ".lora_A.default.weight", ".lora_B.default.weight"
"""Ends of the names of a layer's two factors in a trained state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stacks:
    """The factors of all adapters, by the name of the layer that they stand beside."""

    down_GRI: Mapping[str, nn.Parameter]
    up_GOR: Mapping[str, nn.Parameter]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Returns all factors."""
        return [*self.down_GRI.values(), *self.up_GOR.values()]

    def state(self, place: int) -> TrainedState:
        """Returns one adapter's factors, as they would be of a cell that trained alone."""
        made = {}
        for name in self.down_GRI:
            for end, stack in ((DOWN, self.down_GRI[name]), (UP, self.up_GOR[name])):
                made[name + end] = stack[place].detach().to("cpu", copy=True)
        return made

    def clip(self, largest: float) -> Tensor:
        """Scales each adapter's gradient to the largest norm, as it would be alone.

        Returns the norms before, [G].
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        square_G = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients])
        norm_G = square_G.sum(dim=0).sqrt()
        factor_G = (largest / (norm_G + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor_G[:, None, None])
        return norm_G


def stack_states(states: Sequence[TrainedState], base: Base) -> Stacks:
    """Returns the factors of adapters on the base's device, to be trained."""

    def stacked(end: str) -> dict[str, nn.Parameter]:
        return {
            name.removesuffix(end): nn.Parameter(
                torch.stack([state[name] for state in states]).to(base.device)
            )
            for name in states[0]
            if name.endswith(end)
        }

    return Stacks(down_GRI=stacked(DOWN), up_GOR=stacked(UP))


@contextmanager
def beside(base: Base, stacks: Stacks, recipe: QLoRA) -> Iterator[None]:
    """Adds the low-rank updates to the layers' outputs for a while."""
    with ExitStack() as stack:
        for name in stacks.down_GRI:
            hook = _hook(stacks.down_GRI[name], stacks.up_GOR[name], recipe.alpha / recipe.rank)
            stack.callback(base.model.get_submodule(name).register_forward_hook(hook).remove)
        yield


def _hook(down_GRI: Tensor, up_GOR: Tensor, scale: float) -> Any:
    def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # Rows of one adapter stand together, so tokens do too, flattened or not.
        return add_low_rank(output, args[0], down_GRI, up_GOR, scale)

    return add
