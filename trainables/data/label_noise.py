"""Label noise as a control: how wrong may easy labels be before hard ones are worth their price?

Noisy answers are returned separately; the items keep their gold answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from trainables.data.items import Item
from trainables.data.seeding import draw_ids, generator

NoiseKind = Literal["realised", "paper"]
"""`realised`: the rate is the share of wrong labels. `paper`: the released code's variant
(arXiv:2401.06751, data_utils.py): each label is redrawn with the rate's probability, uniformly over
all choices with the right one, so that on four choices three quarters of the rate are wrong."""


def noisy_answers(
    items: Sequence[Item],
    rate: float,
    *names: str | int,
    kind: NoiseKind = "realised",
) -> dict[str, int]:
    """Returns item id -> answer, some of them wrong.

    Which labels are wrong depends on the names and the ids alone: other seeds, other labels. Higher
    rates keep the wrong labels of lower ones (`realised`), of which there are `num_wrong`.

    Args:
        items: The labelled items of one draw.
        rate: Share of labels, in [0, 1].
        names: Name the draw (study seed, task, seed).
        kind: What the rate means.

    Raises:
        ValueError: If the rate is outside [0, 1] or an item has no wrong choice.
    """
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"a noise rate must be in [0, 1], got {rate}")
    if rate > 0.0:
        _check_choices(items)
    answers = {item.id: item.answer for item in items}
    if len(answers) < len(items):
        raise ValueError("label noise needs each item once, but an id occurs twice")
    by_id = {item.id: item for item in items}
    if kind == "paper":
        for id_, item in by_id.items():
            rng = generator("label noise, paper", *names, id_)
            if rng.random() < rate:
                answers[id_] = rng.randrange(len(item.choices))
        return answers
    for id_ in draw_ids(answers, num_wrong(rate, len(answers)), "label noise", *names):
        answers[id_] = _wrong_answer(by_id[id_], *names)
    return answers


def random_answers(items: Sequence[Item], *names: str | int) -> dict[str, int]:
    """Returns item id -> answer, each drawn uniformly over the item's choices.

    Args:
        items: The labelled items of one draw.
        names: Name the draw (study seed, task, seed).

    Raises:
        ValueError: If an item has no wrong choice.
    """
    _check_choices(items)
    return {
        item.id: generator("random label", *names, item.id).randrange(len(item.choices))
        for item in items
    }


def num_wrong(rate: float, number: int) -> int:
    """Returns how many of a number of labels are wrong at a rate: half a label counts as one.

    The rate counts as its decimal digits, so that 0.29 of 50 labels, 14.5, are 15.
    """
    return int((Decimal(repr(rate)) * number).to_integral_value(ROUND_HALF_UP))


def _check_choices(items: Sequence[Item]) -> None:
    for item in items:
        if not _wrong_choices(item):
            raise ValueError(
                f"item {item.id!r} has no wrong choice, and a label that can be wrong needs one; "
                "use gold labels for free answers"
            )


def _wrong_choices(item: Item) -> list[int]:
    gold = item.choices[item.answer]
    # A choice with the gold text under another index would be no error.
    return [index for index, choice in enumerate(item.choices) if choice != gold]


def _wrong_answer(item: Item, *names: str | int) -> int:
    return generator("label noise", *names, item.id).choice(_wrong_choices(item))
