"""The lock file of a run folder: who holds the folder, and whether that sweep is alive.

Reading writes nothing, so anyone who can read the folder can ask. A heartbeat's age is computed
from the local clock, because reading the storage server's clock requires a write. If the heartbeat
looks stale or has a future time, it is polled again: a live sweep renews it within seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pydantic import ConfigDict, ValidationError

from trainables.storage import layout
from trainables.storage.filesystem import Storage, is_own_disk
from trainables.storage.process_identity import ProcessIdentity, has_ended

HEARTBEAT_S = 10.0
STALE_S = 60.0
"""A holder that has not renewed its lock for six heartbeats is taken to be dead."""

SECOND_LOOK_BEATS = 1.5
"""A live sweep renews its lock within this many heartbeats."""

POLL_BEATS = 0.1

MAX_CLOCK_SKEW_S = 900.0
"""S3 refuses requests from hosts whose clock is further off; an older heartbeat is stale."""


class SweepLock(ProcessIdentity):
    """The content of sweep.json. Unknown keys are ignored: other versions may write some."""

    model_config = ConfigDict(extra="ignore")

    token: str | None = None
    """Identifies the sweep; its cells' claims carry the same token."""
    time: float = 0.0
    """Seconds since 1970 by the holder's clock; for human readers only."""
    settled: bool = False
    """Whether the holder has checked that no other sweep took the lock at the same moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """The last heartbeat of a sweep (or of another command that runs cells)."""

    token: str | None
    """Identifies the sweep."""
    age: float
    """Seconds, 0 or more, by the local clock; 0 if it was renewed while we polled."""
    is_alive: bool
    """Whether the sweep is expected to send another one."""
    storage_now: float
    """Seconds since 1970 by the storage server's clock; accurate to one heartbeat for a live
    sweep, even if the local clock is wrong."""


def read_lock(storage: Storage) -> SweepLock | None:
    """Returns the content of the lock; None if there is none, defaults if it is unreadable."""
    try:
        return SweepLock.model_validate_json(storage.read_bytes(layout.LOCK))
    except FileNotFoundError:
        return None
    except ValidationError:
        return SweepLock()


def read_heartbeat(storage: Storage, now: float | None = None) -> Heartbeat | None:
    """Returns the run folder's last heartbeat; None if no sweep holds the folder.

    Takes up to 15 s if the heartbeat looks stale by the local clock.

    Args:
        storage: The run folder.
        now: Seconds since 1970 by the local clock; None: the current time.
    """
    now = time.time() if now is None else now
    holder, renewed = read_lock(storage), storage.modified(layout.LOCK)
    if holder is None or renewed is None:
        return None
    age, same_clock = now - renewed, is_own_disk(storage)
    is_alive = abs(age) <= STALE_S and not has_ended(holder)
    is_doubtful = STALE_S < abs(age) <= MAX_CLOCK_SKEW_S and not has_ended(holder)
    if is_doubtful and not same_clock:
        newer = _await_renewal(storage, renewed)
        if newer is not None:
            renewed, age, is_alive = newer, 0.0, True
    age = max(age, 0.0)
    return Heartbeat(
        token=holder.token,
        age=age,
        is_alive=is_alive,
        storage_now=renewed + (age if same_clock else min(age, HEARTBEAT_S)),
    )


def _await_renewal(storage: Storage, renewed: float) -> float | None:
    """Returns when the heartbeat was renewed; None if it is not renewed soon."""
    deadline = time.monotonic() + SECOND_LOOK_BEATS * HEARTBEAT_S
    while time.monotonic() < deadline:
        time.sleep(POLL_BEATS * HEARTBEAT_S)
        latest = storage.modified(layout.LOCK)
        if latest != renewed:
            return latest
    return None
