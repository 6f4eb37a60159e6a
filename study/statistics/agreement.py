"""Agreement of annotators: a ceiling for the accuracy of a model against their votes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Expected accuracy of one random annotator against the majority of the others."""

    accuracy: float
    """In [0, 1]; the mean over annotators, then over items."""
    num_items: int
    num_left_out: int
    """Items with fewer than two votes."""


def annotator_agreement(
    votes: Mapping[str, Sequence[Hashable]], *, tie: Hashable = None
) -> Agreement:
    """Returns the expected accuracy of an annotator against the others, leaving out each vote once.

    A vote for the winner of the other votes scores 1. With several winners the score is the mean
    over them. As for models, a tie against a preference, or the reverse, counts half.

    Args:
        votes: Item id -> the votes of its annotators, all of equal weight.
        tie: The vote for "neither is better"; None if there is no such vote.

    Raises:
        ValueError: If no item has two votes.
    """
    scores = [_item_agreement(cast, tie) for cast in votes.values() if len(cast) >= 2]
    if not scores:
        raise ValueError(
            f"agreement needs an item with two votes or more, got {len(votes)} items with fewer"
        )
    return Agreement(
        accuracy=math.fsum(scores) / len(scores),
        num_items=len(scores),
        num_left_out=len(votes) - len(scores),
    )


def _item_agreement(votes: Sequence[Hashable], tie: Hashable) -> float:
    total = 0.0
    for index, vote in enumerate(votes):
        others = Counter([*votes[:index], *votes[index + 1 :]])
        most = max(others.values())
        winners = [value for value, count in others.items() if count == most]
        total += sum(_credit(vote, winner, tie) for winner in winners) / len(winners)
    return total / len(votes)


def _credit(vote: Hashable, winner: Hashable, tie: Hashable) -> float:
    if vote == winner:
        return 1.0
    return 0.5 if tie is not None and tie in (vote, winner) else 0.0
