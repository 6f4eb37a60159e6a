"""A LoRA adapter as the two files of peft's format, which `PeftModel.from_pretrained` loads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from search_spaces.recipes import AdapterTraining
from trainables.methods.training.adapters import PEFT_PREFIX
from trainables.models.source import ModelSource

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def adapter_config(recipe: AdapterTraining, source: ModelSource, names: Iterable[str]) -> bytes:
    """Returns the content of adapter_config.json, equal for equal arguments.

    Args:
        recipe: Of the training.
        source: The base model; a folder is named by its path, a model of the Hub by its commit too.
        names: Of the adapter's weights, as in peft's files.
    """
    from peft import LoraConfig  # imports bitsandbytes: seconds

    modules = {name.removeprefix(PEFT_PREFIX).split(".lora_")[0] for name in names}
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=sorted(modules),
        task_type="CAUSAL_LM",
        inference_mode=True,
        base_model_name_or_path=source.source,
        revision=source.revision,
    )
    return json.dumps(config.to_dict(), indent=2, sort_keys=True, default=_plain).encode()


def _plain(value: object) -> Any:
    """Returns a set of names in a fixed order."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no value of adapter_config.json")
