"""One use of an item: labelled, unlabelled, validation and test share no item and no question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trainables.items import Item, prompt_key
from trainables.self_training.canonical import UnlabelledItem


def refuse_overlap(uses: Mapping[str, Iterable[Item | UnlabelledItem]]) -> None:
    """Refuses an item, a copy of one, or a question that has two uses.

    Several items of one use may ask the same: two pairs of answers to one question.

    Args:
        uses: Name of the use -> its items.

    Raises:
        ValueError: Naming two items and their uses.
    """
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for use, items in uses.items():
        for item in items:
            for key in (("id", item.id), ("question", prompt_key(item))):
                other, id_ = found.setdefault(key, (use, item.id))
                if other != use:
                    raise ValueError(
                        f"item {item.id!r} is {use} and item {id_!r} is {other}, and they have one "
                        f"{key[0]}: an item has one use, and so has a question; take one of the "
                        "two out of the data, or give both one group, so that no split parts them"
                    )
