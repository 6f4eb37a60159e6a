"""One process, AdamW."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from transformers import PreTrainedModel

from search_spaces.recipes import WeightTraining
from trainables.distributed.engine import Engine
from trainables.distributed.optimizer_state import load_optimizer_state, optimizer_state


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plain:
    parameters: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    max_grad_norm: float
    rank: int = 0
    world_size: int = 1

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        del is_last  # gradients simply add up
        loss.backward()

    def step(self, learning_rate: float) -> bool:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        norm = clip_grad_norm_(self.parameters, self.max_grad_norm)
        is_finite = bool(norm.isfinite())
        if is_finite:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return is_finite

    def mean(self, value: float) -> float:
        return value

    def finish(self) -> None:
        return  # nothing is shared

    def state(self) -> dict[str, Tensor]:
        return optimizer_state(self.optimizer, self.parameters)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        load_optimizer_state(self.optimizer, self.parameters, state)


@contextmanager
def plain_engine(
    model: PreTrainedModel, parameters: Sequence[nn.Parameter], recipe: WeightTraining
) -> Iterator[Engine]:
    """Yields an engine of this process alone."""
    del model  # its parameters are all that is needed
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    yield _Plain(parameters=parameters, optimizer=optimizer, max_grad_norm=recipe.max_grad_norm)
