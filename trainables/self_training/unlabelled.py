"""Unlabelled items: the pool as self-training sees it, without gold answers.

The stored order of choices can reveal the right one (`chosen` before `rejected`). Choices are
therefore sorted by a hash of the item's id, their texts and the names of the draw: with another
gold answer or stored order, the bytes are the same.

A class of answers holds choices of different items that mean the same. Where all items share one
set of texts (yes and no), a class is a text. Elsewhere it is a position: in canonical order right
answers are spread evenly over positions, so uneven labels show a model that answers by position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.frozen import canonical_json, digest
from trainables.data.items import Item, prompt_key


@dataclass(frozen=True, kw_only=True, slots=True)
class UnlabelledItem:
    """A question and its choices; answer, reasoning and hardness could reveal gold."""

    id: str
    question: str
    choices: tuple[str, ...]
    """In canonical order."""
    group: str | None = None
    topic: str | None = None


def strip_label(item: Item, *names: str | int) -> UnlabelledItem:
    """Returns an item without its gold answer, its choices in canonical order.

    Args:
        item: Of the unlabelled pool.
        names: Name the draw (study seed, task, seed): other names, other orders.

    Raises:
        ValueError: If the choices are not at least two different texts; a free answer is gold.
    """
    if len(set(item.choices)) < 2:
        raise ValueError(
            f"item {item.id!r} has {len(set(item.choices))} distinct choice(s); an unlabelled item "
            "needs two or more: remove it from the pool"
        )
    key = digest(["canonical order", *names])

    def rank(text: str) -> bytes:
        return hashlib.sha256(canonical_json([key, item.id, text]).encode()).digest()

    return UnlabelledItem(
        id=item.id,
        question=item.question,
        choices=tuple(sorted(item.choices, key=rank)),
        group=item.group,
        topic=item.topic,
    )


def with_label(item: UnlabelledItem, choice: int) -> Item:
    """Returns the item to train on, with the choice as its answer.

    Args:
        item: As returned by `strip_label`.
        choice: Index in its canonical choices; a pseudo-label, or a control's label.

    Raises:
        ValueError: If there is no such choice.
    """
    if not 0 <= choice < len(item.choices):
        raise ValueError(
            f"item {item.id!r} has {len(item.choices)} choices, there is no index {choice}"
        )
    return Item(
        id=item.id,
        question=item.question,
        choices=item.choices,
        answer=choice,
        group=item.group,
        topic=item.topic,
    )


def check_disjoint_partitions(uses: Mapping[str, Iterable[Item | UnlabelledItem]]) -> None:
    """Refuses items, their copies, and questions with two uses, such as training and test.

    Several items of one use may share a question: two pairs of answers to it.

    Args:
        uses: Name of the use -> its items.

    Raises:
        ValueError: Naming two items and their uses.
    """
    first_use: dict[tuple[str, str], tuple[str, str]] = {}
    for use, items in uses.items():
        for item in items:
            for key in (("id", item.id), ("question", prompt_key(item))):
                other, id_ = first_use.setdefault(key, (use, item.id))
                if other != use:
                    raise ValueError(
                        f"item {item.id!r} is {use} and item {id_!r} is {other}, and they have one "
                        f"{key[0]}: an item has one use, and so has a question; take one of the "
                        "two out of the data, or give both one group, so that no split parts them"
                    )


def shared_texts(choices: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """Returns the texts that every item has, sorted; None if items have different texts.

    Args:
        choices: Item id -> texts of its choices, in any order.
    """
    distinct = {tuple(sorted(texts)) for texts in choices.values()}
    return distinct.pop() if len(distinct) == 1 else None


def classes_of(choices: Mapping[str, Sequence[str]]) -> Mapping[str, tuple[int, ...]]:
    """Returns the class of each choice: its place among the shared texts, else its position.

    Args:
        choices: Item id -> texts of its choices.
    """
    shared = shared_texts(choices)
    if shared is None:
        return {id_: tuple(range(len(texts))) for id_, texts in choices.items()}
    place = {text: number for number, text in enumerate(shared)}
    return {id_: tuple(place[text] for text in texts) for id_, texts in choices.items()}
