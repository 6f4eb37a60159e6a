"""The head of an existing Ray cluster: its address, and whether it answers."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trainables.errors import ClusterError

CONNECT_TIMEOUT_S = 10.0
"""A head that takes longer to answer counts as absent."""

WATCH_INTERVAL_S = 5.0
MISSED_ANSWERS = 3
"""In a row, after which the user is warned. Ray ends the process with status 1 a minute after it
lost the head."""


def cluster_of_this_machine() -> str | None:
    """Returns the address that `ray start` recorded on this machine, if the head still answers.

    Ray's own `address=None` reads the same record. This function exists because clusters and local
    Rays need different settings.
    """
    from ray._private.services import find_bootstrap_address

    address: str | None = find_bootstrap_address(None)
    try:
        if address:
            check_reachable(address)
    except ClusterError:
        return None
    return address


def check_reachable(address: str) -> None:
    """Opens a connection to a head and closes it.

    Raises:
        ClusterError: If the address is malformed, or does not answer.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"a Ray cluster's address is HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address!r} ({error}): start one with `ray start --head`, "
            "or omit --address for a local one"
        ) from error


@contextmanager
def head_watched(address: str) -> Iterator[None]:
    """Prints a warning when the head of a cluster stops answering."""
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(address, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()


def _watch(address: str, stop: threading.Event) -> None:
    missed = 0
    while missed < MISSED_ANSWERS:
        if stop.wait(WATCH_INTERVAL_S):
            return
        try:
            check_reachable(address)
            missed = 0
        except ClusterError:
            missed += 1
    print(
        f"error: the head of the Ray cluster at {address} does not answer any more. This command "
        "ends with status 1 unless the head comes back within a minute. Finished cells are kept: "
        "with a new cluster, the same command continues from here.",
        file=sys.stderr,
        flush=True,
    )
