"""Labelled, unlabelled, validation and test items: no item and no question has two uses."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from trainables.data.items import Item
from trainables.self_training.unlabelled import (
    UnlabelledItem,
    check_disjoint_partitions,
    strip_label,
    with_label,
)

USES = ("labelled", "validation", "unlabelled", "test")


def item(number: int) -> Item:
    return Item(id=f"i{number}", question=f"What is {number}?", choices=("x", "y"), answer=0)


def uses_of(**extra: Item) -> dict[str, list[Item | UnlabelledItem]]:
    """Four uses of two items each, and one more."""
    found: dict[str, list[Item | UnlabelledItem]] = {
        use: [item(10 * place), item(10 * place + 1)] for place, use in enumerate(USES)
    }
    for use, one in extra.items():
        found[use].append(one)
    found["unlabelled"] = [
        strip_label(one, 0) for one in found["unlabelled"] if isinstance(one, Item)
    ]
    return found


def test_disjoint_uses_are_fine() -> None:
    check_disjoint_partitions(uses_of())


@pytest.mark.parametrize(("first", "second"), list(permutations(USES, 2)))
@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ({}, "id"),
        ({"question": "Another one?"}, "id"),
        ({"id": "other"}, "question"),
        ({"id": "other", "choices": ("p", "q"), "question": "WHAT  is 90?"}, "question"),
    ],
)
def test_every_pair_of_uses_is_parted_by_id_and_by_question(
    first: str, second: str, change: dict[str, object], shared: str
) -> None:
    twin = replace(item(90), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"one {shared}: an item has one use") as caught:
        check_disjoint_partitions(uses_of(**{first: item(90), second: twin}))
    message = str(caught.value)
    assert "'i90'" in message and f"item {twin.id!r} is " in message
    assert first in message and second in message


@pytest.mark.parametrize("use", USES)
def test_two_pairs_of_answers_to_one_question_may_have_one_use(use: str) -> None:
    other = replace(item(90), id="other", choices=("p", "q"))
    found = uses_of(**{use: item(90)})
    found[use].append(strip_label(other, 0) if use == "unlabelled" else other)
    check_disjoint_partitions(found)


@pytest.mark.parametrize("choice", [-1, 2])
def test_a_label_is_one_of_the_choices(choice: int) -> None:
    with pytest.raises(ValueError, match=f"'i1' has 2 choices, there is no index {choice}"):
        with_label(strip_label(item(1), 0), choice)
