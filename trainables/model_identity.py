"""Which base model a name means: where it lies, the hash of its content, and its size.

Nothing is loaded: facts come from config.json and from the headers of the safetensors files, so the
plan can use this room without torch. Loading is `trainables.models`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from search_spaces.space import BaseModelRef
from trainables.errors import UnavailableError
from trainables.experts import count_expert_params
from trainables.safetensors_header import read_header

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""`owner/name`, as the Hub spells it."""

COMMIT = re.compile(r"[0-9a-f]{40}")

HUB_TIMEOUT_S = 20.0

CHAT_TEMPLATE_FILE = "chat_template.jinja"

TOKENIZER_FILES = (
    "added_tokens.json",
    CHAT_TEMPLATE_FILE,
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)

CONTENT_PATTERNS = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    *TOKENIZER_FILES,
)
"""Files that can change a model's numbers; a README or a training log cannot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """A base model that was found: where it is loaded from and what identifies it."""

    name: str
    """As the space names it."""
    source: str
    """Folder, or name on the Hub."""
    revision: str | None
    """Commit on the Hub; None for a folder."""
    content: str
    """`files:<sha256>` of a folder's files, or `hub:<name>@<commit>`."""
    num_params: int | None = None
    """Weights, tied ones once; None where the headers do not tell."""
    num_layers: int | None = None
    hidden_size: int | None = None
    vocab_size: int | None = None
    max_positions: int | None = None
    """Longest context in tokens."""
    num_expert_params: int = 0
    """Weights of routed experts, which no quantization reaches (`trainables.experts`)."""


def resolve_model(ref: BaseModelRef) -> ModelSource:
    """Returns where the model lies, the identity of its content, and its size.

    A name is looked up among the embedded lab's models, then as a folder, then on the Hub.

    Raises:
        ValueError: If there is no such model, its weights are not safetensors, or it needs code of
            its own.
        UnavailableError: If it may be on the Hub, and the Hub cannot be reached.
    """
    micro_models = _micro_models()
    if ref.name in micro_models:
        return _resolve_folder(ref, micro_models[ref.name])
    folder = Path(ref.name).expanduser()
    if folder.exists() or ref.name.startswith((".", "/", "~")):
        return _resolve_folder(ref, folder)
    if HUB_NAME.fullmatch(ref.name):
        return _resolve_hub(ref)
    raise ValueError(
        f"model {ref.name!r}: neither an embedded model ({', '.join(micro_models)}), nor a folder, "
        "nor a Hub name of the form owner/name"
    )


def _micro_models() -> Mapping[str, Path]:
    from trainables.lab import MICRO_MODELS  # the lab is optional for everyone else's models

    return MICRO_MODELS


def _resolve_folder(ref: BaseModelRef, folder: Path) -> ModelSource:
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"model {ref.name!r}: {folder} holds no config.json; give a folder in Hugging Face "
            "format"
        )
    if ref.revision is not None:
        raise ValueError(
            f"model {ref.name!r}: a folder has no revision, got {ref.revision!r}; leave it out"
        )
    config = _read_config(ref.name, folder / "config.json")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ValueError(
            f"model {ref.name!r}: {folder} holds no *.safetensors; other weight files are never "
            "read (they can run code): convert them with safetensors first"
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ValueError(f"model {ref.name!r}: {folder} holds no tokenizer files")
    return ModelSource(
        name=ref.name,
        source=str(folder.resolve()),
        revision=None,
        content=f"files:{_hash_files(folder)}",
        num_params=_count_params(config, (read_header(path) for path in weights)),
        num_expert_params=count_expert_params(_text_config(config)),
        **_facts(config),
    )


def _read_config(name: str, path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"model {name!r}: {path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"model {name!r}: {path} must hold one JSON object")
    if "auto_map" in config and not _is_native(config.get("model_type")):
        raise ValueError(
            f"model {name!r}: its config.json asks for code of its own (auto_map), which is never "
            f"run, and its model_type {config.get('model_type')!r} is no causal language model of "
            "the transformers installed here; use a model whose architecture is part of it"
        )
    return config


def _is_native(model_type: object) -> bool:
    """Says whether transformers has the architecture, so that the model's own code is not needed.

    Repositories of architectures that transformers took up later (Falcon, MPT) keep their auto_map.
    """
    from transformers.models.auto.modeling_auto import (  # with torch: few models need it
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    )

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def _hash_files(folder: Path) -> str:
    """Returns the SHA-256 over the files' names and contents; the folder's place is not in it."""
    paths = {path for pattern in CONTENT_PATTERNS for path in folder.glob(pattern)}
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name}:{content}\n".encode())
    return total.hexdigest()


def _count_params(config: Mapping[str, Any], headers: Iterable[Mapping[str, Any]]) -> int | None:
    """Returns the number of weights; None for a quantized file, whose shapes are packed."""
    if "quantization_config" in config:
        return None
    shapes = {
        name: tensor["shape"]
        for header in headers
        for name, tensor in header.items()
        if name != "__metadata__"
    }
    if _text_config(config).get("tie_word_embeddings", config.get("tie_word_embeddings")):
        shapes.pop("lm_head.weight", None)  # some files hold the tied weight twice
    return sum(int(prod(shape)) for shape in shapes.values())


def _facts(config: Mapping[str, Any]) -> dict[str, int | None]:
    """Returns sizes under one name each; GPT-2 says n_layer, n_embd and n_positions."""
    text = _text_config(config)
    spellings = {
        "num_layers": ("num_hidden_layers", "n_layer", "num_layers"),
        "hidden_size": ("hidden_size", "n_embd", "d_model"),
        "vocab_size": ("vocab_size",),
        "max_positions": ("max_position_embeddings", "n_positions", "max_seq_len"),
    }
    return {
        fact: next((text[name] for name in names if isinstance(text.get(name), int)), None)
        for fact, names in spellings.items()
    }


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def _resolve_hub(ref: BaseModelRef) -> ModelSource:
    """Looks the model up in the local cache where its commit is given, else on the Hub."""
    if ref.revision is not None and COMMIT.fullmatch(ref.revision):
        cached = try_to_load_from_cache(ref.name, "config.json", revision=ref.revision)
        path = Path(cached) if isinstance(cached, str) else None
        weights = sorted(path.parent.glob("*.safetensors")) if path else []
        if path and weights:
            config = _read_config(ref.name, path)
            num_params = _count_params(config, (read_header(path) for path in weights))
            return _hub_source(ref.name, ref.revision, config, num_params)
    try:
        info = HfApi().model_info(ref.name, revision=ref.revision, timeout=HUB_TIMEOUT_S)
        config_path = Path(hf_hub_download(ref.name, "config.json", revision=info.sha))
    except (HFValidationError, HfHubHTTPError) as error:
        raise ValueError(
            f"model {ref.name!r}, revision {ref.revision or 'main'!r}: the Hub refused it: {error}"
        ) from error
    except Exception as error:  # what a broken network raises depends on the client's version
        raise UnavailableError(
            f"model {ref.name!r}: not an embedded model, not a folder, and the Hub cannot be "
            f"reached ({type(error).__name__}); give the path of a local copy"
        ) from error
    config = _read_config(ref.name, config_path)
    if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or ()):
        raise ValueError(
            f"model {ref.name!r}: no safetensors at commit {info.sha}; other weight files are "
            "never read (they can run code)"
        )
    total = info.safetensors.total if info.safetensors else None
    is_packed = "quantization_config" in config
    return _hub_source(ref.name, str(info.sha), config, None if is_packed else total)


def _hub_source(
    name: str, commit: str, config: Mapping[str, Any], num_params: int | None
) -> ModelSource:
    return ModelSource(
        name=name,
        source=name,
        revision=commit,
        content=f"hub:{name}@{commit}",
        num_params=num_params,
        num_expert_params=count_expert_params(_text_config(config)),
        **_facts(config),
    )
