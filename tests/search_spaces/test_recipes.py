"""Recipes: each is what its name says."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from search_spaces.recipes import FullFineTuning, LoRA, QLoRA


def test_qlora_is_an_nf4_base_and_lora_every_other() -> None:
    assert (QLoRA().method, QLoRA().quantization) == ("qlora", "nf4")
    assert (LoRA().method, LoRA().quantization) == ("lora", "none")
    assert LoRA(quantization="int8").method == "lora"


@pytest.mark.parametrize(
    ("kind", "quantization"),
    [(QLoRA, "none"), (QLoRA, "int8"), (LoRA, "nf4"), (FullFineTuning, "int8")],
)
def test_a_base_of_another_recipe_is_refused(kind: type, quantization: str) -> None:
    with pytest.raises(ValidationError, match="quantization"):
        kind(quantization=quantization)
