"""Checks that the values of a model's weights are numbers."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.utils import CONFIG_NAME, cached_file

from trainables.models.source import ModelSource
from trainables.models.weight_files import loaded_files

CHECKED = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Formats whose values are checked; a quantizer's integers are always finite."""


def check_finite_weights(name: str, folder: Path) -> None:
    """Reads every weight that transformers would load once, and refuses NaN and infinite values.

    Args:
        name: Of the model, for the message.
        folder: Of the model.

    Raises:
        ValueError: Naming the first tensor with such a value, and how many values of it are.
    """
    for path in loaded_files(name, folder):
        with safe_open(path, framework="pt") as file:
            for tensor_name in sorted(file.keys()):
                tensor = file.get_tensor(tensor_name)
                if not _is_finite(tensor):
                    number = int((~tensor.isfinite()).sum())
                    raise ValueError(
                        f"model {name!r}: tensor {tensor_name} in {path} has {number:,} of "
                        f"{tensor.numel():,} values that are NaN or infinite: the file is damaged, "
                        "or the training that wrote it diverged; give another checkpoint"
                    )


def check_downloaded_weights(source: ModelSource) -> None:
    """Checks the weights of a model of the Hub, once this machine has its files.

    The plan checks folders only; weights of the Hub may not have been downloaded by then. The files
    are checked, not the loaded model: a quantizer may turn NaN into a number, and a worker of
    several may hold only shards. They have just been read, so this costs little.

    Raises:
        ValueError: As `check_finite_weights`.
    """
    if source.revision is None:
        return
    config = cached_file(source.source, CONFIG_NAME, revision=source.revision)
    check_finite_weights(source.name, Path(config).parent)


def _is_finite(tensor: Tensor) -> bool:
    if tensor.dtype not in CHECKED or not tensor.numel():
        return True
    # One pass without a copy: NaN propagates to both ends.
    return all(bool(end.isfinite()) for end in tensor.aminmax())
