"""Fetches single files from public repositories, checks their hash, and caches them."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import DataError, MissingDataError


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file at a fixed commit of a public repository."""

    url: str
    digest: str | None
    """`sha256:` or `git:` (the hash of its git blob) and the hex digits; None if only the commit is
    known, which also fixes the content."""
    name: str
    """Name in the cache folder."""


def fetched(file: RemoteFile, instead: str) -> Path:
    """Returns the path of the file, which is fetched if the cache lacks it.

    Args:
        file: What to fetch.
        instead: What to do without a network: which file to put where.

    Raises:
        DataError: If it cannot be fetched, or its content is not the known one.
    """
    path = _cache_folder() / file.name
    if path.exists() and _fault(path.read_bytes(), file) is None:
        return path
    try:
        with urllib.request.urlopen(file.url, timeout=60) as response:
            content: bytes = response.read()
    except OSError as error:
        raise MissingDataError(
            f"{file.url} cannot be fetched ({error}); without a network, {instead}"
        ) from error
    fault = _fault(content, file)
    if fault is not None:
        raise DataError(f"{file.url}: {fault}; do not use it")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Under a temporary name first, because two studies may fetch at the same time.
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
        partial.write(content)
    os.replace(partial.name, path)
    return path


def _fault(content: bytes, file: RemoteFile) -> str | None:
    digest = None if file.digest is None else _digest(content, file.digest)
    return None if digest == file.digest else f"content is {digest}, not {file.digest}"


def _digest(content: bytes, like: str) -> str:
    if like.startswith("git:"):
        return "git:" + hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "scarce-labels"
