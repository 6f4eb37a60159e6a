"""Seeded draws: the labelled items of a cell, and generators for everything else that is random.

Names such as the study seed and the purpose determine a draw. Draws with different names are
independent, and no draw depends on what ran before it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable

from search_spaces.frozen import digest


def draw_ids(ids: Iterable[str], n: int, *names: str | int) -> tuple[str, ...]:
    """Returns `n` of the ids in a seeded random order; the first 80 of 160 are the draw of 80.

    Ids are ranked by a hash of the draw's names and their own, so the draw depends neither on the
    order of `ids` nor on how many of them were drawn before.

    Raises:
        ValueError: If there are fewer than `n` ids.
    """
    pool = sorted(set(ids))
    if len(pool) < n:
        raise ValueError(f"a draw of {n} items from a pool of {len(pool)}: {names}")
    key = digest(list(names))
    return tuple(sorted(pool, key=lambda id_: hashlib.sha256(f"{key}/{id_}".encode()).digest())[:n])


def draw_id(*names: str | int) -> str:
    """Returns the name of a draw: arms with one draw id share their labelled items."""
    return digest(list(names), length=16)


def ids_hash(ids: Iterable[str]) -> str:
    """Returns the SHA-256 of the ids in their order."""
    return digest(list(ids))


def seed_of(*names: str | int) -> int:
    """Returns a 63-bit seed that is derived from the names of what is drawn."""
    return int(digest(list(names), length=16), 16) >> 1


def generator(*names: str | int) -> random.Random:
    """Returns a new generator seeded by the names, independent of the global one."""
    return random.Random(seed_of(*names))
