"""Data sets of the Hub: one look at it, then from it or from what was fetched before."""

from __future__ import annotations

from collections.abc import Callable

import datasets
import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from trainables.data.loading.hub import HubSource, hub_rows
from trainables.errors import MissingDataError

SOURCE = HubSource(name="owner/name", revision="0" * 40, splits=("train", "test"))


def answers(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], object]) -> list[str]:
    """Lets the Hub answer, and returns what it was asked for."""
    asked: list[str] = []

    def look(self: object, name: str, **options: object) -> object:
        asked.append(name)
        return answer()

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", look)
    return asked


def broken() -> object:
    raise OSError("Name or service not known")


@pytest.mark.parametrize(("answer", "is_offline"), [(object, False), (broken, True)])
def test_the_hub_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], object], is_offline: bool
) -> None:
    asked = answers(monkeypatch, answer)
    before = (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)
    seen = []

    def load(*args: object, **options: object) -> list[dict[str, int]]:
        seen.append((datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE))
        return [{"a": 1}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [row.values for row in hub_rows(SOURCE, "put it there")] == [{"a": 1}, {"a": 1}]
    assert asked == ["owner/name"]
    assert seen == [(True, True) if is_offline else before] * 2
    assert before == (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)


def test_what_was_never_fetched_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, broken)
    before = (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)

    def load(*args: object, **options: object) -> None:
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(MissingDataError, match=r"owner/name@0{12}, split train.* put it there"):
        next(hub_rows(SOURCE, "put it there"))
    assert before == (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)
