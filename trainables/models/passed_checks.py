"""Models whose checks have passed, by content: a later command does not repeat the checks.

The checks import torch and transformers and read all weights, which takes seconds. Their outcome
depends on the model's files, on transformers and on the checks. Models of the lab ship with theirs;
others are kept in the user's cache folder. Loading a model compares its tensors with its config in
any case (`trainables.models.loading`).
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

from trainables.data.lab.base_models import PASSED_CHECKS
from trainables.models.text_start import TextStart

_ENTRIES = TypeAdapter(dict[str, TextStart])

VERSION = 1
"""Of the checks in `trainables.models.check`; raised when one is added or finds more."""

LIBRARIES = ("transformers", "tokenizers")
"""They decide what loads and how a text starts."""

HASHED = "files:"
"""Start of a content that names every byte of the model's files; a commit on the Hub does not."""


def find(content: str) -> TextStart | None:
    """Returns the start of a model's texts, if its files have passed the checks.

    Args:
        content: The model's identity, `ModelSource.content` without a start.
    """
    key = key_of(content)
    return _shipped().get(key) or _cached(content).get(key)


def add(content: str, start: TextStart) -> None:
    """Remembers that a model's files have passed the checks.

    Args:
        content: As in `find`; only contents that are hashes of files are remembered.
        start: The start of the model's texts.
    """
    if not content.startswith(HASHED):
        return
    with suppress(OSError, RuntimeError):  # a full or read-only home, or none
        path = _path(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({key_of(content): asdict(start)}))
        partial.replace(path)


def key_of(content: str) -> str:
    """Returns the key of a model's outcome: content, versions of libraries and of the checks."""
    libraries = " ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{content} {libraries} checks {VERSION}"


def _cached(content: str) -> Mapping[str, TextStart]:
    with suppress(OSError, RuntimeError, ValueError):
        return _ENTRIES.validate_json(_path(content).read_bytes())
    return {}


@functools.cache
def _shipped() -> Mapping[str, TextStart]:
    return _ENTRIES.validate_json(PASSED_CHECKS.read_bytes())


def _path(content: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "scarce-labels" / "passed-checks" / f"{content.removeprefix(HASHED)}.json"
