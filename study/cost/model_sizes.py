"""Sizes of published models, for dry runs without their weights.

Counted from the dimensions in each model's config.json on the Hub, tied weights once, rounded to
three digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSize:
    """Numbers of weights of a model."""

    num_params: int
    num_active: int
    """Weights used per token; fewer than `num_params` in a mixture of experts."""
    num_expert: int = 0
    """Weights of routed experts."""
    num_layers: int | None = None
    """The dimensions make a dry run's memory more precise; None: estimated from the weights."""
    hidden_size: int | None = None
    vocab_size: int | None = None


def _dense(num_params: float, **dimensions: int) -> ModelSize:
    number = round(num_params)
    return ModelSize(num_params=number, num_active=number, **dimensions)


QWEN3, LLAMA3 = 151_936, 128_256
"""Sizes of their vocabularies."""


MODELS: Mapping[str, ModelSize] = {
    "meta-llama/Llama-2-7b-hf": _dense(6.74e9),
    "meta-llama/Llama-2-13b-hf": _dense(13.0e9),
    "meta-llama/Llama-2-70b-hf": _dense(69.0e9),
    "meta-llama/Llama-2-70b-chat-hf": _dense(69.0e9),
    "mistralai/Mixtral-8x7B-v0.1": ModelSize(
        num_params=46_700_000_000, num_active=12_900_000_000, num_expert=45_100_000_000
    ),
    "Qwen/Qwen1.5-72B": _dense(72.3e9),
    "Qwen/Qwen2.5-0.5B": _dense(494e6),
    "Qwen/Qwen2.5-1.5B": _dense(1.54e9),
    "Qwen/Qwen2.5-0.5B-Instruct": _dense(494e6),
    "Qwen/Qwen2.5-1.5B-Instruct": _dense(1.54e9),
    "google/gemma-2b-it": _dense(2.51e9),
    "google/gemma-3-270m": _dense(268e6),
    "meta-llama/Meta-Llama-3-8B-Instruct": _dense(8.03e9),
    "HuggingFaceTB/SmolLM2-135M": _dense(135e6),
    "HuggingFaceTB/SmolLM2-135M-Instruct": _dense(135e6),
    "HuggingFaceTB/SmolLM2-360M": _dense(362e6),
    "HuggingFaceTB/SmolLM2-1.7B": _dense(1.71e9),
    "EleutherAI/pythia-160m": _dense(162e6),
    "EleutherAI/pythia-410m": _dense(405e6),
    "EleutherAI/pythia-1b": _dense(1.01e9),
    "EleutherAI/pythia-1.4b": _dense(1.41e9),
    "meta-llama/Llama-3.2-1B": _dense(1.24e9, num_layers=16, hidden_size=2048, vocab_size=LLAMA3),
    "Qwen/Qwen3-0.6B-Base": _dense(596e6, num_layers=28, hidden_size=1024, vocab_size=QWEN3),
    "Qwen/Qwen3-1.7B-Base": _dense(1.72e9, num_layers=28, hidden_size=2048, vocab_size=QWEN3),
    "Qwen/Qwen3-4B-Base": _dense(4.02e9, num_layers=36, hidden_size=2560, vocab_size=QWEN3),
    "Qwen/Qwen3-8B-Base": _dense(8.19e9, num_layers=36, hidden_size=4096, vocab_size=QWEN3),
}
"""Sizes by name on the Hub."""
