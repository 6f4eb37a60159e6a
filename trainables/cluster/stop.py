"""Passes a signal on to a sweep's workers on a Ray cluster, and waits for what they have in hand.

The word goes through the store of the cluster's head: that costs no process and no file, and a
worker learns of it within a second. It stays there, a few bytes for each sweep that was stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from trainables import stop_signals
from trainables.cells.planned import RunContext
from trainables.storage import layout
from trainables.storage.filesystem import open_storage

POLL_S = 0.5
"""Between two looks of a worker for the word, and of the driver for cells in hand."""

NOTICED_S = 3 * POLL_S
"""After it no worker begins another cell."""

NAMESPACE = "study-stop"


@dataclass(kw_only=True, slots=True)
class SignalRelay:
    """The driver's side."""

    run_context: RunContext
    _told_at: float | None = field(init=False, default=None)
    _looked_at: float = field(init=False, default=0.0)

    def look(self) -> None:
        """Tells the workers once a signal has come.

        Raises:
            KeyboardInterrupt: Once none of them has a cell in hand.
        """
        if not stop_signals.is_asked() or self.run_context.token is None:
            return
        now = time.monotonic()
        if self._told_at is None:
            _tell_workers(self.run_context.token)
            self._told_at = now
        if now - max(self._told_at + NOTICED_S - POLL_S, self._looked_at) < POLL_S:
            return
        self._looked_at = now
        with suppress(OSError):  # a bucket that does not answer now may do so later
            if not any(open_storage(self.run_context.out).list(layout.RUNNING)):
                raise KeyboardInterrupt


@contextmanager
def told_to_stop(token: str | None) -> Iterator[Callable[[], bool]]:
    """Yields what says, at no cost, whether this worker has been told to stop."""
    told, ended = threading.Event(), threading.Event()

    def watch(token: str) -> None:
        while not ended.wait(POLL_S):
            if _is_told(token):
                told.set()
                return

    if token is not None:
        threading.Thread(target=watch, args=(token,), daemon=True).start()
    try:
        yield told.is_set
    finally:
        ended.set()


def _tell_workers(token: str) -> None:
    from ray.exceptions import RaySystemError, RpcError
    from ray.experimental.internal_kv import _internal_kv_put

    with suppress(
        RaySystemError, RpcError
    ):  # no head, no cells: `stop_signals.GRACE_S` ends the wait
        _internal_kv_put(token, b"stop", namespace=NAMESPACE)


def _is_told(token: str) -> bool:
    from ray.exceptions import RaySystemError, RpcError
    from ray.experimental.internal_kv import _internal_kv_exists

    try:
        return bool(_internal_kv_exists(token, namespace=NAMESPACE))
    except (RaySystemError, RpcError):
        return False
