"""What a sweep may spend: its price before anything runs, and the blocks a budget pays for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from study.artifacts.costs import StudyCost
from study.artifacts.plan import Plan
from study.cost.jobs import PricedJob, PricingOptions, Timings, check_budget, check_memory, jobs_of
from study.cost.pricer import Pricer, shapes_of
from study.cost.text import describe_cost
from trainables.cells.planned import Block, PlannedCell


def price_plan(plan: Plan, pricing: PricingOptions, timings: Timings | None = None) -> StudyCost:
    """Returns what all cells of a plan cost on the pricing.

    Args:
        plan: Its cells, finished or not.
        pricing: The prices.
        timings: Of finished cells, if any are known.
    """
    jobs = jobs_of(plan.cells, plan.tasks)
    return _pricer(plan, pricing, jobs, timings).study(jobs)


def most_nodes(cost: StudyCost, max_cost: float | None) -> int | None:
    """Returns how many nodes a budget can start beside the work itself; None: any number."""
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
    """Prices the missing cells of a plan and holds them against the user's `--max-cost`.

    Args:
        plan: The study.
        missing: Its cells that have to be run.
        pricing: The prices.
        timings: Of the finished cells.
        max_cost: At most this much is spent, $; None: whatever it takes.
    """

    def __init__(
        self,
        plan: Plan,
        missing: Sequence[PlannedCell],
        pricing: PricingOptions,
        timings: Timings,
        max_cost: float | None,
    ) -> None:
        self._plan, self._market, self._timings = plan, pricing, timings
        self._max_cost = max_cost
        self._jobs = jobs_of(missing, plan.tasks)
        self._all_jobs = jobs_of(plan.cells, plan.tasks)
        self.whole: StudyCost | None = None
        """Of all cells of the plan, once it is known what they run on."""

    def most_blocks(self, *, has_gpus: bool) -> int | None:
        """Returns how many nodes the budget can start beside the work itself; None: any number."""
        if self._max_cost is None:
            return None
        cost = self._on(has_gpus=has_gpus).study(self._jobs)
        check_memory(cost)
        check_budget(cost, self._max_cost)
        return most_nodes(cost, self._max_cost)

    def approve(self, blocks: Sequence[Block]) -> None:
        """Prints what the blocks cost.

        Raises:
            CostError: If that is more than the budget, or not known while there is a budget.
            NoRoomError: If the machines are known, and a base does not fit.
        """
        pricer = self._on(has_gpus=any(block.gpus_per_worker for block in blocks))
        parts = [pricer.block(block, self._plan.tasks) for block in blocks]
        cost = pricer.study(self._jobs, num_nodes=len(blocks), blocks=parts)
        print("\n".join(describe_cost(cost, what="left")), flush=True)
        check_memory(cost)
        check_budget(cost, self._max_cost)
        self.whole = pricer.study(self._all_jobs, num_nodes=len(blocks), blocks=parts)

    def plan(self) -> Plan:
        """Returns the plan with its cost."""
        pricing = replace(self._market, has_gpus=self._timings.ran_on_gpus)
        whole = self.whole or price_plan(self._plan, pricing, self._timings)
        return self._plan.model_copy(update={"cost": whole})

    def _on(self, *, has_gpus: bool) -> Pricer:
        pricing = replace(self._market, has_gpus=has_gpus)
        return _pricer(self._plan, pricing, self._all_jobs, self._timings)
