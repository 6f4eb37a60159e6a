"""Examples in front of questions: as many as fit into the model's context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from search_spaces.explain import count

Tokens = TypeVar("Tokens")


def fit_examples(
    num_items: int,
    num_examples: int,
    tokenize: Callable[[Sequence[int], int], Tokens],
    fits: Callable[[Tokens], Sequence[bool]],
) -> Iterator[tuple[list[int], Tokens, int]]:
    """Yields the items in groups that show equally many examples, the most first.

    Each item shows as many examples as fit; they are dropped from the end. An item that does not
    fit without examples is in no group.

    Args:
        num_items: Number of questions.
        num_examples: Number of examples at most.
        tokenize: (places of items, number of examples) -> their prompts in tokens.
        fits: Whether each of these prompts fits.

    Yields:
        Places of the group's items, their tokens, and the number of examples they show.
    """
    waiting = list(range(num_items))
    for num_shown in range(num_examples, -1, -1):
        places = waiting
        while places:
            tokens = tokenize(places, num_shown)
            kept = [place for place, fit in zip(places, fits(tokens), strict=True) if fit]
            if kept == places:
                yield places, tokens, num_shown
                break
            places = kept
        waiting = [place for place in waiting if place not in set(places)]


def dropped_note(num_items: int, num_shown: int, num_examples: int) -> tuple[str, ...]:
    """Returns a note that examples were dropped for a group of items, or none."""
    if num_shown == num_examples:
        return ()
    return (
        f"{count(num_items, 'item')}: {num_examples - num_shown} of "
        f"{count(num_examples, 'example')} dropped from "
        "the end of the prompt, which would not fit into the model's context",
    )
