"""A LoRA adapter on the resident base model, attached for training and removed without a trace.

Shape legend: N tokens, I and O the width of a layer's input and output, R rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.recipes import AdapterTraining
from trainables.distributed.sharded_model import is_shard
from trainables.models.loading import Base, quiet_bitsandbytes
from trainables.models.text_layers import target_layers

PEFT_PREFIX = "base_model.model."
"""In front of the base's own names of modules in peft's files."""

MAX_MERGED_BYTES = 2**30
"""Larger models are scored without merging, to save memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """The trained part of a model."""

    layers: tuple[Any, ...]
    """peft's layers, each around one of the base."""
    parameters: tuple[nn.Parameter, ...]
    names: tuple[str, ...]
    """Of the parameters, in their order, as in peft's files."""

    def state(self) -> dict[str, torch.Tensor]:
        """Returns copies of the adapter's weights, on the CPU."""
        return {
            name: parameter.detach().to("cpu", copy=True)
            for name, parameter in zip(self.names, self.parameters, strict=True)
        }

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Loads the weights of another adapter of the same recipe."""
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters, strict=True):
                parameter.copy_(state[name])

    @contextmanager
    def training(self) -> Iterator[None]:
        """Enables the adapter's dropout; that of the base stays off."""
        for layer in self.layers:
            layer.lora_dropout.train()
        try:
            yield
        finally:
            for layer in self.layers:
                layer.lora_dropout.eval()

    @contextmanager
    def without_dropout(self) -> Iterator[None]:
        """Disables the adapter's dropout for a while, to answer in the middle of training."""
        was_on = [layer.lora_dropout.training for layer in self.layers]
        try:
            for layer in self.layers:
                layer.lora_dropout.eval()
            yield
        finally:
            for layer, flag in zip(self.layers, was_on, strict=True):
                layer.lora_dropout.train(flag)

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Merges the adapter into copies of the weights, if those are whole, plain fp32 and small.

        Scoring then costs as much as without an adapter. The base's weights are put back afterwards
        rather than computed by subtraction, which would leave rounding errors.
        """
        linears = [layer.get_base_layer() for layer in self.layers]
        if any(
            not isinstance(linear, nn.Linear)
            or linear.weight.dtype != torch.float32
            or is_shard(linear.weight)
            for linear in linears
        ):
            yield
            return
        if sum(linear.weight.nbytes for linear in linears) > MAX_MERGED_BYTES:
            yield
            return
        with ExitStack() as stack, torch.no_grad():
            for layer, linear in zip(self.layers, linears, strict=True):
                stack.callback(setattr, linear, "weight", linear.weight)
                stack.callback(layer.enable_adapters, True)
                weight = linear.weight + layer.get_delta_weight("default")
                linear.weight = nn.Parameter(weight, requires_grad=False)
                layer.enable_adapters(False)
            yield


@contextmanager
def adapter_on(base: Base, recipe: AdapterTraining, seed: int) -> Iterator[Adapter]:
    """Attaches a new adapter to the base model, in place, and always removes it at the end.

    Args:
        base: The frozen base model; its weights are shared, not copied.
        recipe: Rank, scale, dropout and target modules.
        seed: Of the adapter's initial weights; peft draws them from the global generator, whose
            state is restored.

    Raises:
        ValueError: If the architecture has no such target modules.
    """
    # Importing peft imports bitsandbytes: seconds that only these cells pay.
    quiet_bitsandbytes()
    from peft import LoraConfig, LoraModel
    from peft.tuners.lora import Linear, LoraLayer

    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        **target_layers(base.model, recipe.target_modules),
        task_type="CAUSAL_LM",
    )
    with own_randomness(base.device, seed):
        tuner = LoraModel(base.model, {"default": config}, "default")
    try:
        base.model.eval()
        layers = tuple(layer for layer in base.model.modules() if isinstance(layer, LoraLayer))
        for layer in layers:
            if type(layer) is Linear and recipe.dropout == 0.0:
                layer.forward = partial(_adapted_output, layer)
        trained = {n: p for n, p in base.model.named_parameters() if p.requires_grad}
        for parameter in trained.values():
            # In 16 bits an update at the learning rate would often be rounded away.
            parameter.data = parameter.data.float()
        yield Adapter(
            layers=layers,
            parameters=tuple(trained.values()),
            names=tuple(map(peft_name, trained)),
        )
    finally:
        tuner.unload()


def peft_name(parameter: str) -> str:
    """Returns the name in peft's files of a parameter of the adapted base."""
    return f"{PEFT_PREFIX}{parameter.replace('.default.', '.')}"


def add_low_rank(
    output: Tensor, given: Tensor, down_RI: Tensor, up_OR: Tensor, scale: float
) -> Tensor:
    """Returns a layer's output plus the adapter's low-rank update, in the output's dtype.

    Source: arXiv:2106.09685, equation 3.

    Args:
        output: Of the frozen layer, [..., O].
        given: The layer's input, [..., I].
        down_RI: First factor; the update is computed in its dtype.
        up_OR: Second factor.
        scale: Of the update: alpha / rank.
    """
    input_NI = given.reshape(-1, given.shape[-1]).to(down_RI.dtype)
    output_NO = output.reshape(-1, output.shape[-1]).to(down_RI.dtype)
    # Batched products of one matrix: `mm` may round otherwise, and trained cells keep their bytes.
    inner_1NR = torch.bmm(input_NI[None], down_RI[None].transpose(1, 2))
    # One product that scales and adds: each of these alone would pass over the whole output again.
    added_1NO = torch.baddbmm(output_NO[None], inner_1NR, up_OR[None].transpose(1, 2), alpha=scale)
    return added_1NO.reshape(output.shape).to(output.dtype)


def _adapted_output(layer: Any, given: Tensor) -> Tensor:
    """Computes what peft's layer with one adapter and no dropout does."""
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    if layer.disable_adapters or is_shard(down):
        # peft's own modules gather sharded factors.
        return type(layer).forward(layer, given)
    output = layer.base_layer(given)
    return add_low_rank(output, given, down, up, layer.scaling["default"])


@contextmanager
def own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Seeds torch's global generators for a while and restores their states afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
