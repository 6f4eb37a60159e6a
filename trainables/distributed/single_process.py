"""The engine of a single process: AdamW in fp32, with loss scaling for fp16."""

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
from trainables.distributed.mixed_precision import (
    FIRST_LOSS_SCALE,
    MasterPair,
    cast_masters,
    gradients_on_masters,
    master_pairs,
)
from trainables.distributed.optimizer_state import load_optimizer_state, optimizer_state

LOSS_SCALE = "loss scale"
"""Key of the loss scale in a training's state."""


@dataclass(kw_only=True, slots=True)
class _Plain:
    parameters: Sequence[nn.Parameter]
    """The updated tensors: masters for 16-bit weights."""
    pairs: Sequence[MasterPair]
    optimizer: torch.optim.Optimizer
    max_grad_norm: float
    loss_scale: float
    rank: int = 0
    world_size: int = 1

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        del is_last  # torch accumulates gradients itself
        (loss if self.loss_scale == 1.0 else loss * self.loss_scale).backward()

    def overflows(self) -> bool:
        if self.loss_scale == 1.0 or self._is_finite():
            return False
        self.loss_scale /= 2.0
        self.optimizer.zero_grad()
        return True

    def step(self, learning_rate: float) -> bool:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self.loss_scale != 1.0:
            for gradient in self._gradients():
                gradient.div_(self.loss_scale)
        norm = clip_grad_norm_(self.parameters, self.max_grad_norm)
        is_finite = bool(norm.isfinite())
        if is_finite:
            self.optimizer.step()
            cast_masters(self.pairs)
        self.optimizer.zero_grad()
        return is_finite

    def mean(self, value: float) -> float:
        return value

    def finish(self) -> None:
        return  # a single process has no shards

    def state(self) -> dict[str, Tensor]:
        scale = {} if self.loss_scale == 1.0 else {LOSS_SCALE: torch.tensor(self.loss_scale)}
        return {**optimizer_state(self.optimizer, self.parameters), **scale}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        load_optimizer_state(self.optimizer, self.parameters, state)
        self.loss_scale = float(state.get(LOSS_SCALE, 1.0))
        cast_masters(self.pairs)

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters if p.grad is not None]

    def _is_finite(self) -> bool:
        return all(bool(gradient.isfinite().all()) for gradient in self._gradients())


@contextmanager
def plain_engine(
    model: PreTrainedModel,
    parameters: Sequence[nn.Parameter],
    recipe: WeightTraining,
    masters: Sequence[nn.Parameter] | None = None,
) -> Iterator[Engine]:
    """Yields an engine of a single process."""
    stepped = parameters if masters is None else masters
    pairs = master_pairs(parameters, stepped)
    optimizer = torch.optim.AdamW(
        stepped, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    with gradients_on_masters(pairs):
        yield _Plain(
            parameters=stepped,
            pairs=pairs,
            optimizer=optimizer,
            max_grad_norm=recipe.max_grad_norm,
            loss_scale=FIRST_LOSS_SCALE if model.dtype == torch.float16 else 1.0,
        )
