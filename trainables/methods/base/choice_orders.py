"""Averages over the orders in which an item's choices are shown, to cancel position bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainables.data.items import Item
from trainables.methods.base.interface import Answers, FittedMethod

Orders = Literal["given", "all"]
"""`given`: the stored order. `all`: the k rotations of k choices (both orders of a pair), so that
every choice appears once at every position."""

_LOWEST = float(np.log(np.finfo(np.float64).tiny))
"""A probability that rounds to 0 has no logarithm, and a score must be finite."""


def orders_of(num_choices: int, kind: Orders) -> tuple[tuple[int, ...], ...]:
    """Returns the orders to show: `order[j]` is the stored index of the choice at position j.

    The stored order is the first of them.

    Raises:
        ValueError: If there are fewer than two choices.
    """
    if num_choices < 2:
        raise ValueError(f"an order needs two choices or more, got {num_choices}")
    stored = tuple(range(num_choices))
    if kind == "given":
        return (stored,)
    return tuple(stored[shift:] + stored[:shift] for shift in stored)


def average_over_orders(
    log_probs: Sequence[ArrayLike], orders: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """Returns one probability a choice, in the stored order: the mean over the orders' softmaxes.

    All sums are exact before rounding, so the result does not depend on which order is stored, and
    a model that sees positions only ends in an exact tie.

    Args:
        log_probs: For each order its scores, by position shown; any constant may be added to one.
        orders: As `orders_of` gives them, one for each entry of `log_probs`.

    Raises:
        ValueError: If scores and orders do not fit together, or a score is NaN or +infinity.
    """
    if not orders or len(log_probs) != len(orders):
        raise ValueError(
            f"{len(log_probs)} arrays of scores for {len(orders)} orders; one for each"
        )
    columns: list[list[float]] = [[] for _ in orders[0]]
    for scores, order in zip(log_probs, orders, strict=True):
        if sorted(order) != list(range(len(columns))):
            raise ValueError(f"order {tuple(order)} is not a permutation of {len(columns)} choices")
        for index, probability in zip(order, _softmax(scores, len(columns)), strict=True):
            columns[index].append(probability)
    return np.array([math.fsum(column) / len(orders) for column in columns])


def first_position(log_probs: Sequence[ArrayLike]) -> float | None:
    """Returns how much more probable the choice shown first is than chance, over all orders.

    Over the k rotations each choice stands first once, so the mean is 1/k, and this 0, for a model
    that answers by content; one that always takes the first position has 1 - 1/k, one that never
    does has -1/k.

    Args:
        log_probs: For each order its scores, by position shown; any constant may be added to one.

    Returns:
        In [-1/k, 1 - 1/k]; None where not every rotation was shown: one order cannot tell what
        stands first from where it stands.
    """
    num_choices = np.asarray(log_probs[0]).size
    if len(log_probs) < num_choices:
        return None
    first = (_softmax(scores, num_choices)[0] for scores in log_probs)
    return math.fsum(first) / len(log_probs) - 1.0 / num_choices


def _softmax(scores: ArrayLike, num_choices: int) -> list[float]:
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (num_choices,):
        raise ValueError(f"scores must have shape ({num_choices},), got {values.shape}")
    top = float(values.max())
    if not math.isfinite(top):
        raise ValueError(f"scores must be log-probabilities, got {values.tolist()}")
    # Less the largest, in float64: a bfloat16 difference of large logits would be coarse.
    exps = [math.exp(value - top) for value in values.tolist()]
    total = math.fsum(exps)
    return [value / total for value in exps]


def answer_in_orders(fitted: FittedMethod, items: Sequence[Item], which: Orders) -> Answers:
    """Returns the answers that a recipe with these orders gives.

    For `all`, each score is the log of a choice's mean probability over the orders of the choices.
    """
    if which == "given":
        return fitted.answer(items)
    scores = score_in_orders(fitted, items, which)
    orders = [orders_of(len(item.choices), which) for item in items]
    with np.errstate(divide="ignore"):
        means = [np.log(average_over_orders(*pair)) for pair in zip(scores, orders, strict=True)]
    return Answers(log_probs=[np.maximum(mean, _LOWEST) for mean in means])


def score_in_orders(
    fitted: FittedMethod, items: Sequence[Item], kind: str
) -> list[list[NDArray[np.float64]]]:
    """Returns each item's scores in each order of its choices, by position shown.

    Items are scored together, order after order, so that each order is one pass.
    """
    orders = [orders_of(len(item.choices), "all" if kind == "all" else "given") for item in items]
    by_item: list[list[NDArray[np.float64]]] = [[] for _ in items]
    for turn in range(max((len(order) for order in orders), default=0)):
        places = [place for place, order in enumerate(orders) if turn < len(order)]
        shown = [reordered(items[place], orders[place][turn]) for place in places]
        answers = fitted.answer(shown)
        if answers.log_probs is None:
            raise ValueError("a method that generates its answers has no confidence to select by")
        for place, scores in zip(places, answers.log_probs, strict=True):
            by_item[place].append(scores)
    return by_item


def reordered(item: Item, order: Sequence[int]) -> Item:
    """Returns the item with its choices in another order; its answer moves with them."""
    choices = tuple(item.choices[index] for index in order)
    return replace(item, choices=choices, answer=list(order).index(item.answer))
