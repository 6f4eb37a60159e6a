"""`auto` is the checkpoint's own number format, and the plan's cells hold what it resolves to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces.base_models import BaseModelRef
from study.artifacts.plan import ModelFacts
from study.cost.pricer import shapes_of
from tests.support.tiny_models import make_model, make_tokenizer, save_folder
from trainables.models.resolve import resolve_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_folder(tmp_path)


def configure(folder: Path, **changes: Any) -> None:
    """Changes keys of config.json; None leaves one out."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def dtype_of(folder: Path) -> str:
    return resolve_model(BaseModelRef(name=str(folder))).dtype


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dtype": "float16"}, "float16"),
        ({"dtype": None, "torch_dtype": "bfloat16"}, "bfloat16"),
    ],
)
def test_auto_is_what_the_config_says(folder: Path, changes: dict[str, Any], expected: str) -> None:
    configure(folder, **changes)
    assert dtype_of(folder) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_auto_is_what_most_weights_are_stored_in(tmp_path: Path, dtype: str) -> None:
    model = make_model("llama").to(getattr(torch, dtype))
    model.lm_head.to(torch.float32)
    model.save_pretrained(tmp_path)
    make_tokenizer("words").save_pretrained(tmp_path)
    configure(tmp_path, dtype=None)
    assert dtype_of(tmp_path) == dtype


@pytest.mark.parametrize(
    ("dtype", "is_mapped"), [("auto", True), ("float32", True), ("bfloat16", False)]
)
def test_workers_share_the_pages_of_weights_in_their_file_s_format(
    folder: Path, dtype: Any, is_mapped: bool
) -> None:
    source = resolve_model(BaseModelRef(name=str(folder), dtype=dtype))
    assert source.stored_dtype == "float32"
    assert shapes_of([ModelFacts.of("tiny", source)])["tiny"].is_mapped == is_mapped


def test_a_format_that_no_base_is_held_in_is_refused(folder: Path) -> None:
    configure(folder, dtype="float8_e4m3fn")
    with pytest.raises(ValueError, match=r"'float8_e4m3fn'.*give one of float32, bfloat16"):
        dtype_of(folder)


def test_auto_and_the_same_dtype_are_one_model(folder: Path) -> None:
    configure(folder, dtype="bfloat16")
    asked = resolve_model(BaseModelRef(name=str(folder), dtype="bfloat16"))
    assert resolve_model(BaseModelRef(name=str(folder))) == asked
    assert resolve_model(BaseModelRef(name=str(folder), dtype="float32")) != asked


def test_the_labs_bases_are_float32() -> None:
    assert resolve_model(BaseModelRef(name="micro-s")).dtype == "float32"
