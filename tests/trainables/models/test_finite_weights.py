"""Weights that are not finite numbers are refused before a model is used."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from search_spaces.base_models import BaseModelRef
from tests.support.hub_models import COMMIT, NAME, cached_folder
from tests.support.tiny_models import make_model, save_folder
from trainables.models.finite_weights import check_finite_weights
from trainables.models.loading import load_base
from trainables.models.resolve import resolve_model
from trainables.models.source import ModelSource

TENSOR = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_no_number_is_refused(
    tmp_path: Path, dtype: torch.dtype, value: float
) -> None:
    folder = save_folder(tmp_path / "model")
    file = folder / "model.safetensors"
    weights = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    ref = BaseModelRef(name="tiny", path=str(folder))
    assert resolve_model(ref).num_layers == 3
    weights[TENSOR].view(-1)[-2:] = value
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(
        ValueError,
        match=rf"'tiny': tensor {TENSOR} in .*model.safetensors has 2 of 1,536 values that are NaN",
    ):
        resolve_model(ref)


def test_files_that_transformers_does_not_load_are_not_read(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model")
    no_numbers = {TENSOR: torch.full((2, 2), math.nan)}
    save_file(no_numbers, folder / "consolidated.safetensors")
    (folder / "original.safetensors").write_bytes(b"cut short")
    save_file(no_numbers, folder / "adapter_model.safetensors")
    check_finite_weights("tiny", folder)
    resolve_model(BaseModelRef(name="tiny", path=str(folder)))
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors has 4 of 4"):
        check_finite_weights("tiny", folder)


def test_integers_and_empty_tensors_are_no_fault(tmp_path: Path) -> None:
    tensors = {"packed": torch.full((3,), 255, dtype=torch.uint8), "empty": torch.zeros(0, 4)}
    save_file(tensors, tmp_path / "model.safetensors")
    check_finite_weights("tiny", tmp_path)


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
@pytest.mark.parametrize("is_sharded", [False, True])
def test_weights_of_the_hub_are_checked_when_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantization: str, is_sharded: bool
) -> None:
    folder = save_folder(cached_folder(tmp_path, monkeypatch))
    if is_sharded:
        (folder / "model.safetensors").unlink()
        make_model("llama").save_pretrained(folder, max_shard_size="50KB")
    content = f"hub:{NAME}@{COMMIT}"
    source = ModelSource(name="tiny", source=NAME, revision=COMMIT, content=content)
    load_base(source, "float32", quantization, "cpu")
    for file in folder.glob("*.safetensors"):
        weights = load_file(file)
        if TENSOR in weights:
            weights[TENSOR].view(-1)[7] = math.nan
            save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"^model 'tiny': tensor {TENSOR} in .* has 1 of 1,536"):
        load_base(source, "float32", quantization, "cpu")
