"""Loads a base model: frozen, in eval mode, optionally quantized, with its tokenizer.

Only safetensors files are read, and a model's custom code is never run. Names are resolved in
`trainables.models.resolve`.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers import PreTrainedTokenizerFast as Tokenizer
from transformers.utils.logging import disable_progress_bar

from search_spaces.base_models import BosRule
from trainables.data.prompts.formats import Prompt
from trainables.models.check import build_config, build_tokenizer, refuse_misfits
from trainables.models.finite_weights import check_downloaded_weights
from trainables.models.source import ModelSource
from trainables.models.text_start import find_text_start

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

LEAST_CAPABILITY = {"nf4": (6, 0), "int8": (7, 5)}
"""Compute capability that bitsandbytes needs of an NVIDIA GPU, by quantization: its installation
guide, version 0.50. Quantized models on a CPU need none."""

MOST_UNQUANTIZED = 0.1
"""Share of the weights, without embeddings, that may stay unquantized without a note."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A frozen base model on its device; every cell of a block restores it."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    device: torch.device
    bos: BosRule | None = None
    """Whether texts start with the tokenizer's BOS; None: as the tokenizer itself starts a text."""
    notes: tuple[str, ...] = ()
    """What a reader should know about the loading, one sentence each."""

    def start_of(self, prompt: Prompt) -> tuple[int, ...]:
        """Returns the tokens in front of a prompt's text; none where the text has its own."""
        return find_text_start(self.tokenizer).under(self.bos) if prompt.adds_special_tokens else ()


def load_base(
    source: ModelSource, dtype: str, quantization: str, device: str | torch.device
) -> Base:
    """Returns the base model in eval mode, without gradients.

    Args:
        source: Location of the model (`trainables.models.resolve.resolve_model`).
        dtype: Format of unquantized weights: `float32`, `bfloat16` or `float16`.
        quantization: `none`, `nf4` (bitsandbytes, 4 bits, double quantization) or `int8`
            (bitsandbytes LLM.int8).
        device: Where the model is put, as torch names it.

    Raises:
        ValueError: If the dtype or quantization is unknown or not possible on this machine, or the
            model's files do not fit each other, or weights from the Hub are NaN or infinite.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    device = _check_device(device)
    check_quantization(quantization, device)
    disable_progress_bar()
    quiet_bitsandbytes()
    tokenizer = build_tokenizer(source)
    model, report = AutoModelForCausalLM.from_pretrained(
        source.source,
        revision=source.revision or "main",
        dtype=DTYPES[dtype],
        **_quantized(quantization, dtype, device),
        attn_implementation=_attention(source),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # for the report to name them
        use_safetensors=True,
        trust_remote_code=False,
    )
    refuse_misfits(source, report)
    check_downloaded_weights(source)
    if quantization == "none":
        model.to(device)
    _keep_packing(model)
    model.eval()
    model.requires_grad_(False)
    notes = _notes(model, tokenizer, quantization)
    return Base(model=model, tokenizer=tokenizer, device=device, bos=source.bos, notes=notes)


def check_quantization(quantization: str, device: str | torch.device) -> None:
    """Checks that a device of this machine can hold a base model in the quantization.

    Raises:
        ValueError: If the quantization is unknown, bitsandbytes is not installed, or the device is
            a GPU that is too old for it.
    """
    if quantization not in ("none", "nf4", "int8"):
        raise ValueError(f"quantization must be none, nf4 or int8, got {quantization!r}")
    if quantization != "none" and importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(
            f"quantization {quantization!r} needs bitsandbytes, which is not installed here: "
            "install it, or use a recipe with quantization none"
        )
    device = torch.device(device)
    if quantization != "none" and device.type == "cuda" and torch.version.hip is None:
        capability = torch.cuda.get_device_capability(device)
        least = LEAST_CAPABILITY[quantization]
        if capability < least:
            raise ValueError(
                f"quantization {quantization!r} needs a GPU of compute capability {_dots(least)} "
                f"or more, and {torch.cuda.get_device_name(device)} has {_dots(capability)}: use "
                + ("nf4 or " if LEAST_CAPABILITY["nf4"] <= capability else "")
                + "quantization none, or another machine"
            )


def local_devices() -> tuple[str, ...]:
    """Returns the devices of this machine that base models are put on."""
    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or ("cpu",)


def _dots(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def quiet_bitsandbytes() -> None:
    """Silences bitsandbytes's warnings about an optional kernel, and about every int8 product."""
    for name in ("backends.cpu.ops", "autograd._functions"):
        logging.getLogger(f"bitsandbytes.{name}").setLevel(logging.ERROR)


def _check_device(device: str | torch.device) -> torch.device:
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {str(device)!r}: torch finds no CUDA GPU on this machine")
    return device


def _quantized(quantization: str, dtype: str, device: torch.device) -> Mapping[str, Any]:
    """Returns the options of quantized loading; none, so that a file's own quantization is kept."""
    if quantization == "none":
        return {}
    from transformers import BitsAndBytesConfig  # imports bitsandbytes when used

    config = BitsAndBytesConfig(**bitsandbytes_options(quantization, dtype))
    return {"quantization_config": config, "device_map": {"": device}}


def bitsandbytes_options(quantization: str, dtype: str) -> Mapping[str, Any]:
    """Returns the fields of transformers' `BitsAndBytesConfig`.

    Args:
        quantization: `nf4` or `int8`.
        dtype: A name in `DTYPES`, the format of the products.
    """
    if quantization == "int8":
        return {"load_in_8bit": True}
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": dtype,
    }


def _keep_packing(model: PreTrainedModel) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights at the first inference on a CPU.

    The repacking is in place, needs layer widths that are multiples of 32, and serves a kernel that
    is not part of bitsandbytes. A frozen base must not change.
    """
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False


def _attention(source: ModelSource) -> str | None:
    """Returns `eager` for models whose attention scores are soft-capped: sdpa cannot do that."""
    softcap = getattr(build_config(source).get_text_config(), "attn_logit_softcapping", None)
    return None if softcap is None else "eager"


def find_unquantized(model: PreTrainedModel) -> tuple[tuple[str, ...], float]:
    """Returns the unquantized matrices of a quantized model, and their share of its weights.

    bitsandbytes replaces linear layers, not fused experts. Embeddings and the projection to the
    vocabulary are not meant to be quantized and do not count; vectors (norms, biases) are
    negligible. Layers of a stack share one name, with `*` for the number.
    """
    kept = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    head = model.get_output_embeddings()
    kept += [] if head is None else [head]
    meant = {id(parameter) for module in kept for parameter in module.parameters()}
    names: dict[str, None] = {}
    left = quantized = 0
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():  # uint8 holds two weights of 4 bits
            quantized += parameter.numel() * (2 if parameter.dtype == torch.uint8 else 1)
        elif parameter.ndim > 1 and id(parameter) not in meant:
            names[re.sub(r"\.\d+\.", ".*.", name)] = None
            left += parameter.numel()
    return tuple(names), left / max(1, left + quantized)


def _notes(model: PreTrainedModel, tokenizer: Tokenizer, quantization: str) -> tuple[str, ...]:
    notes = []
    if tokenizer.pad_token_id is None:
        notes.append("the tokenizer has no pad token: rows are filled with token 0 and masked")
    if quantization == "int8":
        notes.append("int8: inputs are cast to float16, and scores depend on the batch (class B)")
    names, share = find_unquantized(model) if quantization != "none" else ((), 0.0)
    if share > MOST_UNQUANTIZED:
        notes.append(
            f"{quantization} did not reach {share:.0%} of the weights ({', '.join(names)}): "
            "bitsandbytes replaces linear layers only, so these stay in the dtype; a recipe with "
            "quantization none describes them correctly"
        )
    return tuple(notes)
