"""Short names of recipes."""

from __future__ import annotations

from search_spaces.recipes import LoRA
from study.analysis.names import recipe_labels
from study.analysis.surface_rows import recipe_text


def test_a_factor_that_one_recipe_leaves_to_its_axis_names_the_other() -> None:
    plain, scalar = LoRA(), LoRA(head="scalar", prompt="text")
    labels = recipe_labels([plain, scalar])
    assert labels[recipe_text(plain)] == "lora head=language model"
    assert labels[recipe_text(scalar)] == "lora head=scalar prompt=text"
