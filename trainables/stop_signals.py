"""Ctrl-C, SIGTERM and a closed terminal: the process stops, and its cells leave a checkpoint first.

Signals belong to the whole process, and so does this state.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

GRACE_S = 12.0
"""From the signal until a cell that has neither ended nor left a checkpoint is interrupted.
Kubernetes and Slurm kill a process 30 s after its SIGTERM, and Ray needs a few to shut down."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(BaseException):
    """A training has written its checkpoint and must not go on. Not an error of the cell."""


@dataclass(kw_only=True, slots=True)
class _State:
    signum: int | None = None
    """The first signal that came."""
    is_graceful: bool = False
    """Whether cells are running, which stop by themselves."""


_state = _State()


def is_asked() -> bool:
    """Says whether a signal has asked this process to stop."""
    return _state.signum is not None


def exit_status() -> int:
    """Returns the exit status of a stopped process as shells have it: 128 + signal."""
    return 128 + (_state.signum or signal.SIGINT)


@contextmanager
def signals_handled() -> Iterator[None]:
    """Turns the first signal into a KeyboardInterrupt; the second one ends the process at once.

    A signal that the process was started to ignore stays ignored (`nohup`). Only the main thread
    may enter.
    """
    before = {each: signal.getsignal(each) for each in SIGNALS}
    for each, handler in before.items():
        # A lost lock interrupts the main thread by SIGINT (`trainables.storage.lock`), so that one
        # is handled even in a shell's background job, which starts with it ignored.
        if handler is not signal.SIG_IGN or each == signal.SIGINT:
            signal.signal(each, _ask)
    try:
        yield
    finally:
        _state.signum = None
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Puts the handlers back that a library replaces: `ray.init` installs its own for SIGTERM."""
    before = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def cells_stop_first() -> Iterator[None]:
    """Gives what runs inside `GRACE_S` from the first signal before it is interrupted.

    Raises:
        KeyboardInterrupt: In the end, if a signal came.
    """
    before = signal.signal(signal.SIGALRM, _interrupt)
    _state.is_graceful = True
    try:
        yield
    finally:
        _state.is_graceful = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    if is_asked():
        raise KeyboardInterrupt


def _ask(signum: int, frame: FrameType | None) -> None:
    if is_asked():
        if signum != signal.SIGHUP:  # a closing terminal sends it more than once
            os._exit(exit_status())
        return
    _state.signum = signum
    what = "Stopping"
    if _state.is_graceful:
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        what += f": running cells have {GRACE_S:.0f} s to end or to write a checkpoint"
    with suppress(OSError):  # not `print`, which the signal may have interrupted
        os.write(2, f"\n{what} (a second signal stops at once) ...\n".encode())
    if not _state.is_graceful:
        raise KeyboardInterrupt


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
