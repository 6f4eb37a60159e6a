"""Resolves the name of a base model to its location, the hash of its content, and its size.

Sizes come from config.json and the headers of the safetensors files. Models whose files are on this
machine are also checked (`trainables.models.check`) unless they have passed before
(`trainables.models.passed_checks`). Models are loaded in `trainables.models.loading`.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, cast, get_args

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from search_spaces.base_models import BaseModelRef, BosRule
from search_spaces.explain import did_you_mean, one_line
from trainables.errors import UnavailableError
from trainables.models import passed_checks
from trainables.models.gguf import is_gguf, refuse_gguf
from trainables.models.source import ADAPTER_CONFIG, DType, ModelSource
from trainables.models.text_start import TextStart
from trainables.models.weight_files import (
    WEIGHTS_INDEX,
    loaded_headers,
    read_index,
    read_json_object,
)

NUM_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""Names used by Mixtral, Qwen's mixtures of experts and DeepSeek."""

WIDTH = ("moe_intermediate_size", "intermediate_size")

MATRICES = 3
"""Of an expert: gate, up and down."""


def count_expert_params(text_config: Mapping[str, Any]) -> int:
    """Returns the number of weights of routed experts; 0 for a dense model.

    Every layer from `first_k_dense_replace` on counts as a mixture, as in the three families above;
    a model that mixes them with dense layers in another pattern has fewer.
    """

    def size(*names: str) -> int:
        return next((text_config[name] for name in names if _is_size(text_config.get(name))), 0)

    layers = max(0, size("num_hidden_layers") - size("first_k_dense_replace"))
    return layers * size(*NUM_EXPERTS) * MATRICES * size("hidden_size") * size(*WIDTH)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""`owner/name`, as the Hub spells it."""

COMMIT = re.compile(r"[0-9a-f]{40}")

HUB_TIMEOUT_S = 20.0

MAX_CHARS = 120
"""Longest quotation of the Hub's client."""

CHAT_TEMPLATE_FILE = "chat_template.jinja"


VOCABULARY_FILES = ("spiece.model", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")

TOKENIZER_FILES = (
    "added_tokens.json",
    CHAT_TEMPLATE_FILE,
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
    *VOCABULARY_FILES,
)

SIZE_KEYS = {
    "num_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "vocab_size": ("vocab_size",),
    "max_positions": ("max_position_embeddings", "n_positions", "max_seq_len"),
}
"""Size -> its names in config.json; GPT-2 uses n_layer, n_embd and n_positions."""

DTYPE_KEYS = ("dtype", "torch_dtype")
"""As transformers 5 and earlier versions write it."""

STORED_AS: Mapping[DType, str] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""Dtype -> safetensors' name of it."""

CORRECT_CONFIG = "correct it, or copy config.json from the model again"

CONTENT_PATTERNS = (
    ADAPTER_CONFIG,
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    *TOKENIZER_FILES,
)
"""Files that can change a model's numbers; a README or a training log cannot."""


def resolve_model(ref: BaseModelRef) -> ModelSource:
    """Returns the location of the model, the identity of its content, and its size.

    Without a path, the name is looked up among the embedded lab's models, then as a folder, then on
    the Hub.

    Raises:
        ValueError: If the model does not exist, its weights are not safetensors, it needs custom
            code, or its files do not fit each other.
        UnavailableError: If it may be on the Hub, and the Hub cannot be reached.
    """
    if ref.path is not None:
        return _resolve_folder(ref, Path(ref.path).expanduser())
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
        f"nor a Hub name of the form owner/name{did_you_mean(ref.name, micro_models)}"
    )


def _micro_models() -> Mapping[str, Path]:
    from trainables.data.lab.base_models import MICRO_MODELS

    return MICRO_MODELS


def _resolve_folder(ref: BaseModelRef, folder: Path) -> ModelSource:
    refuse_gguf(ref.name, folder)
    if not folder.exists():
        raise ValueError(f"model {ref.name!r}: {folder} does not exist; correct the path")
    if not (folder / "config.json").is_file():
        if (folder / ADAPTER_CONFIG).is_file():
            raise ValueError(
                f"model {ref.name!r}: {folder} holds an adapter without its base model: merge the "
                "two (peft: merge_and_unload) and give the folder of the result"
            )
        raise ValueError(
            f"model {ref.name!r}: {folder} holds no config.json; give a folder in Hugging Face "
            "format"
        )
    if ref.revision is not None:
        raise ValueError(
            f"model {ref.name!r}: a folder has no revision, got {ref.revision!r}; leave it out"
        )
    facts = _inspect(ref, folder)
    source = ModelSource(
        name=ref.name,
        source=str(folder.resolve()),
        revision=None,
        content=f"files:{_hash_files(folder)}",
        **facts,
    )
    return _with_start(source, ref.bos, _check_files(source, folder))


def _inspect(ref: BaseModelRef, folder: Path) -> dict[str, Any]:
    """Returns a model's sizes and dtype; refuses a folder with a file missing or cut short."""
    name = ref.name
    config = _read_config(name, folder / "config.json")
    headers = loaded_headers(name, folder)
    if not any((folder / file).is_file() for file in VOCABULARY_FILES):
        raise ValueError(
            f"model {name!r}: {folder} holds no tokenizer files with a vocabulary "
            f"({', '.join(VOCABULARY_FILES)}): copy them from the model"
        )
    for file in (*TOKENIZER_FILES, "generation_config.json"):
        if file.endswith(".json") and (folder / file).is_file():
            read_json_object(name, folder / file)
    facts = _facts(config)
    num_tensors = sum(name != "__metadata__" for header in headers.values() for name in header)
    if (facts["num_layers"] or 0) > num_tensors:
        raise ValueError(  # building that many layers could exhaust memory
            f"model {name!r}: {folder / 'config.json'} has {facts['num_layers']} layers, but the "
            f"*.safetensors in its folder hold only {num_tensors} tensors: give both of one "
            "checkpoint"
        )
    stored: Counter[str] = Counter()
    for header in headers.values():
        for tensor, entry in header.items():
            if tensor != "__metadata__":
                stored[str(entry["dtype"])] += prod(entry["shape"])
    return {
        **facts,
        "num_params": _count_params(config, headers.values()),
        "dtype": _dtype(ref, config, stored),
        "stored_dtype": _as_dtype(_most_common(stored)),
    }


def _most_common(stored: Mapping[str, int]) -> str | None:
    return max(stored, key=lambda name: stored[name], default=None)


def _as_dtype(name: str | None) -> DType | None:
    """Returns the format of a name in config.json or safetensors, if a base may have it."""
    for dtype in get_args(DType):
        if name in (dtype, STORED_AS[dtype]):
            return cast(DType, dtype)
    return None


def _dtype(ref: BaseModelRef, config: Mapping[str, Any], stored: Mapping[str, int]) -> DType:
    """Returns the model's dtype: of `auto` the one in config.json, else that of most weights.

    Args:
        ref: What is asked for.
        config: The content of config.json.
        stored: Number of weights by safetensors' name of their format.

    Raises:
        ValueError: If `auto` finds no format that a base can be held in.
    """
    if ref.dtype != "auto":
        return ref.dtype
    named = [values.get(key) for values in (config, _text_config(config)) for key in DTYPE_KEYS]
    known = next((name for name in named if name), _most_common(stored))
    if dtype := _as_dtype(known):
        return dtype
    raise ValueError(
        f"model {ref.name!r}: dtype 'auto' is the checkpoint's own, which is {known!r} by its "
        f"config.json and weights; give one of {', '.join(get_args(DType))}"
    )


@functools.cache
def _check_files(source: ModelSource, folder: Path) -> TextStart:
    """Checks that the files in a folder fit each other; returns the start of the model's texts.

    Files that have passed, here or at an earlier command, are not checked again.
    """
    start = passed_checks.find(source.content)
    if start is None:
        from trainables.models.check import check_model  # with torch

        start = check_model(replace(source, source=str(folder), revision=None))
        passed_checks.add(source.content, start)
    return start


def _with_start(source: ModelSource, bos: BosRule | None, found: TextStart) -> ModelSource:
    """Returns the source with the start of its texts in its identity.

    The identity does not change for texts that start with the tokenizer's BOS, or without any token
    if it has none, so that records of such models stay valid.

    Args:
        source: The model.
        bos: As in the space.
        found: The start that the tokenizer adds.

    Raises:
        ValueError: If a BOS is asked for and there is none.
    """
    try:
        start = found.under(bos)
    except ValueError as error:
        raise ValueError(f"model {source.name!r}: {error}") from error
    usual = () if found.bos is None else (found.bos,)
    marked = "" if start == usual else f";start={','.join(map(str, start)) or 'none'}"
    return replace(source, content=source.content + marked, bos=bos)


def _read_config(name: str, path: Path) -> Mapping[str, Any]:
    config = read_json_object(name, path)
    text = _text_config(config)
    for key in (key for keys in SIZE_KEYS.values() for key in keys):
        size = text.get(key)
        if isinstance(size, str | float | bool) or (isinstance(size, int) and size < 1):
            raise ValueError(
                f"model {name!r}: {path}: {key} must be a whole number of at least 1, got "
                f"{size!r}: {CORRECT_CONFIG}"
            )
    return config


def _hash_files(folder: Path) -> str:
    """Returns the SHA-256 of the files' names and contents, whatever the folder's path."""
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


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sizes in config.json, by their names in `ModelSource`."""
    text = _text_config(config)
    sizes = {
        fact: next((text[name] for name in names if isinstance(text.get(name), int)), None)
        for fact, names in SIZE_KEYS.items()
    }
    return {**sizes, "num_expert_params": count_expert_params(text)}


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def _resolve_hub(ref: BaseModelRef) -> ModelSource:
    """Looks the model up in the local cache where its commit is given, else on the Hub."""
    if ref.revision is not None and COMMIT.fullmatch(ref.revision):
        cached = try_to_load_from_cache(ref.name, "config.json", revision=ref.revision)
        folder = Path(cached).parent if isinstance(cached, str) else None
        if folder is not None and _is_whole(ref.name, folder):
            source = _hub_source(ref.name, ref.revision, _inspect(ref, folder))
            return _with_start(source, ref.bos, _check_files(source, folder))
    try:
        info = HfApi().model_info(ref.name, revision=ref.revision, timeout=HUB_TIMEOUT_S)
        folder = Path(
            snapshot_download(
                ref.name, revision=info.sha, allow_patterns=["config.json", *TOKENIZER_FILES]
            )
        )
    except (HFValidationError, HfHubHTTPError) as error:
        raise ValueError(f"model {ref.name!r}: {_refusal(ref, error)}") from error
    except Exception as error:  # what a broken network raises depends on the client's version
        raise UnavailableError(
            f"model {ref.name!r}: not an embedded model, not a folder, and the Hub cannot be "
            f"reached ({type(error).__name__}); give the path of a local copy"
        ) from error
    files = [file.rfilename for file in info.siblings or ()]
    if not any(file.endswith(".safetensors") for file in files):
        if any(map(is_gguf, files)):
            raise ValueError(
                f"model {ref.name!r}: only GGUF files at commit {info.sha}: name the original "
                "model, or download one of them and give its path, to get the lines that convert it"
            )
        raise ValueError(
            f"model {ref.name!r}: no safetensors at commit {info.sha}; other weight files are "
            "never read (they can run code)"
        )
    config = _read_config(ref.name, folder / "config.json")
    total = info.safetensors.total if info.safetensors else None
    is_packed = "quantization_config" in config
    stored = info.safetensors.parameters if info.safetensors else {}
    facts = {
        **_facts(config),
        "num_params": None if is_packed else total,
        "dtype": _dtype(ref, config, stored),
        "stored_dtype": _as_dtype(_most_common(stored)),
    }
    source = _hub_source(ref.name, str(info.sha), facts)
    from trainables.models.check import check_without_weights  # with torch

    local = replace(source, source=str(folder), revision=None)
    return _with_start(source, ref.bos, check_without_weights(local))


def _refusal(ref: BaseModelRef, error: HFValidationError | HfHubHTTPError) -> str:
    """Returns what the Hub's client reports, in short, and the remedy.

    The client's own texts are paragraphs with links to its documentation.
    """
    if isinstance(error, HFValidationError):
        return f"no name of a model on the Hub ({one_line(str(error), MAX_CHARS)}); correct it"
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return (
            f"gated on the Hub ({status}): accept its licence at https://huggingface.co/{ref.name} "
            "and log in with `hf auth login`"
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"the Hub has no revision {ref.revision or 'main'!r} of it ({status}): correct the "
            "revision, or leave it out for the newest"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the Hub has no such model, or it is private ({status}): check the name; for a "
            "private model log in with `hf auth login`"
        )
    said = one_line(error.server_message or error.response.reason_phrase, MAX_CHARS)
    if status in (401, 403):
        return f"the Hub refused access ({status} {said}): log in with `hf auth login`"
    return f"the Hub answered {status} {said}: try again later, or give the path of a local copy"


def _is_whole(name: str, folder: Path) -> bool:
    """Returns whether a cache folder has all of a model's files, which may be partly fetched."""
    names = {path.name for path in folder.iterdir()}
    if not names.intersection(VOCABULARY_FILES):
        return False
    if WEIGHTS_INDEX in names:
        return names.issuperset(read_index(name, folder).values())
    return any(file.endswith(".safetensors") for file in names)


def _hub_source(name: str, commit: str, facts: Mapping[str, Any]) -> ModelSource:
    return ModelSource(
        name=name, source=name, revision=commit, content=f"hub:{name}@{commit}", **facts
    )
