"""Recipes: each is what its name says."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from search_spaces.frozen import without_unset
from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LoRA,
    PolicyDPO,
    QLoRA,
    Reasoning,
    ZeroShot,
    num_updates,
    with_fixed_updates,
)


def test_qlora_is_an_nf4_base_and_lora_every_other() -> None:
    assert (QLoRA().method, QLoRA().quantization) == ("qlora", "nf4")
    assert (LoRA().method, LoRA().quantization) == ("lora", "none")
    assert LoRA(quantization="int8").method == "lora"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [(ZeroShot, {}), (InContext, {}), (LoRA, {"loss": "text"}), (FullFineTuning, {"loss": "text"})],
)
@pytest.mark.parametrize(
    ("name", "value", "usual"),
    [
        ("orders", "all", "given"),
        ("scoring", "pmi", "sum"),
        ("scoring", "per-token", "sum"),
        ("scoring", "per-char", "sum"),
    ],
)
def test_a_generated_answer_is_neither_scored_nor_reordered(
    kind: type, fields: dict[str, str], name: str, value: str, usual: str
) -> None:
    kind(**fields, reasoning=Reasoning())
    kind(**fields, **{name: value})
    message = f"with reasoning .* set {name}='{usual}' or reasoning=None, got {name}='{value}'"
    with pytest.raises(ValidationError, match=message):
        kind(**fields, reasoning=Reasoning(), **{name: value})


def test_a_policy_has_no_orders_to_average_over() -> None:
    assert without_unset(PolicyDPO())["orders"] == "given"
    with pytest.raises(ValidationError, match="orders"):
        PolicyDPO(orders="all")


@pytest.mark.parametrize(
    ("fields", "num_items", "expected"),
    [
        ({}, 160, 15),
        ({}, 10, 3),
        ({"min_updates": 10}, 10, 10),
        ({"min_updates": 10}, 160, 15),
        ({"max_updates": 4}, 160, 4),
        ({"min_updates": 7, "max_updates": 7}, 10, 7),
    ],
)
def test_updates_are_those_of_the_epochs_within_the_bounds(
    fields: dict[str, int], num_items: int, expected: int
) -> None:
    assert num_updates(LoRA(**fields), num_items) == expected


def test_fixed_updates_are_those_of_the_recipes_own_labels() -> None:
    fixed = with_fixed_updates(LoRA())
    assert {num_updates(fixed, number) for number in (5, 160, 10_000)} == {15}


def test_bounds_that_are_not_set_leave_the_identity_alone() -> None:
    assert not {"min_updates", "max_updates"} & without_unset(LoRA()).keys()
