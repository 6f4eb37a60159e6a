"""The machine types of the cluster that a command would use."""

from __future__ import annotations

import os
import socket

from study.cluster_lint.findings import part_at
from study.cluster_lint.node_types import head_and_workers
from trainables.cluster.capacity import IN_PROCESS, configuration_of_head
from trainables.cluster.head import cluster_of_this_machine


def machine_types(address: str | None) -> tuple[str, ...] | None:
    """Returns the machine types that blocks may run on, from the head's `ray up` configuration.

    Args:
        address: The command's `--address`.

    Returns:
        None if they are unknown: this machine is not the head of a `ray up` cluster, the address
        belongs to another machine, or a node type names no machine type (Kubernetes, on premises).

    Raises:
        ClusterError: If the head's configuration cannot be read.
    """
    given = _address(address)
    if address == IN_PROCESS or (given and not _is_local(given)):
        return None
    config = configuration_of_head()
    if config is None:
        return None
    head, workers = head_and_workers(config)
    usable = [w for w in workers if w.max_workers != 0 and config.get("max_workers") != 0]
    # Without a CPU entry Ray uses all CPUs of the head.
    if head is not None and part_at(head.content, "resources").get("CPU") != 0:
        usable.append(head)
    names = [node.instance for node in usable]
    return tuple(dict.fromkeys(name for name in names if name)) if names and all(names) else None


def is_on_cluster(address: str | None) -> bool:
    """Returns whether a command with this `--address` would connect to a running cluster."""
    if address == IN_PROCESS:
        return False
    return bool(_address(address) or cluster_of_this_machine())


def _address(address: str | None) -> str | None:
    return address or os.environ.get("RAY_ADDRESS") or None


def _is_local(address: str) -> bool:
    """Returns whether an address is this machine's: no other address can be bound."""
    host = address.rpartition("://")[2].rpartition(":")[0] or address
    if host in ("auto", "local"):
        return True
    try:
        socket.create_server((host, 0)).close()
    except OSError:
        return False
    return True
