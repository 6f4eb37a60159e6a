"""What the GPU-hours of a run cost so far. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from study.artifacts.plan import Plan
from study.cost.prices import Cost, PriceTable, gpu_cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """What cells cost on the node types that they are taken to have run on."""

    cost: Cost | None
    """None where no GPU-hour has a price."""
    instances: tuple[str, ...]
    """The node types whose prices were taken."""
    unpriced: tuple[str, ...]
    """Base models with GPU-hours that are not in the cost."""


def cost_to_date(
    plan: Plan, gpu_seconds_of: Mapping[str, float], prices: PriceTable, instance: str | None
) -> Spending:
    """Returns what GPU-seconds cost; nodes that boot or idle are not in it.

    Args:
        plan: Says what node type each base model was priced on.
        gpu_seconds_of: Base model -> GPU-seconds.
        prices: $ an hour.
        instance: The node type of all of them; None: the plan's.

    Raises:
        ValueError: If the table does not have the node type that is named, or that has no GPU.
    """
    if instance is not None:
        cost = gpu_cost(prices, instance, sum(gpu_seconds_of.values()))
        return Spending(cost=cost, instances=(instance,), unpriced=())
    bases = () if plan.cost is None else plan.cost.bases
    known = {base.model: base.instance for base in bases if base.instance in _with_gpus(prices)}
    priced = {
        model: (name, seconds)
        for model, seconds in gpu_seconds_of.items()
        if (name := known.get(model)) is not None
    }
    parts = [gpu_cost(prices, name, seconds) for name, seconds in priced.values()]
    return Spending(
        cost=sum(parts[1:], parts[0]) if parts else None,
        instances=tuple(dict.fromkeys(name for name, _ in priced.values())),
        unpriced=tuple(model for model in gpu_seconds_of if model not in priced),
    )


def _with_gpus(prices: PriceTable) -> frozenset[str]:
    return frozenset(name for name, instance in prices.instances.items() if instance.gpus)
