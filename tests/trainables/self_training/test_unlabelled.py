"""Unlabelled items: gold and the stored order of choices leave no trace, in bytes or in labels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.items import Item
from trainables.methods.base.choice_orders import average_over_orders, orders_of
from trainables.self_training.selection import select
from trainables.self_training.unlabelled import UnlabelledItem, strip_label, with_label

NAMES = ("study", 0, "task", 3)

texts = st.text(min_size=0, max_size=8)


@st.composite
def items(draw: st.DrawFn) -> Item:
    choices = tuple(draw(st.lists(texts, min_size=2, max_size=5, unique=True)))
    return Item(
        id=draw(texts),
        question=draw(texts),
        choices=choices,
        answer=draw(st.integers(0, len(choices) - 1)),
        hardness={"steps": draw(st.floats(0, 9))},
        group=draw(st.none() | texts),
        topic=draw(st.none() | texts),
        reasoning=draw(st.none() | texts),
    )


def stored_otherwise(item: Item, order: Sequence[int], answer: int) -> Item:
    """The same question, stored in another order with another gold answer and solution."""
    return replace(
        item,
        choices=tuple(item.choices[index] for index in order),
        answer=answer,
        hardness={"steps": -1.0},
        reasoning="another worked solution",
    )


def pool_of_pairs(number: int) -> list[Item]:
    return [
        Item(
            id=f"pair-{n}",
            question=f"Which is better, {n}?",
            choices=(f"the better answer to {n}", f"the worse answer to {n}"),
            answer=0,
        )
        for n in range(number)
    ]


def a_model(question: str, shown: Sequence[str]) -> list[float]:
    """Scores by position: a liking for texts, made of their bytes, and one for the first place."""
    likes = [hashlib.sha256(f"{question}/{text}".encode()).digest()[0] / 64 for text in shown]
    return [like + (1.5 if at == 0 else 0.0) for at, like in enumerate(likes)]


def pseudo_labelled(pool: Sequence[Item]) -> dict[str, str]:
    """Item id -> text of the pseudo-label, for the selected items of one round."""
    blanks = {item.id: strip_label(item, *NAMES) for item in pool}
    predictions = {}
    for id_, item in blanks.items():
        orders = orders_of(len(item.choices), "all")
        scores = [
            a_model(item.question, [item.choices[index] for index in order]) for order in orders
        ]
        predictions[id_] = average_over_orders(scores, orders)
    found = select(predictions, tau=0.7)
    trained_on = [
        with_label(blanks[id_], label) for id_, label in zip(found.ids, found.labels, strict=True)
    ]
    return {item.id: item.choices[item.answer] for item in trained_on}


class TestInvariant2:
    """Relabelling: gold and the stored order change neither bytes, selected ids nor labels."""

    @given(items(), st.data())
    def test_flipped_gold_and_permuted_choices_give_equal_bytes(
        self, item: Item, data: st.DataObject
    ) -> None:
        order = data.draw(st.permutations(range(len(item.choices))))
        answer = data.draw(st.integers(0, len(item.choices) - 1))
        other = stored_otherwise(item, order, answer)
        assert strip_label(item, *NAMES) == strip_label(other, *NAMES)

    def test_selected_ids_and_labels_follow_the_model_and_never_gold(self) -> None:
        pool = pool_of_pairs(300)
        flipped = [
            stored_otherwise(item, (1, 0), n % 2) if n % 3 else replace(item, answer=1)
            for n, item in enumerate(pool)
        ]
        first = pseudo_labelled(pool)
        assert pseudo_labelled(flipped[::-1]) == first
        assert 50 < len(first) < 300
        # A model that knows nothing of "better" is right about half of the time.
        right = sum(text.startswith("the better") for text in first.values())
        assert 0.35 < right / len(first) < 0.65


class TestInvariant5:
    """Positions: right answers stand at every position equally often, seeded, the same bytes."""

    def test_half_of_the_right_answers_are_first(self) -> None:
        pool = pool_of_pairs(4_000)
        first = sum(
            strip_label(item, *NAMES).choices[0] == item.choices[item.answer] for item in pool
        ) / len(pool)
        # Four standard errors of a fair coin.
        assert first == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / len(pool)))

    def test_the_same_names_give_the_same_bytes_and_others_another_order(self) -> None:
        pool = pool_of_pairs(200)
        again, other = (
            [strip_label(item, *names) for item in pool] for names in (NAMES, ("study", 1))
        )
        assert again == [strip_label(item, *NAMES) for item in pool]
        moved = sum(one != two for one, two in zip(again, other, strict=True))
        assert 70 < moved < 130

    def test_orders_of_different_items_are_unrelated(self) -> None:
        same_texts = [replace(item, choices=("yes", "no")) for item in pool_of_pairs(400)]
        firsts = [strip_label(item, *NAMES).choices[0] for item in same_texts]
        assert 150 < firsts.count("yes") < 250
        changes = sum(one != two for one, two in pairwise(firsts))
        assert 150 < changes < 250


class TestContent:
    def test_no_field_can_hold_gold(self) -> None:
        assert {field.name for field in fields(UnlabelledItem)} == {
            "id",
            "question",
            "choices",
            "group",
            "topic",
        }

    @given(items())
    def test_all_else_is_kept(self, item: Item) -> None:
        found = strip_label(item, *NAMES)
        assert (found.id, found.question) == (item.id, item.question)
        assert (found.group, found.topic) == (item.group, item.topic)
        assert sorted(found.choices) == sorted(item.choices)

    @given(items(), st.data())
    def test_a_chosen_answer_makes_an_item_without_any_of_gold(
        self, item: Item, data: st.DataObject
    ) -> None:
        found = strip_label(item, *NAMES)
        choice = data.draw(st.integers(0, len(item.choices) - 1))
        trained = with_label(found, choice)
        assert trained.choices[trained.answer] == found.choices[choice]
        assert (trained.hardness, trained.reasoning) == ({}, None)
        assert (trained.id, trained.question) == (item.id, item.question)

    def test_there_is_no_other_index(self) -> None:
        found = strip_label(pool_of_pairs(1)[0], *NAMES)
        for choice in (-1, 2):
            with pytest.raises(ValueError, match="2 choices"):
                with_label(found, choice)

    @pytest.mark.parametrize("choices", [("42",), ("same", "same")])
    def test_a_free_answer_and_a_pair_of_one_answer_are_refused(
        self, choices: tuple[str, ...]
    ) -> None:
        item = Item(id="x", question="?", choices=choices, answer=0)
        with pytest.raises(ValueError, match=r"'x'.*remove it from the pool"):
            strip_label(item, *NAMES)
