"""Finds the linear layers that an adapter is attached to: those of the text model.

They are found by module, not by a list of architectures. Layers outside the text model (a vision
tower, the projection of its states) do not process text and are never adapted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trainables.models.check import build_config
from trainables.models.source import ModelSource

QUERY_AND_VALUE = (
    ("q_proj", "v_proj"),
    ("query", "value"),
    ("q_lin", "v_lin"),
    ("wq", "wv"),
)
"""Names of an attention's query and value projections, as transformers' decoders have them."""

FUSED = ("query_key_value", "Wqkv", "c_attn", "qkv_proj", "qkv", "W_pack")
"""Names of one projection that makes query, key and value."""


def attention_layers(model: PreTrainedModel) -> tuple[str, ...]:
    """Returns the names of the text model's query and value projections, or of the fused ones.

    Raises:
        ValueError: If the architecture has no known ones.
    """
    layers = {id(module) for module in model.get_decoder().modules()}
    names = tuple(
        f"{name}.{projection}" if name else projection
        for name, module in model.named_modules()
        if id(module) in layers
        for projection in _projections(module)
    )
    if not names:
        raise ValueError(
            f"{type(model).__name__} has no attention layer with query and value projections "
            f"({_pairs()}) or a fused one ({', '.join(FUSED)}): use target_modules='all-linear'"
        )
    return names


def target_layers(model: PreTrainedModel, targets: str) -> dict[str, Any]:
    """Returns the arguments of peft's `LoraConfig` that select layers.

    Args:
        model: The base.
        targets: `all-linear` or `attention`, as in a recipe.

    Raises:
        ValueError: As `attention_layers`.
    """
    if targets == "attention":
        return {"target_modules": list(attention_layers(model))}
    outside = layers_outside_text(model)
    return {"target_modules": targets, "exclude_modules": list(outside) or None}


def layers_outside_text(model: PreTrainedModel) -> tuple[str, ...]:
    """Returns the names of linear layers outside the text model; its head does not count."""
    head = model.get_output_embeddings()
    inside = {id(module) for module in model.get_decoder().modules()}
    return tuple(
        name
        for name, module in model.named_modules()
        if _is_linear(module) and id(module) not in inside and module is not head
    )


def check_attention(source: ModelSource) -> None:
    """Checks, without reading weights, that the model has attention layers to adapt.

    Raises:
        ValueError: Naming the model, if it has none.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(build_config(source))
    try:
        attention_layers(model)
    except ValueError as error:
        raise ValueError(
            f"model {source.name!r}, recipe with target_modules='attention': {error}"
        ) from error


def _projections(module: nn.Module) -> Sequence[str]:
    """Returns the children of an attention module that are adapted; none of another module."""
    linear = {name for name, child in module.named_children() if _is_linear(child)}
    for pair in QUERY_AND_VALUE:
        if linear.issuperset(pair):
            return pair
    return [name for name in FUSED if name in linear][:1]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)


def _pairs() -> str:
    return ", ".join(" and ".join(pair) for pair in QUERY_AND_VALUE)
