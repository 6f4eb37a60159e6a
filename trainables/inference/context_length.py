"""Items whose texts do not fit into a model's context, and the error that names one."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.data.items import Item
from trainables.inference.scoring import max_positions
from trainables.inference.tokenization import TokenizedItems
from trainables.models.loading import Base


def find_too_long(base: Base, tokenized: TokenizedItems) -> list[int]:
    """Returns the places of items that do not fit with their longest choice."""
    limit = max_positions(base.model)
    return [
        place
        for place, tokens in enumerate(tokenized.items)
        if limit is not None and len(tokenized.shared) + tokens.longest > limit
    ]


def check_context(base: Base, items: Sequence[Item], tokenized: TokenizedItems) -> None:
    """Checks that the items' texts fit into the model's context.

    Raises:
        ValueError: Naming the first item that does not fit.
    """
    for place in find_too_long(base, tokenized):
        length = len(tokenized.shared) + tokenized.items[place].longest
        raise ValueError(
            f"item {items[place].id!r}: {length} tokens with its longest choice, the model's "
            f"context holds {max_positions(base.model)}; leave the item out or use a model with a "
            "longer context"
        )
