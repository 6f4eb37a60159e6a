"""Our shorter way through a LoRA layer computes what peft's does, in values and in gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from tests.support.tiny_models import save_folder
from trainables.methods.training.adapters import adapter_on, add_low_rank
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

RECIPE = LoRA(rank=3, alpha=12)
TOKENS = torch.tensor([[5, 9, 2, 11, 7, 3]])


def load(folder: Path, name: str, dtype: str = "float32") -> Base:
    source = resolve_model(BaseModelRef(name=str(save_folder(folder, name, "bytes"))))
    return load_base(source, dtype, "none", "cpu")


def logits_and_gradients(base: Base, recipe: LoRA, *, by_peft: bool) -> list[Tensor]:
    """Returns the logits and the gradient of every factor, both factors random."""
    with adapter_on(base, recipe, seed=1) as adapter:
        layers: list[Any] = [part for part in base.model.modules() if isinstance(part, LoraLayer)]
        assert all("forward" in vars(layer) for layer in layers) == (recipe.dropout == 0.0)
        if by_peft:
            for layer in layers:
                vars(layer).pop("forward", None)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in adapter.parameters:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        logits = base.model(TOKENS).logits.float()
        logits.square().sum().backward()
        gradients = [parameter.grad for parameter in adapter.parameters]
        assert all(gradient is not None and gradient.norm() > 0 for gradient in gradients)
        return [logits.detach(), *[g for g in gradients if g is not None]]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_values_and_gradients_are_those_of_peft(tmp_path: Path, name: str) -> None:
    base = load(tmp_path, name)
    ours = logits_and_gradients(base, RECIPE, by_peft=False)
    theirs = logits_and_gradients(base, RECIPE, by_peft=True)
    for got, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-3)
    with torch.no_grad():
        assert not torch.allclose(base.model(TOKENS).logits, ours[0], atol=1e-2)


def test_an_adapter_in_32_bits_adds_to_a_base_in_16_as_peft_does(tmp_path: Path) -> None:
    base = load(tmp_path, "llama", "bfloat16")
    ours = logits_and_gradients(base, RECIPE, by_peft=False)
    theirs = logits_and_gradients(base, RECIPE, by_peft=True)
    torch.testing.assert_close(ours[0], theirs[0], atol=0.05, rtol=0.05)


def test_dropout_is_left_to_peft(tmp_path: Path) -> None:
    base = load(tmp_path, "llama")
    dropped = RECIPE.model_copy(update={"dropout": 0.5})
    ours = logits_and_gradients(base, dropped, by_peft=False)
    theirs = logits_and_gradients(base, RECIPE, by_peft=True)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)  # off outside of training


def test_the_update_is_the_scaled_product_of_the_factors() -> None:
    generator = torch.Generator().manual_seed(3)
    down_RI, up_OR = (torch.randn(shape, generator=generator) for shape in ((3, 5), (4, 3)))
    given_BTI, output_BTO = (torch.randn(6, 7, n, generator=generator) for n in (5, 4))
    got_BTO = add_low_rank(output_BTO, given_BTI, down_RI, up_OR, 0.5)
    torch.testing.assert_close(got_BTO, output_BTO + 0.5 * given_BTI @ down_RI.T @ up_OR.T)
