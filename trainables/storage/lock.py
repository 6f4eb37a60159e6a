"""The lock of a run folder: one sweep at a time. A second one fails and names the holder.

The lock is a file that its holder renews every few seconds. A holder that was killed stops doing
so, and the next sweep takes over. A holder that could not write for a minute may find another
sweep's lock; then it stops, so that only one goes on.

A disk creates the lock only if it is absent. Arrow's bucket clients cannot, so on a bucket, and to
replace a dead sweep's lock, a sweep writes the lock, waits, and reads it again: of several that
write at once, all read the last one's token.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from trainables.errors import LockLostError, RunFolderInUseError
from trainables.invocation import command_line
from trainables.storage import heartbeat, layout
from trainables.storage.filesystem import Storage, is_own_disk, removing_empty_folders
from trainables.storage.heartbeat import SweepLock, read_lock
from trainables.storage.process_identity import has_ended, this_process

SETTLE_S = 1.0
"""Wait between writing the lock and reading it again."""

LONG_SETTLE_BEATS = 2.0
"""Wait, in heartbeats, if the write may have replaced a live holder's lock: that holder writes its
own again at its next heartbeat."""


@contextmanager
def held(storage: Storage) -> Iterator[None]:
    """Holds the run folder's lock.

    Raises:
        RunFolderInUseError: If another sweep holds it: names that sweep and what to do.
        LockLostError: If the lock is lost. Code in the main thread is interrupted, as by Ctrl-C;
            in another thread the error is raised at the end.
    """
    with removing_empty_folders(storage):
        yield from _held(storage)


def token_of(storage: Storage) -> str | None:
    """Returns the token of the sweep that holds the run folder; None if none does."""
    holder = read_lock(storage)
    return None if holder is None else holder.token


def _held(storage: Storage) -> Iterator[None]:
    token = uuid.uuid4().hex
    try:
        _take(storage, token)
    except KeyboardInterrupt:
        _release(storage, token)
        raise
    stop, lost = threading.Event(), threading.Event()
    is_main = threading.current_thread() is threading.main_thread()
    thread = threading.Thread(target=_beat, args=(storage, token, stop, lost, is_main), daemon=True)
    thread.start()
    try:
        try:
            yield
        finally:
            stop.set()
            thread.join()
            _release(storage, token)
    except KeyboardInterrupt:
        if not lost.is_set():
            raise
    if lost.is_set():
        raise LockLostError(
            f"another sweep has taken over {storage.root}: this one could not renew its lock for "
            f"{heartbeat.STALE_S:.0f} s, or {storage.path(layout.LOCK)} was deleted. This sweep "
            "has stopped; finished cells are kept. See the other one with "
            f"`{command_line('status')}`."
        )


def _take(storage: Storage, token: str) -> None:
    """Writes the lock, such that of several sweeps that do so at once only one goes on."""
    began = time.monotonic()
    holder = read_lock(storage)
    age_s = _age(storage)
    if holder is not None and not has_ended(holder) and abs(age_s) <= heartbeat.STALE_S:
        raise _in_use(storage, holder, age_s)
    if storage.is_local and holder is None:
        try:
            storage.create_bytes(layout.LOCK, _content(token, settled=True))
            return
        except FileExistsError:
            raise _in_use(storage, read_lock(storage) or SweepLock(), 0.0) from None
    _write(storage, token, settled=False)
    # The holder may be alive if our clock is wrong. Another sweep may have settled if our write
    # was slow.
    may_live = holder is not None and not has_ended(holder) and not is_own_disk(storage)
    is_doubtful = may_live or time.monotonic() - began > SETTLE_S
    time.sleep(LONG_SETTLE_BEATS * heartbeat.HEARTBEAT_S if is_doubtful else SETTLE_S)
    winner = read_lock(storage)
    if winner is not None and winner.token != token:
        raise _in_use(storage, winner, 0.0)
    _write(storage, token, settled=True)


def _age(storage: Storage) -> float:
    """Returns the seconds since the last heartbeat by the local clock; 0 if there is none."""
    renewed = storage.modified(layout.LOCK)
    return 0.0 if renewed is None else time.time() - renewed


def _in_use(storage: Storage, holder: SweepLock, age_s: float) -> RunFolderInUseError:
    return RunFolderInUseError(
        f"{storage.root} is in use by another sweep (host {holder.host or 'unknown'}, process "
        f"{holder.pid}, last heartbeat {max(age_s, 0.0):.0f} s ago). Wait for it, or choose "
        f"another --out. A sweep that was killed on another host is taken over "
        f"{heartbeat.STALE_S:.0f} s after its last heartbeat."
    )


def _release(storage: Storage, token: str) -> None:
    try:
        if token_of(storage) == token:
            storage.delete(layout.LOCK)
    except OSError as error:
        print(
            f"The lock {storage.path(layout.LOCK)} cannot be deleted ({error}); other hosts can "
            f"use the run folder {heartbeat.STALE_S:.0f} s from now.",
            file=sys.stderr,
        )


def _beat(
    storage: Storage, token: str, stop: threading.Event, lost: threading.Event, is_main: bool
) -> None:
    """Renews the lock until `stop` is set, or until another sweep holds it.

    A lock that is not settled belongs to a sweep that will read it once more before it begins;
    renewing ours tells it to give up.
    """
    while not stop.wait(heartbeat.HEARTBEAT_S):
        try:
            holder = read_lock(storage)
            is_lost = holder is None or (holder.settled and holder.token != token)
            if not is_lost:
                _write(storage, token, settled=True)
        except OSError:
            continue  # the bucket may answer at the next heartbeat
        if is_lost and not stop.is_set():
            lost.set()
            if is_main:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return


def _write(storage: Storage, token: str, *, settled: bool) -> None:
    storage.write_bytes(layout.LOCK, _content(token, settled=settled))


def _content(token: str, *, settled: bool) -> bytes:
    lock = SweepLock(**this_process().model_dump(), token=token, time=time.time(), settled=settled)
    return lock.model_dump_json().encode()
