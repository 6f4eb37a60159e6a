"""DeepSpeed ZeRO: one training whose state is sharded over the workers of a group.

Stages 1 and 2 shard the optimizer's state and the gradients. DeepSpeed receives only the trained
parameters, so it does not touch the base, quantized or not. Stage 3 also shards the weights: the
base was loaded in shards (`trainables.distributed.sharded_model`) and stays sharded.

The workers divide each batch of the recipe. Sums over several workers round differently than on
one worker (class B).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

from search_spaces.recipes import WeightTraining
from trainables.distributed.deepspeed_config import prepare_process, zero_config
from trainables.distributed.engine import Engine
from trainables.distributed.mixed_precision import master_pairs
from trainables.distributed.optimizer_state import load_optimizer_state, optimizer_state
from trainables.distributed.sharded_model import is_shard, local_shard


@dataclass(frozen=True, kw_only=True, slots=True)
class Zero:
    """Makes engines of one stage: `trainables.distributed.engine.MakeEngine`."""

    stage: int
    """1, 2 or 3."""
    offload: bool = False
    """Whether shards are kept in CPU memory."""

    def __call__(
        self,
        model: PreTrainedModel,
        parameters: Sequence[nn.Parameter],
        recipe: WeightTraining,
        masters: Sequence[nn.Parameter] | None = None,
    ) -> AbstractContextManager[Engine]:
        """Returns the context of an engine that trains the parameters.

        Raises:
            ValueError: If they are 16-bit weights; the plan refuses those earlier
                (`study.planning.model_checks`).
        """
        if masters is not None and master_pairs(parameters, masters):
            raise ValueError("ZeRO trains weights in float32: load the base with dtype float32")
        if self.stage == 3:
            return _sharded_engine(model, parameters, recipe, offload=self.offload)
        return _whole_engine(parameters, recipe, stage=self.stage, offload=self.offload)


@dataclass(kw_only=True, slots=True)
class _Zero:
    engine: Any
    """Of DeepSpeed."""
    parameters: Sequence[Any]
    clean_up: Any
    """Removes what DeepSpeed added to the model."""
    is_finished: bool = field(default=False, init=False)

    @property
    def rank(self) -> int:
        return int(dist.get_rank())

    @property
    def world_size(self) -> int:
        return int(dist.get_world_size())

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        # DeepSpeed's wrapper does this before a forward pass; stage 3 counts micro-batches with it.
        self.engine.optimizer.clear_backward_seen_flag()
        self.engine.set_gradient_accumulation_boundary(is_last)
        self.engine.backward(loss)

    def overflows(self) -> bool:
        return False  # trained in fp32, without loss scaling

    def step(self, learning_rate: float) -> bool:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        is_finite = norm is None or math.isfinite(norm)
        return is_finite and bool(self.engine.was_step_applied())

    def mean(self, value: float) -> float:
        total = torch.tensor([value], dtype=torch.float64, device=self.engine.device)
        dist.all_reduce(total)
        return float(total) / self.world_size

    def state(self) -> dict[str, Tensor]:
        mine = optimizer_state(self.engine.optimizer.optimizer, _stepped(self.engine.optimizer))
        weights = {f"held {i}": local_shard(p).cpu().clone() for i, p in enumerate(self.parameters)}
        return {**mine, **weights}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        stepped = _stepped(self.engine.optimizer)
        load_optimizer_state(self.engine.optimizer.optimizer, stepped, state)
        with torch.no_grad():
            for index, parameter in enumerate(self.parameters):
                local_shard(parameter).copy_(state[f"held {index}"])

    def finish(self) -> None:
        if not self.is_finished:
            self.is_finished = True
            self.engine.destroy()
            self.clean_up()
            self.engine = None
            gc.collect()  # DeepSpeed's objects form cycles that keep buffers alive


@contextmanager
def _whole_engine(
    parameters: Sequence[nn.Parameter], recipe: WeightTraining, *, stage: int, offload: bool
) -> Iterator[Engine]:
    def clean_up() -> None:
        # By now they are views of DeepSpeed's flat buffers.
        for parameter in parameters:
            parameter.data = parameter.data.clone()

    holder = nn.ParameterList(parameters)
    engine = _initialize(holder, parameters, recipe, stage=stage, offload=offload)
    zero = _Zero(engine=engine, parameters=parameters, clean_up=clean_up)
    try:
        yield zero
    finally:
        zero.finish()


@contextmanager
def _sharded_engine(
    model: PreTrainedModel,
    parameters: Sequence[nn.Parameter],
    recipe: WeightTraining,
    *,
    offload: bool,
) -> Iterator[Engine]:
    known = {id(each): set(vars(each)) for each in (*model.modules(), *model.parameters())}
    hooks = {id(module): _hooks(module) for module in model.modules()}

    def clean_up() -> None:
        _clean_modules(model, known, hooks)
        for parameter in parameters:
            if "ds_tensor" not in known[id(parameter)]:
                _make_whole(parameter, known[id(parameter)])

    engine = _initialize(model, parameters, recipe, stage=3, offload=offload)
    zero = _Zero(engine=engine, parameters=parameters, clean_up=clean_up)
    try:
        yield zero
    finally:
        zero.finish()


def _initialize(
    module: nn.Module,
    parameters: Sequence[nn.Parameter],
    recipe: WeightTraining,
    *,
    stage: int,
    offload: bool,
) -> Any:
    on_gpu = parameters[0].device.type == "cuda"
    prepare_process(on_gpu=on_gpu)
    import deepspeed

    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    config = zero_config(stage, offload=offload, on_gpu=on_gpu, max_grad_norm=recipe.max_grad_norm)
    engine, *_ = deepspeed.initialize(
        model=module, optimizer=optimizer, config=config, dist_init_required=False
    )
    return engine


def _stepped(optimizer: Any) -> list[Tensor]:
    """Returns this worker's shard of the fp32 weights that AdamW updates."""
    if hasattr(optimizer, "fp32_partitioned_groups_flat"):
        return list(optimizer.fp32_partitioned_groups_flat)
    return list(optimizer.single_partition_of_fp32_groups)


def _hooks(module: nn.Module) -> set[tuple[str, int]]:
    """Returns the names and numbers of all hooks of a module."""
    return {
        (name, number)
        for name, value in vars(module).items()
        if "_hooks" in name and isinstance(value, dict)
        for number in value
    }


def _clean_modules(
    model: nn.Module,
    known: Mapping[int, set[str]],
    hooks: Mapping[int, set[tuple[str, int]]],
) -> None:
    """Removes the hooks and attributes that DeepSpeed leaves on the model's modules."""
    from deepspeed.runtime.zero import parameter_offload

    parameter_offload.FWD_MODULE_STACK.clear()
    for module in model.modules():
        for name, number in _hooks(module) - hooks[id(module)]:
            del vars(module)[name][number]
        module._parameters = dict(module._parameters)
        for name in set(vars(module)) - known[id(module)]:
            delattr(module, name)


def _make_whole(parameter: Any, known: set[str]) -> None:
    """Gathers a parameter permanently and removes DeepSpeed's attributes from it."""
    if is_shard(parameter):
        parameter.all_gather()
        whole = parameter.data.clone()
        for name in set(vars(parameter)) - known:
            delattr(parameter, name)
        parameter.data = whole
