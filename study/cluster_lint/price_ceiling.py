"""The hourly price of a `ray up` cluster at its largest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from study.cluster_lint.findings import Finding, number
from study.cluster_lint.node_types import head_and_workers
from study.cost.prices import PriceTable


def hourly_ceiling(config: Mapping[str, Any], prices: PriceTable) -> tuple[float, set[str]]:
    """Returns the cluster's highest price in $ an hour, and the machine types without a price.

    The ceiling is the head plus the most expensive nodes that `max_workers` allows.
    """
    head, workers = head_and_workers(config)
    remaining = int(number(config.get("max_workers")) or 0)
    total, unknown = 0.0, set()
    offers: list[tuple[float, int]] = []
    for node in workers if head is None else (head, *workers):
        name = node.instance or "(no machine type)"
        if name not in prices.instances or prices.find(name).cloud != config["provider"]["type"]:
            unknown.add(name)
            continue
        price = prices.hourly(name, is_spot=node.is_spot)
        # By default Ray starts no second node of the head's type.
        default = 0 if node is head else remaining
        total += price if node is head else 0.0
        offers.append((price, default if node.max_workers is None else node.max_workers))
    for price, count in sorted(offers, reverse=True):
        taken = max(0, min(count, remaining))
        remaining -= taken
        total += price * taken
    return total, unknown


def price_findings(
    config: Mapping[str, Any], prices: PriceTable, max_hourly_cost: float | None
) -> Iterator[Finding]:
    """Yields the cluster's highest hourly price, and a problem if it may exceed the limit."""
    hourly, unknown = hourly_ceiling(config, prices)
    cloud = prices.clouds.get(config["provider"]["type"])
    if cloud is not None:
        yield Finding(
            "max_workers",
            f"at its largest the cluster costs about ${hourly:,.2f} an hour (prices of "
            f"{cloud.date} in {cloud.region}; spot prices move)",
            is_note=True,
        )
    for name in sorted(unknown):
        yield Finding(
            "available_node_types",
            f"no price of {name!r} is known, so the total leaves it out; check the spelling, or "
            "pass a table that has it with --prices",
            is_note=max_hourly_cost is None,
        )
    if max_hourly_cost is not None and hourly > max_hourly_cost:
        yield Finding(
            "max_workers",
            f"${hourly:,.2f} an hour is more than --max-hourly-cost {max_hourly_cost:g}; lower "
            "max_workers, or raise the limit",
        )
