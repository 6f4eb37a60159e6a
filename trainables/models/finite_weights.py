"""Checks that the values of a model's weights are numbers."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

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


def _is_finite(tensor: Tensor) -> bool:
    if tensor.dtype not in CHECKED or not tensor.numel():
        return True
    # One pass without a copy: NaN propagates to both ends.
    return all(bool(end.isfinite()) for end in tensor.aminmax())
