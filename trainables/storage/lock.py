"""One sweep on a run folder at a time: the second one waits for no one, it says who is there.

The lock is a file that its holder writes anew again and again. A holder that was killed stops
doing so, and its lock is taken over. A holder looks before it writes: one that was displaced (it
could not write for a minute) learns of it and stops, so that two do not stay. How old a sign is, is
said by the clock of where the file lies: the clocks of two hosts may differ. Who only looks, from
anywhere, writes nothing: `trainables.storage.heartbeat`.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainables.errors import LockLostError, RunFolderInUseError
from trainables.storage import layout
from trainables.storage.filesystem import Storage, removing_empty_folders
from trainables.storage.process_identity import has_ended, this_process

HEARTBEAT_S = 10.0
STALE_S = 60.0
"""A holder that has not written for so long is gone: six heartbeats."""

SETTLE_S = 1.0
"""An object store has no exclusive creation: the lock is of who finds its own word after this."""

LONG_SETTLE_S = 2 * HEARTBEAT_S
"""For a word that may have replaced that of a living holder, whose next heartbeat replaces it."""


@contextmanager
def held(storage: Storage) -> Iterator[None]:
    """Holds the run folder's lock.

    Raises:
        RunFolderInUseError: If another sweep holds it: says which, and what to do.
        LockLostError: If it is lost: in the main thread what runs is interrupted, as by Ctrl-C;
            in another one it is said in the end.
    """
    with removing_empty_folders(storage):
        yield from _held(storage)


def token_of(storage: Storage) -> str | None:
    """Returns what names the sweep that holds the run folder; None where none does."""
    token = (read_lock(storage) or {}).get("token")
    return None if token is None else str(token)


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
            f"another sweep has taken {storage.root} over, because this one could not write its "
            f"sign there for {STALE_S:.0f} s, or {storage.path(layout.LOCK)} was removed. This one "
            "has stopped; finished cells are kept. Look at the other with `python -m study.status`."
        )


def _take(storage: Storage, token: str) -> None:
    """Writes the lock, such that of several who do so at once only one goes on."""
    began = time.monotonic()
    holder = _refuse_if_held(storage)
    if storage.is_local:
        try:
            if holder is None:
                storage.create_bytes(layout.LOCK, _word(token, is_settled=True))
                return
            with _alone(storage):
                holder = _refuse_if_held(storage)
                storage.write_bytes(layout.LOCK, _word(token, is_settled=False))
        except FileExistsError:  # by another one, since the look above
            _take(storage, token)
            return
    else:
        storage.write_bytes(layout.LOCK, _word(token, is_settled=False))
    # Another one that looked before this word was there may have begun while it was on its way.
    is_late = time.monotonic() - began > SETTLE_S
    may_live = holder is not None and not has_ended(holder)
    is_doubtful = not storage.is_local and (is_late or may_live)
    time.sleep(LONG_SETTLE_S if is_doubtful else SETTLE_S)
    _refuse_if_held(storage, token)
    storage.write_bytes(layout.LOCK, _word(token, is_settled=True))


@contextmanager
def _alone(storage: Storage) -> Iterator[None]:
    """Lets one at a time look at a dead holder's lock on a disk and replace it.

    Raises:
        RunFolderInUseError: If another one is at it.
    """
    guard = f"{layout.LOCK}.taking"
    try:
        storage.create_bytes(guard, b"")
    except FileExistsError:
        age = _age(storage, guard)
        if age is not None and age > STALE_S:
            storage.delete(guard)  # of one that was killed there
            raise
        raise RunFolderInUseError(
            f"{storage.root}: another sweep is taking it over now: wait for it, or give another "
            "--out."
        ) from None
    try:
        yield
    finally:
        storage.delete(guard)


def _release(storage: Storage, token: str) -> None:
    try:
        if (read_lock(storage) or {}).get("token") == token:
            storage.delete(layout.LOCK)
    except OSError as error:
        print(
            f"The lock {storage.path(layout.LOCK)} cannot be taken away ({error}): other hosts "
            f"find the run folder free {STALE_S:.0f} s from now.",
            file=sys.stderr,
        )


def _refuse_if_held(storage: Storage, token: str | None = None) -> dict[str, Any] | None:
    """Returns what the lock says, unless it is of another living holder.

    Whoever has written after this token's own word is alive, however old what it wrote is: a
    bucket may have kept it waiting.
    """
    holder = read_lock(storage)
    if holder is None or holder.get("token") == token:
        return holder
    if token is None and has_ended(holder):
        return holder
    age = _age(storage, layout.LOCK)
    if age is None:  # taken away since
        return _refuse_if_held(storage, token)
    if token is None and age > STALE_S:
        return holder
    raise RunFolderInUseError(
        f"{storage.root} is in use by another sweep (host {holder.get('host')}, process "
        f"{holder.get('pid')}, last sign {max(age, 0.0):.0f} s ago): wait for it, or give another "
        f"--out. A sweep that was killed on another host is taken over {STALE_S:.0f} s after its "
        "last sign."
    )


def _age(storage: Storage, key: str) -> float | None:
    """Returns for how many seconds a file has not been written, by the clock of where it lies."""
    written = storage.modified(key)
    probe = f"{layout.LOCK}.{uuid.uuid4().hex}.now"
    try:
        storage.write_bytes(probe, b"")
        now = storage.modified(probe)
    finally:
        storage.delete(probe)
    return None if written is None or now is None else now - written


def _beat(
    storage: Storage, token: str, stop: threading.Event, lost: threading.Event, is_main: bool
) -> None:
    """Gives a sign again and again, until told to stop or until the lock is another one's.

    A word that is not settled is of one who takes over and looks once more before it begins: this
    one's sign tells it not to.
    """
    while not stop.wait(HEARTBEAT_S):
        try:
            found = read_lock(storage)
            is_others = found is None or (found.get("settled") and found.get("token") != token)
            if not is_others:
                storage.write_bytes(layout.LOCK, _word(token, is_settled=True))
        except OSError:
            continue  # a bucket that does not answer now may do so at the next beat
        if is_others and not stop.is_set():
            lost.set()
            if is_main:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return


def _word(token: str, *, is_settled: bool) -> bytes:
    word = {
        "token": token,
        **this_process(),
        "time": time.time(),
        "settled": is_settled,
    }
    return json.dumps(word).encode()


def read_lock(storage: Storage) -> dict[str, Any] | None:
    """Returns what the lock says; None where there is none, nothing where it cannot be read."""
    try:
        found = json.loads(storage.read_bytes(layout.LOCK))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
