"""Classes of answers: which choices of different items say the same.

Where all items share one set of texts (yes and no), a class is a text. Elsewhere texts belong to
their item, and the only class is a position; in canonical order positions are random, so nothing
but a model that answers by position makes them uneven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def shared_texts(choices: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """Returns the texts that every item has, sorted; None where items have texts of their own.

    Args:
        choices: Item id -> texts of its choices, in any order.
    """
    found = {tuple(sorted(texts)) for texts in choices.values()}
    return found.pop() if len(found) == 1 else None


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
