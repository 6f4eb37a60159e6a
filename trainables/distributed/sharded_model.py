"""A base model whose weights are shared out among the workers of a group (ZeRO stage 3).

Every weight is cut into as many pieces as there are workers, and stays cut while the model is
resident. A pass without gradients gathers a layer's weights when the layer begins and lets them go
when it ends, so all workers make the same passes in step. Training is DeepSpeed's own
(`trainables.distributed.zero`).
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
    """Lets transformers load a model in pieces: no worker holds more than its own and a tensor.

    Args:
        device: Where the model will be used.
        dtype: The number format of its weights.
        offload: Whether the pieces lie in the memory of the CPU.
    """
    on_gpu = device.type == "cuda"
    prepare_process(on_gpu=on_gpu)
    import transformers.integrations.deepspeed as integration

    # transformers looks at this configuration for as long as the object lives.
    config = integration.HfDeepSpeedConfig(
        zero_config(3, offload=offload, on_gpu=on_gpu, dtype=dtype)
    )
    try:
        yield
    finally:
        integration.unset_hf_deepspeed_config()
        del config


def gather_in_passes(model: PreTrainedModel) -> None:
    """Makes every pass without gradients gather what it needs, layer by layer."""
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    inside = {id(part) for layer in layers for part in layer.modules()}
    others = [
        part
        for part in model.modules()
        if id(part) not in inside and any(True for _ in part.parameters(recurse=False))
    ]
    for layer in layers:
        _hook(layer, recurse=True)
    for part in others:
        _hook(part, recurse=False)


def is_shard(parameter: Tensor) -> bool:
    """Says whether this worker holds a piece of the parameter only."""
    return hasattr(parameter, "ds_tensor")


def held(parameter: Any) -> Tensor:
    """Returns what this worker holds of a parameter: all of it, or its piece, flat."""
    piece: Tensor = parameter.ds_tensor if is_shard(parameter) else parameter.data
    return piece


@contextmanager
def gathered(parameters: Iterable[Tensor], *, to_write: bool = False) -> Iterator[None]:
    """Holds parameters whole on every worker for a while; all workers enter together.

    Args:
        parameters: Those that are in pieces are gathered.
        to_write: Whether what the first worker writes into them is kept, by all.
    """
    pieces = [parameter for parameter in parameters if is_shard(parameter)]
    if not pieces:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(pieces, modifier_rank=0 if to_write else None):
        yield


def whole_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns copies of named weights on the CPU, gathered one after the other."""
    copies = {}
    for name, weight in weights.items():
        with gathered([weight]):
            copies[name] = weight.detach().to("cpu", copy=True)
    return copies


def write_weights(parameters: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]) -> None:
    """Puts whole weights into named ones: in their dtype, and in pieces where they are so."""
    for name, parameter in parameters.items():
        with torch.no_grad(), gathered([parameter], to_write=True):
            parameter.copy_(state[name])


def first_workers(model: nn.Module, values_N: Tensor) -> Tensor:
    """Returns the first worker's numbers where the model is in pieces, else this worker's own.

    What the next pass over a base in pieces is must be decided so: a worker whose last bits differ
    would make other passes than the rest, and all would wait for each other.

    Args:
        model: Whose passes made the numbers; all workers have as many of them.
        values_N: On the model's device, or on the CPU.
    """
    if not is_shard(next(model.parameters())):  # asked for every token that is written
        return values_N
    import torch.distributed as dist

    # NCCL sends from a GPU only, gloo from the CPU.
    where = torch.device("cpu" if dist.get_backend() == "gloo" else "cuda")
    with torch.inference_mode(False):
        shared_N = values_N.detach().to(where, copy=True)
        dist.broadcast(shared_N, src=0)
    return shared_N.to(values_N.device)


def _hook(part: nn.Module, *, recurse: bool) -> None:
    def gather(module: nn.Module, inputs: object) -> None:
        del inputs
        pieces = _pieces(module, recurse=recurse)
        if pieces and not torch.is_grad_enabled():
            if type(module._parameters) is not dict:  # DeepSpeed's, which gathers too
                raise RuntimeError("a base in pieces cannot answer while it is being trained")
            # What is made in inference mode could never be trained afterwards.
            with torch.inference_mode(False), torch.no_grad():
                pieces[0].all_gather(param_list=pieces)

    def release(module: nn.Module, inputs: object, output: object) -> None:
        del inputs, output
        pieces = _pieces(module, recurse=recurse)
        if pieces and not torch.is_grad_enabled():
            with torch.inference_mode(False), torch.no_grad():
                pieces[0].partition(param_list=pieces)

    part.register_forward_pre_hook(gather)
    part.register_forward_hook(release, always_call=True)


def _pieces(module: nn.Module, *, recurse: bool) -> Sequence[Any]:
    return [parameter for parameter in module.parameters(recurse=recurse) if is_shard(parameter)]
