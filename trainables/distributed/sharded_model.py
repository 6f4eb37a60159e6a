"""A base model whose weights are sharded over the workers of a group (ZeRO stage 3).

Each worker keeps one shard of every weight. A forward pass without gradients gathers a layer's
weights before the layer and releases them after it, so all workers make the same passes in
lockstep. In training, DeepSpeed gathers them (`trainables.distributed.zero`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from trainables.distributed.deepspeed_config import prepare_process, zero_config


@contextmanager
def sharded_loading(device: torch.device, *, dtype: str, offload: bool) -> Iterator[None]:
    """Makes transformers load a model in shards: no worker holds more than its shards and a tensor.

    Args:
        device: Where the model will be used.
        dtype: The number format of its weights.
        offload: Whether shards are kept in CPU memory.
    """
    on_gpu = device.type == "cuda"
    prepare_process(on_gpu=on_gpu)
    import transformers.integrations.deepspeed as integration

    # transformers uses this configuration as long as the object lives.
    config = integration.HfDeepSpeedConfig(
        zero_config(3, offload=offload, on_gpu=on_gpu, dtype=dtype)
    )
    try:
        yield
    finally:
        integration.unset_hf_deepspeed_config()
        del config


def gather_in_passes(model: PreTrainedModel) -> None:
    """Makes every pass without gradients gather the weights, layer by layer."""
    layers = [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]
    inside = {id(module) for layer in layers for module in layer.modules()}
    others = [
        module
        for module in model.modules()
        if id(module) not in inside and any(True for _ in module.parameters(recurse=False))
    ]
    for layer in layers:
        _hook(layer, recurse=True)
    for module in others:
        _hook(module, recurse=False)


def is_shard(parameter: Tensor) -> bool:
    """Returns whether this worker holds only a shard of the parameter."""
    return hasattr(parameter, "ds_tensor")


def local_shard(parameter: Any) -> Tensor:
    """Returns this worker's flat shard of a parameter, or all of an unsharded parameter."""
    shard: Tensor = parameter.ds_tensor if is_shard(parameter) else parameter.data
    return shard


@contextmanager
def gathered(parameters: Iterable[Tensor], *, to_write: bool = False) -> Iterator[None]:
    """Gathers parameters on every worker within the context, which all workers enter together.

    Args:
        parameters: The sharded ones among them are gathered.
        to_write: Whether all workers keep what the first worker writes into them.
    """
    shards = [parameter for parameter in parameters if is_shard(parameter)]
    if not shards:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(shards, modifier_rank=0 if to_write else None):
        yield


def whole_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns copies of named weights on the CPU; gathers one weight at a time."""
    copies = {}
    for name, weight in weights.items():
        with gathered([weight]):
            copies[name] = weight.detach().to("cpu", copy=True)
    return copies


def write_weights(parameters: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]) -> None:
    """Copies whole weights into parameters of the same names, sharded or not."""
    for name, parameter in parameters.items():
        with torch.no_grad(), gathered([parameter], to_write=True):
            parameter.copy_(state[name])


def first_workers(model: nn.Module, values_N: Tensor) -> Tensor:
    """Returns the first worker's values if the model is sharded, else this worker's own.

    Decisions about the next pass over a sharded base must use these values: a worker whose last
    bits differ would otherwise make different passes, and all workers would wait for each other.

    Args:
        model: The model that computed the values; all workers have equally many.
        values_N: On the model's device, or on the CPU.
    """
    if not is_shard(next(model.parameters())):  # a cheap test: this runs for every generated token
        return values_N
    import torch.distributed as dist

    # NCCL only sends GPU tensors, gloo sends CPU tensors.
    where = torch.device("cpu" if dist.get_backend() == "gloo" else "cuda")
    with torch.inference_mode(False):
        shared_N = values_N.detach().to(where, copy=True)
        dist.broadcast(shared_N, src=0)
    return shared_N.to(values_N.device)


def _hook(hooked: nn.Module, *, recurse: bool) -> None:
    def gather(module: nn.Module, inputs: object) -> None:
        del inputs
        shards = _shards(module, recurse=recurse)
        if shards and not torch.is_grad_enabled():
            if type(module._parameters) is not dict:  # DeepSpeed's, which gathers itself
                raise RuntimeError("a sharded base cannot answer while it is being trained")
            # Tensors from inference mode could never be trained afterwards.
            with torch.inference_mode(False), torch.no_grad():
                shards[0].all_gather(param_list=shards)

    def release(module: nn.Module, inputs: object, output: object) -> None:
        del inputs, output
        shards = _shards(module, recurse=recurse)
        if shards and not torch.is_grad_enabled():
            with torch.inference_mode(False), torch.no_grad():
                shards[0].partition(param_list=shards)

    hooked.register_forward_pre_hook(gather)
    hooked.register_forward_hook(release, always_call=True)


def _shards(module: nn.Module, *, recurse: bool) -> Sequence[Any]:
    return [parameter for parameter in module.parameters(recurse=recurse) if is_shard(parameter)]
