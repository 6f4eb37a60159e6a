"""Checks of a model's files are not repeated, and another file, check or library repeats them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from tests.support.tiny_models import make_model, make_tokenizer
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.models import check, passed_checks, resolve
from trainables.models.check import check_model
from trainables.models.source import ModelSource
from trainables.models.text_start import TextStart

FOUND = TextStart(tokens=(3, 1), bos=1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", MICRO_MODELS)
def test_the_shipped_outcomes_are_those_of_the_checks(name: str) -> None:
    source = resolve.resolve_model(BaseModelRef(name=name))
    # If it differs: python -m benchmarks.lab_card
    assert passed_checks.find(source.content) == check_model(source)


def test_a_model_is_checked_once_until_its_files_change(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    make_model("llama").save_pretrained(folder)
    make_tokenizer("words").save_pretrained(folder)
    checked: list[str] = []

    def counted(source: ModelSource) -> TextStart:
        checked.append(source.content)
        return FOUND

    def resolve_again() -> ModelSource:
        resolve._check_files.cache_clear()  # as in another process
        return resolve.resolve_model(BaseModelRef(name=str(folder)))

    monkeypatch.setattr(check, "check_model", counted)
    first = resolve_again()
    assert first.content.endswith(";start=3,1")
    assert resolve_again() == first and len(checked) == 1

    (folder / "adapter_config.json").write_text("{}")  # transformers would load the adapter
    assert resolve_again().content != first.content and len(checked) == 2

    monkeypatch.setattr(passed_checks, "VERSION", passed_checks.VERSION + 1)
    resolve_again()
    monkeypatch.setattr(passed_checks, "version", lambda package: "0.0")
    resolve_again()
    assert len(checked) == 4

    for number, damaged in enumerate(("{", "[]", '{"key": 1}'), start=5):
        for file in cache.rglob("*.json"):
            file.write_text(damaged)
        resolve_again()
        assert len(checked) == number


def test_a_model_that_fails_its_checks_fails_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model("llama").save_pretrained(tmp_path)
    make_tokenizer("words").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 2}))
    for _ in range(2):
        resolve._check_files.cache_clear()
        with pytest.raises(ValueError, match="resize the model's embeddings"):
            resolve.resolve_model(BaseModelRef(name=str(tmp_path)))


def test_only_hashed_files_are_remembered(cache: Path) -> None:
    passed_checks.add("hub:owner/name@0123", FOUND)
    assert passed_checks.find("hub:owner/name@0123") is None and not cache.exists()


def test_a_home_that_cannot_be_written_is_no_fault(cache: Path) -> None:
    cache.write_text("a file, not a folder")
    passed_checks.add("files:0123", FOUND)
    assert passed_checks.find("files:0123") is None


def test_the_outcome_is_kept_as_it_was_found() -> None:
    for found in (FOUND, replace(FOUND, tokens=(), bos=None)):
        passed_checks.add("files:0123", found)
        assert passed_checks.find("files:0123") == found
