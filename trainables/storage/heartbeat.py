"""The last sign of a sweep, as it is seen from anywhere: nothing is written.

How old a sign is would be easy to say by the clock of where it lies, but only who writes learns
what that clock says. So the viewer's own clock is asked; where by that the sign is too old, or of
the future, one looks again: a living sweep gives another sign within seconds, whatever the clocks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from trainables.storage import layout, lock
from trainables.storage.filesystem import Storage
from trainables.storage.mounts import is_own_disk
from trainables.storage.process_identity import has_ended

SECOND_LOOK_BEATS = 1.5
"""Heartbeats until a living sweep must have given another sign."""

LOOK_EVERY_BEATS = 0.1

CLOCKS_DIFFER_S = 900.0
"""At most: S3 refuses requests of a host whose clock is further off. An older sign is old."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """The last sign of a sweep (or of another command that runs cells)."""

    token: str | None
    """Names the sweep."""
    age: float
    """Seconds, 0 or more: by the viewer's clock unless the sweep was seen to give it."""
    is_alive: bool
    """Whether another one is to be expected."""
    storage_now: float
    """Seconds since 1970 by the clock of where the sign lies; of a living sweep within a heartbeat,
    however the viewer's clock goes."""


def read_heartbeat(storage: Storage, now: float | None = None) -> Heartbeat | None:
    """Returns the run folder's last sign; None where no sweep holds it.

    Takes up to 15 s where the viewer's clock says that the sign is too old.

    Args:
        storage: The run folder.
        now: Seconds since 1970 by the viewer's clock; None: this machine's.
    """
    now = time.time() if now is None else now
    holder, written = lock.read_lock(storage), storage.modified(layout.LOCK)
    if holder is None or written is None:
        return None
    age = now - written
    is_alive = abs(age) <= lock.STALE_S and not has_ended(holder)
    is_doubtful = lock.STALE_S < abs(age) <= CLOCKS_DIFFER_S and not has_ended(holder)
    if is_doubtful and not is_own_disk(storage):
        newer = _newer_sign(storage, written)
        if newer is not None:
            written, age, is_alive = newer, 0.0, True
    since = max(age, 0.0) if is_own_disk(storage) else min(max(age, 0.0), lock.HEARTBEAT_S)
    token = holder.get("token")
    return Heartbeat(
        token=None if token is None else str(token),
        age=max(age, 0.0),
        is_alive=is_alive,
        storage_now=written + since,
    )


def _newer_sign(storage: Storage, written: float) -> float | None:
    """Returns when another sign was given, if one is given soon."""
    deadline = time.monotonic() + SECOND_LOOK_BEATS * lock.HEARTBEAT_S
    while time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_BEATS * lock.HEARTBEAT_S)
        found = storage.modified(layout.LOCK)
        if found is None or found != written:
            return found
    return None
