"""Ctrl-C, SIGTERM and a closed terminal: cells write a checkpoint, then the process stops.

Signals belong to the whole process, and so does the state of this module.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

GRACE_S = 12.0
"""Time that cells have after a signal to end or to write a checkpoint; then they are interrupted.
Kubernetes and Slurm kill a process 30 s after its SIGTERM, and Ray's shutdown takes a few."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(BaseException):
    """A training has written its checkpoint and must stop. Not an error of the cell."""


@dataclass(kw_only=True, slots=True)
class _State:
    signum: int | None = None
    """The first signal."""
    is_graceful: bool = False
    """Whether cells are running, which stop by themselves after a signal."""


_state = _State()


def is_asked() -> bool:
    """Returns whether a signal has asked this process to stop."""
    return _state.signum is not None


def exit_status() -> int:
    """Returns the exit status of a stopped process by the convention of shells: 128 + signal."""
    return 128 + (_state.signum or signal.SIGINT)


@contextmanager
def signals_handled() -> Iterator[None]:
    """Turns the first signal into a KeyboardInterrupt; a second one ends the process immediately.

    Signals that the process ignores from its start (`nohup`) stay ignored. Enter this context in
    the main thread only.
    """
    before = {each: signal.getsignal(each) for each in SIGNALS}
    for each, handler in before.items():
        # A lost lock interrupts the main thread by SIGINT (`trainables.storage.lock`), so SIGINT is
        # handled even in a shell's background job, which ignores it from its start.
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
    """Restores the signal handlers afterwards: `ray.init` installs its own for SIGTERM."""
    before = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def cells_stop_first() -> Iterator[None]:
    """Delays the interrupt of the first signal by `GRACE_S`, so that running cells can stop.

    Raises:
        KeyboardInterrupt: At the end of the context, if a signal came.
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
    with suppress(OSError):  # not `print`: the signal may have interrupted one
        os.write(2, f"\n{what} (a second signal stops at once) ...\n".encode())
    if not _state.is_graceful:
        raise KeyboardInterrupt


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
