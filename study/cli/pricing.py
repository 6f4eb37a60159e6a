"""Inputs that several commands read and check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search_spaces.explain import count
from search_spaces.space import Space
from study.artifacts.costs import StudyCost
from study.cluster_lint.this_cluster import is_on_cluster, machine_types
from study.cost.jobs import PricingOptions
from study.cost.prices import SHIPPED, PriceTable, read_prices
from trainables.cluster.capacity import IN_PROCESS
from trainables.errors import CostError


def load_pricing(
    prices: Path | None,
    instance: str | None,
    *,
    address: str | None = None,
    max_cost: float | None = None,
) -> PricingOptions:
    """Returns the prices and node types that blocks can use.

    On the head node of a `ray up` cluster these are the types of its cluster file.

    Args:
        prices: Price table of the user; None: the shipped one.
        instance: Node type of every block; None: the cheapest that fits.
        address: Value of `--address`.
        max_cost: Budget, $.

    Raises:
        CostError: If there is a budget but the cluster's node types or their prices are unknown.
        ValueError: If a file cannot be read, or the table lacks the node type.
    """
    table = read_prices(prices)
    types, has_gpus = None, True
    if instance is not None:
        table.find(instance)
    else:
        types = machine_types(address)
        if max_cost is not None:
            _check_machines_are_known(types, table, address)
        if types is not None:
            has_gpus = any(t not in table.instances or table.find(t).gpus for t in types)
    dates = ", ".join(f"{name} of {cloud.date}" for name, cloud in table.clouds.items())
    return PricingOptions(
        prices=table,
        source=f"{prices or SHIPPED.name} ({dates})",
        instance=instance,
        types=types,
        has_gpus=has_gpus,
    )


def rental_notes(cost: StudyCost, pricing: PricingOptions, space: Space) -> tuple[str, ...]:
    """Returns a sentence if a price is shown of nodes that a run on this machine would not rent.

    Args:
        cost: The cost that is shown.
        pricing: What nodes cost.
        space: Of the cells.
    """
    shows_price = any(base.instance is not None for base in cost.bases)
    if not shows_price or pricing.is_known:
        return ()
    wanted = [space.footprint_of(model).gpus_per_worker for model in space.models]
    gpus = max((each for each in wanted if each), default=0.0)
    needs = f"; it needs {count(gpus, 'GPU')} for each worker" if gpus else ""
    return (
        "Note: the price is what renting these nodes would cost. Without a cluster, this machine "
        f"runs the cells and nothing is rented{needs}.",
    )


def _check_machines_are_known(
    types: Sequence[str] | None, table: PriceTable, address: str | None
) -> None:
    if types is None and is_on_cluster(address):
        raise CostError(
            "--max-cost cannot be enforced: the node types of this cluster are unknown (this "
            "machine has no `ray up` configuration); name the type with --instance TYPE"
        )
    unpriced = [name for name in types or () if name not in table.instances]
    if unpriced:
        raise CostError(
            f"--max-cost cannot be enforced: this cluster may start {', '.join(unpriced)}, which "
            f"the price table lacks. Add the price to a copy of {SHIPPED} and pass it with "
            "--prices, or name another type with --instance"
        )


def check_dashboard(address: str | None, *, dashboard: bool) -> None:
    """Checks that a dashboard is asked of Ray.

    Raises:
        ValueError: If the command runs without Ray.
    """
    if dashboard and address == IN_PROCESS:
        raise ValueError("--dashboard shows Ray, and --address in-process runs without it")
