"""One process, AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from transformers import PreTrainedModel

from search_spaces.recipes import WeightTraining
from trainables.engines.optimizer_state import load_optimizer_state, optimizer_state
from trainables.engines.protocol import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plain:
    parameters: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    clip: Callable[[], Tensor | None]
    """Bounds the gradients before a step, and returns their norm; None where they are of several
    trainings, which have no norm in common."""
    rank: int = 0
    world_size: int = 1

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        del is_last  # gradients simply add up
        loss.backward()

    def step(self, learning_rate: float) -> bool:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        norm = self.clip()
        is_finite = norm is None or bool(norm.isfinite())
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
    yield clipped_by(partial(clip_grad_norm_, parameters, recipe.max_grad_norm), parameters, recipe)


def clipped_by(
    clip: Callable[[], Tensor | None], parameters: Sequence[nn.Parameter], recipe: WeightTraining
) -> Engine:
    """Returns an engine of this process alone.

    Args:
        clip: Bounds the gradients before a step, and returns their norm or None.
        parameters: Those that are trained.
        recipe: Weight decay; the learning rate comes with every step.
    """
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    return _Plain(parameters=parameters, optimizer=optimizer, clip=clip)
