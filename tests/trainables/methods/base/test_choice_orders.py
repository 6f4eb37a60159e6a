"""Averaging over orders: each choice at every position, and nothing left of the stored order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.methods.base.choice_orders import average_over_orders, first_position, orders_of

scores = st.floats(-60, 20)


def shown(
    texts: Sequence[float], position_bias: Sequence[float], orders: Sequence[Sequence[int]]
) -> list[list[float]]:
    """Scores by position of a model that likes some texts and some positions."""
    return [
        [texts[index] + position_bias[at] for at, index in enumerate(order)] for order in orders
    ]


@st.composite
def models(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    k = draw(st.integers(2, 5))
    vectors = st.lists(scores, min_size=k, max_size=k)
    return draw(vectors), draw(vectors)


class TestOrders:
    @pytest.mark.parametrize("k", [2, 3, 4, 5])
    def test_all_shows_every_choice_once_at_every_position(self, k: int) -> None:
        orders = orders_of(k, "all")
        assert len(set(orders)) == k
        assert orders[0] == tuple(range(k)) == orders_of(k, "given")[0]
        for position in range(k):
            assert {order[position] for order in orders} == set(range(k))

    def test_of_a_pair_both(self) -> None:
        assert orders_of(2, "all") == ((0, 1), (1, 0))
        assert orders_of(2, "given") == ((0, 1),)

    def test_one_choice_has_no_order(self) -> None:
        with pytest.raises(ValueError, match="got 1"):
            orders_of(1, "all")


class TestInvariant1:
    """Swap: p(x, a, b) + p(x, b, a) = 1."""

    @given(st.tuples(scores, scores), st.tuples(scores, scores))
    def test_the_two_stored_orders_of_a_pair_sum_to_one(
        self, texts: tuple[float, float], bias: tuple[float, float]
    ) -> None:
        orders = orders_of(2, "all")
        ab = average_over_orders(shown(texts, bias, orders), orders)
        ba = average_over_orders(shown(texts[::-1], bias, orders), orders)
        assert ab[0] + ba[0] == pytest.approx(1.0, abs=1e-15)
        assert ab.tolist() == ba[::-1].tolist()

    @given(models())
    def test_rotating_the_stored_order_rotates_the_result_and_changes_no_bit(
        self, model: tuple[list[float], list[float]]
    ) -> None:
        texts, bias = model
        orders = orders_of(len(texts), "all")
        first = average_over_orders(shown(texts, bias, orders), orders).tolist()
        for shift in range(len(texts)):
            turned = texts[shift:] + texts[:shift]
            found = average_over_orders(shown(turned, bias, orders), orders).tolist()
            assert found == first[shift:] + first[:shift]

    @given(st.lists(scores, min_size=2, max_size=6))
    def test_a_model_that_sees_positions_only_ends_in_an_exact_tie(self, bias: list[float]) -> None:
        orders = orders_of(len(bias), "all")
        found = average_over_orders(shown([0.0] * len(bias), bias, orders), orders)
        assert len(set(found.tolist())) == 1


class TestAverage:
    def test_worked_by_hand(self) -> None:
        # First order: 3/4 for choice 0. Second, choice 1 first: 1/2 each.
        found = average_over_orders(
            [[math.log(3), 0.0], [math.log(0.2), math.log(0.2)]], ((0, 1), (1, 0))
        )
        assert found == pytest.approx([0.625, 0.375])

    def test_positions_are_mapped_back_to_the_stored_order(self) -> None:
        found = average_over_orders([np.log([0.7, 0.2, 0.1])], [(2, 0, 1)])
        assert found == pytest.approx([0.2, 0.1, 0.7])

    @pytest.mark.parametrize("constant", [-2e3, -1.0, 2e3])
    @given(models())
    def test_a_constant_changes_nothing_and_large_scores_do_not_overflow(
        self, constant: float, model: tuple[list[float], list[float]]
    ) -> None:
        texts, bias = model
        orders = orders_of(len(texts), "all")
        rows = shown(texts, bias, orders)
        moved = [[value + constant for value in row] for row in rows]
        found = average_over_orders(rows, orders)
        assert found.sum() == pytest.approx(1.0, abs=1e-12)
        assert average_over_orders(moved, orders) == pytest.approx(found, abs=1e-9)

    @given(st.lists(scores, min_size=2, max_size=6), st.data())
    def test_the_stored_order_leaves_no_bit_where_the_model_sees_texts_only(
        self, texts: list[float], data: st.DataObject
    ) -> None:
        stored = data.draw(st.permutations(range(len(texts))))
        first = average_over_orders([texts], orders_of(len(texts), "given")).tolist()
        moved = [texts[index] for index in stored]
        found = average_over_orders([moved], orders_of(len(texts), "given")).tolist()
        assert found == [first[index] for index in stored]

    def test_an_impossible_choice_has_no_probability(self) -> None:
        assert average_over_orders([[0.0, -math.inf]], [(0, 1)]).tolist() == [1.0, 0.0]

    @pytest.mark.parametrize(
        ("rows", "orders"),
        [
            ([], []),
            ([[0.0, 0.0]], [(0, 1), (1, 0)]),
            ([[0.0, 0.0]], [(0, 0)]),
            ([[0.0, 0.0, 0.0]], [(0, 1)]),
            ([[0.0, math.nan]], [(0, 1)]),
            ([[-math.inf, -math.inf]], [(0, 1)]),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, rows: list[list[float]], orders: list[tuple[int, ...]]
    ) -> None:
        with pytest.raises(ValueError, match=r"order|scores"):
            average_over_orders(rows, orders)


def test_what_is_first_is_more_probable_by_so_much() -> None:
    # First of two: 3/4 in one order and 2/3 in the other.
    found = first_position([[math.log(3.0), 0.0], [math.log(2.0), 0.0]])
    assert found == pytest.approx((3 / 4 + 2 / 3) / 2 - 1 / 2)
    # A model that answers by content: what is more probable stands first in one order alone.
    assert first_position([[1.0, 0.0], [0.0, 1.0]]) == pytest.approx(0.0)
    assert first_position([[1.0, 0.0]]) is None
