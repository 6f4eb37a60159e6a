"""Data sets from the Hugging Face Hub, with pinned revisions; their code is never run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from trainables.data.loading.files import Row
from trainables.errors import MissingDataError

LOOK_TIMEOUT_S = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HubSource:
    """One configuration of a data set on the Hub."""

    name: str
    revision: str
    """Commit of the data set's repository."""
    config: str | None = None
    splits: tuple[str, ...]


def hub_rows(source: HubSource, instead: str) -> Iterator[Row]:
    """Yields the rows of every split of the source; `Row.part` names the configuration.

    The Hub is contacted once; if it does not respond, only cached data is used.

    Args:
        source: What to fetch.
        instead: What to do without a network: which file to put where.

    Raises:
        MissingDataError: If the Hub cannot be reached or does not have it.
    """
    # Imported here: `datasets` takes seconds, and a study on local files does not need it.
    import datasets

    label = f"Hub data set {source.name}@{source.revision[:12]}"
    without_network = nullcontext if _answers(source) else _offline
    for split in source.splits:
        try:
            with without_network():
                rows = datasets.load_dataset(
                    source.name, source.config, split=split, revision=source.revision
                )
        except Exception as error:
            # Any failure here (no network, proxy, gone, gated) has one remedy for the reader.
            raise MissingDataError(
                f"{label}, split {split}: cannot be fetched ({type(error).__name__}: {error}); "
                f"without a network, {instead}"
            ) from error
        for number, values in enumerate(rows, start=1):
            where = f"{label}, {source.config or ''} {split} row {number}"
            yield Row(where=where, values=values, part=source.config or split)


def _answers(source: HubSource) -> bool:
    """Returns whether the Hub responds; `datasets` would retry for half a minute, with warnings."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(source.name, revision=source.revision, timeout=LOOK_TIMEOUT_S)
    except HfHubHTTPError:
        return True  # it responds; loading will report why it refuses
    except Exception:  # what a broken network raises depends on the client's version
        return False
    return True


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
