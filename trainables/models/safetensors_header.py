"""Reads the header of a safetensors file, without its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_header(path: Path) -> Mapping[str, Any]:
    """Returns the JSON header of a safetensors file: a little-endian length, then the header.

    Source: https://github.com/huggingface/safetensors#format

    Raises:
        ValueError: If it is not a safetensors file, or a truncated one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        # The length is not trustworthy: reading that many bytes could exhaust memory.
        if length > size - 8:
            raise _incomplete(path, size, f"the header alone would take {length + 8:,}")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not a safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path}: not a safetensors file: its header is not a JSON object")
    needed = 8 + length + _end_of_data(path, header)
    if needed > size:
        raise _incomplete(path, size, f"its header describes {needed:,}")
    return header


def _end_of_data(path: Path, header: Mapping[str, Any]) -> int:
    """Returns where the last tensor ends, counted from the end of the header."""
    tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
    try:
        return max((int(tensor["data_offsets"][1]) for tensor in tensors), default=0)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a safetensors file: a tensor without offsets") from error


def _incomplete(path: Path, size: int, expected: str) -> ValueError:
    return ValueError(
        f"{path}: a safetensors file must be whole: it has {size:,} bytes, {expected}; it is cut "
        "short or a git-LFS pointer: download it again, or run `git lfs pull` in its repository"
    )
