"""Data sets of the Hugging Face Hub, or local copies in its layout; their code is never run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search_spaces.explain import one_line
from trainables.data.loading.files import Row
from trainables.errors import DataError, MissingDataError

LOOK_TIMEOUT_S = 20.0

COMMIT = re.compile("[0-9a-f]{40}")
"""A revision that always means the same files."""

MAX_CHARS = 300
"""Longest quotation of an error of `datasets`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubSource:
    """One configuration of a data set on the Hub."""

    name: str
    revision: str | None
    """Commit, branch or tag of the data set's repository; None: its main branch."""
    config: str | None = None
    splits: tuple[str, ...] = ()
    """Empty: all."""
    folder: Path | None = None
    """A local copy in the Hub's layout, which is read instead."""
    is_online: bool | None = None
    """Whether the Hub responds; without it, only cached data is used. None: it was not asked."""

    @property
    def label(self) -> str:
        """How messages name the data set."""
        config = "" if self.config is None else f":{self.config}"
        if self.folder is not None:
            return f"{self.folder}{config}"
        revision = "" if self.revision is None else f"@{self.revision[:12]}"
        return f"Hub data set {self.name}{config}{revision}"


def pinned(source: HubSource) -> HubSource:
    """Returns the source with its commit, and whether the Hub responds; asks the Hub once.

    Without a response, `datasets` would retry for half a minute, with warnings.
    """
    if source.folder is not None or source.is_online is not None:
        return source
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi().dataset_info(source.name, revision=source.revision, timeout=LOOK_TIMEOUT_S)
    except HfHubHTTPError:
        return replace(source, is_online=True)  # loading will report why it refuses
    except Exception:  # what a broken network raises depends on the client's version
        return replace(source, is_online=False)
    commit = getattr(info, "sha", None)
    return replace(source, is_online=True, revision=commit or source.revision)


def hub_rows(source: HubSource, instead: str) -> Iterator[Row]:
    """Yields the rows of every split of the source; `Row.part` names the configuration.

    The Hub is contacted once; if it does not respond, only cached data is used.

    Args:
        source: What to fetch.
        instead: What to do without a network: which file to put where.

    Raises:
        MissingDataError: If the Hub cannot be reached or does not have it.
        DataError: If it has no such configuration or split, or its files cannot be read.
    """
    source = pinned(source)
    for split in source.splits or (None,):
        with _explained(source, split, instead):
            for part, rows in _load(source, split).items():
                for number, values in enumerate(rows, start=1):
                    where = f"{source.label}, {part} row {number}"
                    yield Row(where=where, values=values, part=source.config or part)


def _load(source: HubSource, split: str | None) -> Mapping[str, Iterable[Mapping[str, Any]]]:
    """Returns split -> rows."""
    # Imported here: `datasets` takes seconds, and a study on local files does not need it.
    import datasets

    with ExitStack() as stack:
        if source.is_online is False:
            stack.enter_context(_offline())
        if not source.is_online:
            stack.enter_context(_without_bars())
        rows = datasets.load_dataset(
            source.name if source.folder is None else str(source.folder),
            source.config,
            split=split,
            # A copy on this disk needs no second one in the cache.
            **({"revision": source.revision} if source.folder is None else {"streaming": True}),
        )
    return rows if split is None else {split: rows}


@contextmanager
def _explained(source: HubSource, split: str | None, instead: str) -> Iterator[None]:
    """Turns any exception of `datasets` into an error that names the source.

    Raises:
        MissingDataError: If it may be due to the network (no network, proxy, gone, gated).
        DataError: If it is due to the data set itself.
    """
    where = source.label if split is None else f"{source.label}, split {split}"
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {one_line(str(error), MAX_CHARS)}"
        is_of_data = source.is_online and isinstance(error, ValueError | RuntimeError)
        if source.folder is not None or is_of_data:
            hint = ""
            if source.config is None and "config" in text.lower():
                hint = f"; name a configuration in the task, as in hub:{source.name}:CONFIG"
            raise DataError(f"{where}: cannot be read ({text}){hint}") from error
        if source.is_online is False:
            text = "the Hub does not respond, and the cache does not have it"
        raise MissingDataError(
            f"{where}: cannot be fetched ({text}); without a network, {instead}"
        ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Keeps both libraries offline for a while."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextmanager
def _without_bars() -> Iterator[None]:
    """Turns off the progress bars of `datasets` for a while: there is no download to wait for."""
    import datasets

    had_bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if had_bars:
            datasets.enable_progress_bars()
