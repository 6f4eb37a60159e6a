"""The weight files of a model's folder: which of them transformers loads, and their headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.models.safetensors_header import read_header
from trainables.models.source import ADAPTER_CONFIG

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = f"{WEIGHTS}.index.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def loaded_headers(name: str, folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Returns the headers of the base model's files that transformers loads, by file name.

    A folder may hold its weights a second time in another layout, as Mistral's do
    (`consolidated.safetensors`). Such files are not read.

    Args:
        name: Of the model, for messages.
        folder: Of the model.

    Raises:
        ValueError: If there is none, one is damaged, or a shard is missing or lacks tensors that
            the index places in it.
    """
    available = {path.name for path in folder.glob("*.safetensors")}
    if not available:
        raise ValueError(
            f"model {name!r}: {folder} holds no *.safetensors; other weight files are never "
            "read (they can run code): convert them with safetensors first"
        )
    if WEIGHTS in available:
        return {WEIGHTS: read_header(folder / WEIGHTS)}
    if not (folder / WEIGHTS_INDEX).is_file():
        return {file: read_header(folder / file) for file in sorted(available)}
    places = read_index(name, folder)
    if absent := sorted(set(places.values()) - available):
        raise ValueError(
            f"model {name!r}: {folder} lacks {', '.join(absent)}, in which {WEIGHTS_INDEX} places "
            "tensors of the model: copy what is missing from the model"
        )
    headers = {file: read_header(folder / file) for file in sorted(set(places.values()))}
    if strays := [tensor for tensor, file in places.items() if tensor not in headers[file]]:
        raise ValueError(
            f"model {name!r}: {WEIGHTS_INDEX} in {folder} names {len(strays)} tensors that the "
            f"file it places them in does not hold: {', '.join(sorted(strays)[:3])}: copy the "
            "index and its *.safetensors from one checkpoint"
        )
    return headers


def loaded_files(name: str, folder: Path) -> tuple[Path, ...]:
    """Returns the files that transformers loads: the base model's, then those of an adapter.

    Raises:
        ValueError: As `loaded_headers` does.
    """
    adapter = folder / ADAPTER_WEIGHTS
    has_adapter = (folder / ADAPTER_CONFIG).is_file() and adapter.is_file()
    files = [folder / file for file in loaded_headers(name, folder) if file != ADAPTER_WEIGHTS]
    return (*files, adapter) if has_adapter else tuple(files)


def read_index(name: str, folder: Path) -> Mapping[str, str]:
    """Returns the file of each tensor of a model whose weights are in several files.

    Raises:
        ValueError: If the index is damaged.
    """
    path = folder / WEIGHTS_INDEX
    files = read_json_object(name, path).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise ValueError(
            f"model {name!r}: {path} has no weight_map from a tensor's name to its file: copy it "
            "from the model again"
        )
    return files


def read_json_object(name: str, path: Path) -> Mapping[str, Any]:
    """Returns the content of a JSON file of a model.

    Raises:
        ValueError: If it is not JSON, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"model {name!r}: {path} is not JSON: {error}; copy it from the model again"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"model {name!r}: {path} must hold one JSON object")
    return content
