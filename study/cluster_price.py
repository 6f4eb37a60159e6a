"""What a `ray up` file may cost an hour, and which machines the cluster of this head may start."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from study.findings import Finding, number, problem
from study.node_types import NodeType, head_and_workers
from study.prices import PriceTable
from trainables.growth import IN_PROCESS, configuration_of_head
from trainables.ray_head import cluster_of_this_machine


def hourly_ceiling(config: Mapping[str, Any], prices: PriceTable) -> tuple[float, list[str]]:
    """Returns what the cluster costs an hour at its largest, and the machine types without a price.

    The ceiling is that of the dearest workers that `max_workers` allows, plus the head.
    """
    head, workers = head_and_workers(config)
    unknown = []
    offers: list[tuple[float, int]] = []
    total = 0.0
    ceiling = int(number(config.get("max_workers")) or 0)
    for node in workers if head is None else (head, *workers):
        name = node.instance or ""
        if name not in prices.instances:
            unknown.append(name)
        elif node is head:
            total += prices.hourly(name, is_spot=False)
        else:
            count = ceiling if node.max_workers is None else node.max_workers
            offers.append((prices.hourly(name, is_spot=node.is_spot), count))
    for price, count in sorted(offers, reverse=True):
        taken = max(0, min(count, ceiling))
        ceiling -= taken
        total += price * taken
    return total, unknown


def wrong_gpus(config: Mapping[str, Any], prices: PriceTable) -> Iterator[Finding]:
    """Yields worker types that tell Ray of other GPUs or CPUs than the machine has."""
    _, workers = head_and_workers(config)
    for worker in workers:
        instance = prices.instances.get(worker.instance or "")
        if instance is None:
            continue
        for name, has in (("GPU", instance.gpus), ("CPU", instance.vcpus)):
            told = number(worker.resources.get(name)) or 0.0
            if told > has or (name == "GPU" and told < has):
                yield problem(
                    worker.key(f"resources.{name}"),
                    f"a {worker.instance} has {has}, the file says {told:g}",
                    f"set {name}: {has}",
                )


def machine_types(address: str | None) -> tuple[str, ...] | None:
    """Returns the machine types that blocks may run on, as `ray up` left them on this head.

    Args:
        address: As the command's `--address` gives it.

    Returns:
        None where they are not known: this is no head of `ray up`, the address is another
        machine's, or a type names no machine (Kubernetes, machines of one's own).

    Raises:
        ClusterError: If the head's file cannot be read.
    """
    given = _address(address)
    if address == IN_PROCESS or (given and not _is_here(given)):
        return None
    config = configuration_of_head()
    if config is None:
        return None
    head, workers = head_and_workers(config)
    ceiling = number(config.get("max_workers"))
    able = [node for node in workers if node.max_workers != 0 and ceiling != 0]
    if head is not None and _runs_blocks(head):
        able.append(head)
    names = [node.instance for node in able]
    return tuple(dict.fromkeys(name for name in names if name)) if names and all(names) else None


def is_on_cluster(address: str | None) -> bool:
    """Says whether a command with this `--address` would use a cluster that is there already."""
    if address == IN_PROCESS:
        return False
    return bool(_address(address) or cluster_of_this_machine())


def _address(address: str | None) -> str | None:
    return address or os.environ.get("RAY_ADDRESS") or None


def _runs_blocks(head: NodeType) -> bool:
    """Says whether the head has CPUs for Ray; a file that does not say so leaves it all it has."""
    return "CPU" not in head.resources or (number(head.resources["CPU"]) or 0) > 0


def _is_here(address: str) -> bool:
    """Says whether an address is one of this machine's: only those can be bound to."""
    host = address.rpartition("://")[2].rpartition(":")[0] or address
    if host in ("auto", "local"):
        return True
    try:
        socket.create_server((host, 0)).close()
    except OSError:
        return False
    return True
