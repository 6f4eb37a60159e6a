"""The money of a sweep: its price before anything runs, its budget, and its cost to date."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from study.artifacts.costs import StudyCost
from study.artifacts.plan import Plan
from study.cost.jobs import PricedJob, PricingOptions, Timings, check_budget, check_memory, jobs_of
from study.cost.pricer import Pricer, shapes_of
from study.cost.prices import Cost, PriceTable, gpu_cost
from study.cost.text import describe_cost
from trainables.cells.planned import Block, PlannedCell


def price_plan(plan: Plan, pricing: PricingOptions, timings: Timings | None = None) -> StudyCost:
    """Returns the cost of all cells of a plan.

    Args:
        plan: The plan; finished cells count as well.
        pricing: The prices.
        timings: Measured speed of finished cells, if any.
    """
    jobs = jobs_of(plan.cells, plan.tasks)
    return _pricer(plan, pricing, jobs, timings).study(jobs)


def most_nodes(cost: StudyCost, max_cost: float | None) -> int | None:
    """Returns how many nodes a budget can start after paying for the work; None: any number."""
    starts, total = cost.starts_on_demand or 0.0, cost.on_demand or 0.0
    if max_cost is None or not starts:
        return None
    return max(1, math.floor((max_cost - total + starts) * cost.num_nodes / starts + 1e-9))


def _pricer(
    plan: Plan, pricing: PricingOptions, jobs: Sequence[PricedJob], timings: Timings | None
) -> Pricer:
    rates = {} if timings is None else timings.rates(on_gpus=pricing.has_gpus)
    return Pricer(plan.space, shapes_of(plan.models), jobs, pricing, rates)


class Budget:
    """Prices the missing cells of a plan and compares them with the user's `--max-cost`.

    Args:
        plan: The study.
        missing: Its cells that have to run.
        pricing: The prices.
        timings: Measured speed of the finished cells.
        max_cost: Limit in $; None: no limit.
    """

    def __init__(
        self,
        plan: Plan,
        missing: Sequence[PlannedCell],
        pricing: PricingOptions,
        timings: Timings,
        max_cost: float | None,
    ) -> None:
        self._plan, self._pricing, self._timings = plan, pricing, timings
        self._max_cost = max_cost
        self._jobs = jobs_of(missing, plan.tasks)
        self._all_jobs = jobs_of(plan.cells, plan.tasks)
        self.whole: StudyCost | None = None
        """Cost of all cells of the plan, once their machines are known."""

    def most_blocks(self, *, has_gpus: bool) -> int | None:
        """Returns how many nodes the budget can start besides the work; None: any number."""
        if self._max_cost is None:
            return None
        cost = self._on(has_gpus=has_gpus).study(self._jobs)
        check_memory(cost)
        check_budget(cost, self._max_cost)
        return most_nodes(cost, self._max_cost)

    def approve(self, blocks: Sequence[Block]) -> None:
        """Prints the cost of the blocks.

        Raises:
            CostError: If it exceeds the budget, or is unknown and there is a budget.
            InsufficientMemoryError: If the machines are known and cannot hold a base model.
        """
        pricer = self._on(has_gpus=any(block.gpus_per_worker for block in blocks))
        costs = [pricer.block(block, self._plan.tasks) for block in blocks]
        cost = pricer.study(self._jobs, num_nodes=len(blocks), blocks=costs)
        print("\n".join(describe_cost(cost, what="left")), flush=True)
        check_memory(cost)
        check_budget(cost, self._max_cost)
        self.whole = pricer.study(self._all_jobs, num_nodes=len(blocks), blocks=costs)

    def plan(self) -> Plan:
        """Returns the plan including its cost."""
        pricing = replace(self._pricing, has_gpus=self._timings.ran_on_gpus)
        whole = self.whole or price_plan(self._plan, pricing, self._timings)
        return self._plan.model_copy(update={"cost": whole})

    def _on(self, *, has_gpus: bool) -> Pricer:
        pricing = replace(self._pricing, has_gpus=has_gpus)
        return _pricer(self._plan, pricing, self._all_jobs, self._timings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """Cost to date of cells, on the node types of the plan."""

    cost: Cost | None
    """None if no GPU-hour has a price."""
    instances: tuple[str, ...]
    """Node types whose prices were used."""
    unpriced: tuple[str, ...]
    """Base models whose GPU-hours the cost excludes."""


def cost_to_date(
    planned: StudyCost | None,
    gpu_seconds_of: Mapping[str, float],
    prices: PriceTable,
    instance: str | None,
) -> Spending:
    """Returns the cost of GPU-seconds, without booting and idle nodes.

    Args:
        planned: Cost of the plan, with the node type of each base model.
        gpu_seconds_of: GPU-seconds by base model.
        prices: The price table.
        instance: Node type of all base models; None: those of the plan.

    Raises:
        ValueError: If the given node type is not in the table, or has no GPU.
    """
    if instance is not None:
        cost = gpu_cost(prices, instance, sum(gpu_seconds_of.values()))
        return Spending(cost=cost, instances=(instance,), unpriced=())
    bases = () if planned is None else planned.bases
    with_gpus = {name for name, type_ in prices.instances.items() if type_.gpus}
    known = {base.model: base.instance for base in bases if base.instance in with_gpus}
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
