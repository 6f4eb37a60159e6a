"""Adapters go on the text model's layers, whatever the architecture calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as t
from transformers import AutoModelForCausalLM, PreTrainedConfig

from search_spaces.recipes import LoRA
from search_spaces.registry import named_spaces
from study.planning.model_checks import check_adapters
from tests.support.tiny_models import save_folder
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.methods.training.adapters import adapter_on
from trainables.models.loading import Base
from trainables.models.source import ModelSource
from trainables.models.text_layers import attention_layers, layers_outside_text

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
GEMMA = {**GROUPED, "head_dim": 8}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GPT2 = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
MULTIMODAL = t.Gemma3Config(text_config=GEMMA, vision_config=VISION, mm_tokens_per_image=4)

SPLIT: dict[str, PreTrainedConfig] = {
    "llama": t.LlamaConfig(**GROUPED),
    "mistral": t.MistralConfig(**GROUPED),
    "mixtral": t.MixtralConfig(**GROUPED, num_local_experts=2),
    "qwen2": t.Qwen2Config(**GROUPED),
    "qwen3": t.Qwen3Config(**GROUPED),
    "gemma": t.GemmaConfig(**GEMMA),
    "gemma2": t.Gemma2Config(**GEMMA),
    "gemma3 text": t.Gemma3TextConfig(**GEMMA),
    "gemma3": MULTIMODAL,
    "olmo2": t.Olmo2Config(**GROUPED),
    "smollm3": t.SmolLM3Config(**GROUPED),
    "opt": t.OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64),
}
"""With a query and a value projection of their own."""

FUSED: dict[str, tuple[PreTrainedConfig, str]] = {
    "persimmon": (t.PersimmonConfig(**SHAPE), "query_key_value"),
    "gpt_neox": (t.GPTNeoXConfig(**SHAPE), "query_key_value"),
    "falcon": (t.FalconConfig(**SMALL), "query_key_value"),
    "phi3": (t.Phi3Config(**GROUPED), "qkv_proj"),
    "mpt": (t.MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=64), "Wqkv"),
    "gpt2": (t.GPT2Config(**GPT2), "c_attn"),
}


ARCHITECTURES = {
    "meta-llama/": "llama",
    "huggyllama/": "llama",
    "HuggingFaceTB/SmolLM2": "llama",
    "micro-": "llama",
    "mistralai/Mistral-": "mistral",
    "mistralai/Mixtral-": "mixtral",
    "Qwen/Qwen1.5": "qwen2",
    "Qwen/Qwen2.5": "qwen2",
    "google/gemma-2b": "gemma",
    "google/gemma-3-": "gemma3 text",
    "EleutherAI/pythia": "gpt_neox",
    "adept/persimmon": "persimmon",
    "tiiuae/falcon-7b": "falcon",
}
"""Beginning of a model's name in a shipped space -> its architecture here."""


def shipped_models() -> set[str]:
    spaces = [make() for make in named_spaces().values()]
    measured = (hardness.models for space in spaces for hardness in space.hardness)
    return {model.name for models in (*(s.models for s in spaces), *measured) for model in models}


@pytest.mark.parametrize("model", sorted(shipped_models()))
def test_every_model_of_a_shipped_space_has_an_architecture_here(model: str) -> None:
    """A new model fails until its architecture is built below. Embedded ones tell their own."""
    (case,) = [case for begin, case in ARCHITECTURES.items() if model.startswith(begin)]
    assert case in SPLIT or case in FUSED
    if model in MICRO_MODELS:
        config = json.loads((MICRO_MODELS[model] / "config.json").read_text())
        assert config["model_type"] == SPLIT[case].model_type


def empty(config: PreTrainedConfig) -> t.PreTrainedModel:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("name", SPLIT)
def test_query_and_value_projections_are_found(name: str) -> None:
    names = attention_layers(empty(SPLIT[name]))
    assert [found.rpartition(".")[2] for found in names] == ["q_proj", "v_proj"] * 2
    assert not any("vision" in found for found in names)


@pytest.mark.parametrize("name", FUSED)
def test_fused_projections_are_found(name: str) -> None:
    config, projection = FUSED[name]
    names = attention_layers(empty(config))
    assert [found.rpartition(".")[2] for found in names] == [projection] * 2


def test_only_a_multimodal_model_has_layers_outside_its_text_model() -> None:
    for name, config in SPLIT.items():
        outside = layers_outside_text(empty(config))
        assert bool(outside) == (name == "gemma3")
        assert not any("language_model" in found for found in outside)


@pytest.mark.parametrize("targets", ["attention", "all-linear"])
def test_an_adapter_on_a_multimodal_model_touches_no_vision_layer(targets: str) -> None:
    model = AutoModelForCausalLM.from_config(MULTIMODAL).eval().requires_grad_(False)
    base = Base(model=model, tokenizer=None, device=torch.device("cpu"))
    recipe = LoRA(rank=2, target_modules=targets)
    with adapter_on(base, recipe, seed=0) as adapter:
        assert adapter.names
        assert all(".language_model.layers." in name for name in adapter.names)
        per_layer = 2 if targets == "attention" else 7
        assert len(adapter.layers) == 2 * per_layer


def test_the_plan_refuses_an_architecture_without_attention(tmp_path: Path) -> None:
    t.MambaConfig(**SMALL).save_pretrained(tmp_path / "mamba")
    mamba = ModelSource(name="m", source=str(tmp_path / "mamba"), revision=None, content="c")
    save_folder(tmp_path / "llama")
    llama = ModelSource(name="l", source=str(tmp_path / "llama"), revision=None, content="c")
    check_adapters([mamba], [LoRA()])
    check_adapters([llama], [LoRA(target_modules="attention")])
    with pytest.raises(ValueError, match=r"model 'm', .*MambaForCausalLM has no attention layer"):
        check_adapters([llama, mamba], [LoRA(target_modules="attention")])
