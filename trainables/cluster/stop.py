"""Relays a signal to a sweep's workers on a Ray cluster, and waits for their current cells.

The relay uses the key-value store of the cluster's head, which needs no process and no file: a
worker sees the key within a second. The key stays, a few bytes per stopped sweep.
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
"""Between two polls: of a worker for the signal, and of the driver for running cells."""

NOTICED_S = 3 * POLL_S
"""After this time every worker has seen the signal and starts no other cell."""

NAMESPACE = "study-stop"


@dataclass(kw_only=True, slots=True)
class SignalRelay:
    """The driver's side."""

    run_context: RunContext
    _relayed_at: float | None = field(init=False, default=None)
    _polled_at: float = field(init=False, default=0.0)

    def poll(self) -> None:
        """Relays a signal to the workers, once one has come.

        Raises:
            KeyboardInterrupt: Once no worker runs a cell any more.
        """
        if not stop_signals.is_asked() or self.run_context.token is None:
            return
        now = time.monotonic()
        if self._relayed_at is None:
            _relay(self.run_context.token)
            self._relayed_at = now
        if now - max(self._relayed_at + NOTICED_S - POLL_S, self._polled_at) < POLL_S:
            return
        self._polled_at = now
        with suppress(OSError):  # a bucket may answer again later
            if not any(open_storage(self.run_context.out).list(layout.RUNNING)):
                raise KeyboardInterrupt


@contextmanager
def told_to_stop(token: str | None) -> Iterator[Callable[[], bool]]:
    """Yields a cheap function that returns whether this worker must stop."""
    must_stop, ended = threading.Event(), threading.Event()

    def watch(token: str) -> None:
        while not ended.wait(POLL_S):
            if _is_relayed(token):
                must_stop.set()
                return

    if token is not None:
        threading.Thread(target=watch, args=(token,), daemon=True).start()
    try:
        yield must_stop.is_set
    finally:
        ended.set()


def _relay(token: str) -> None:
    from ray.exceptions import RaySystemError, RpcError
    from ray.experimental.internal_kv import _internal_kv_put

    # Without a head no cell runs, and `stop_signals.GRACE_S` ends the wait.
    with suppress(RaySystemError, RpcError):
        _internal_kv_put(token, b"stop", namespace=NAMESPACE)


def _is_relayed(token: str) -> bool:
    from ray.exceptions import RaySystemError, RpcError
    from ray.experimental.internal_kv import _internal_kv_exists

    try:
        return bool(_internal_kv_exists(token, namespace=NAMESPACE))
    except (RaySystemError, RpcError):
        return False
