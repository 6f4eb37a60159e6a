"""What a sweep may spend: its price before anything runs, and the blocks a budget pays for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from study.cluster_lint.this_cluster import is_on_cluster, machine_types
from study.cost import CostError, Job, Market, Timings, check_budget, check_room, jobs_of
from study.cost_text import describe_cost
from study.dollars import dollars
from study.planned import Plan, StudyCost
from study.prices import PriceTable, read_prices
from study.pricing import Pricer, shapes_of
from trainables.block import Block, PlannedCell


def open_market(
    prices: Path | None,
    instance: str | None,
    *,
    address: str | None = None,
    max_cost: float | None = None,
) -> Market:
    """Returns a market with the user's table of prices, or the shipped one.

    On the head of a `ray up` cluster its node types are all that there is.

    Args:
        prices: The user's table.
        instance: The node type of every block.
        address: As the command's `--address` gives it.
        max_cost: What may be spent, $; no limit can be kept where nobody knows on which machines.

    Raises:
        CostError: If there is a limit, and the cluster's machines or their prices are not known.
        ValueError: If a file cannot be read, or the table does not have the instance type.
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
    return Market(
        prices=table,
        source=f"{prices or 'study/prices.toml'} ({dates})",
        instance=instance,
        types=types,
        has_gpus=has_gpus,
    )


def _check_machines_are_known(
    types: Sequence[str] | None, table: PriceTable, address: str | None
) -> None:
    if types is None and is_on_cluster(address):
        raise CostError(
            "--max-cost cannot be kept: nobody knows which machines this cluster has (no "
            "configuration of `ray up` on this machine names them); say it with --instance TYPE"
        )
    unpriced = [name for name in types or () if name not in table.instances]
    if unpriced:
        raise CostError(
            f"--max-cost cannot be kept: this cluster may start {', '.join(unpriced)}, which the "
            "price table does not have. Add the price to a copy of study/prices.toml and give that "
            "with --prices, or name the type that is used with --instance"
        )


def add_market_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `open_market` to a command."""
    parser.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        help="a price table in the form of study/prices.toml (default: that one)",
    )
    parser.add_argument(
        "--instance",
        metavar="TYPE",
        help="node type that blocks run on, such as g6.2xlarge (default: the cheapest that holds "
        "them, of the types of the cluster on its head, else of the price table)",
    )


def add_max_cost_flag(parser: argparse.ArgumentParser, *, what: str) -> None:
    """Adds `--max-cost` to a command.

    Args:
        parser: Of the command.
        what: Is held against it.
    """
    parser.add_argument(
        "--max-cost",
        type=dollars,
        metavar="DOLLARS",
        help=f"start nothing and exit with 2 where {what} is expected to cost more on on-demand "
        "nodes; also limits how many nodes are started",
    )


def price_plan(plan: Plan, market: Market, timings: Timings | None = None) -> StudyCost:
    """Returns what all cells of a plan cost on the market.

    Args:
        plan: Its cells, finished or not.
        market: The prices.
        timings: Of finished cells, if any are known.
    """
    jobs = jobs_of(plan.cells, plan.tasks)
    return _pricer(plan, market, jobs, timings).study(jobs)


def most_nodes(cost: StudyCost, max_cost: float | None) -> int | None:
    """Returns how many nodes a budget can start beside the work itself; None: any number."""
    starts, total = cost.starts_on_demand or 0.0, cost.on_demand or 0.0
    if max_cost is None or not starts:
        return None
    return max(1, math.floor((max_cost - total + starts) * cost.num_nodes / starts + 1e-9))


def _pricer(plan: Plan, market: Market, jobs: Sequence[Job], timings: Timings | None) -> Pricer:
    rates = {} if timings is None else timings.rates(on_gpus=market.has_gpus)
    return Pricer(plan.space, shapes_of(plan.models), jobs, market, rates)


class Budget:
    """Prices the missing cells of a plan and holds them against the user's `--max-cost`.

    Args:
        plan: The study.
        missing: Its cells that have to be run.
        market: The prices.
        timings: Of the finished cells.
        max_cost: At most this much is spent, $; None: whatever it takes.
    """

    def __init__(
        self,
        plan: Plan,
        missing: Sequence[PlannedCell],
        market: Market,
        timings: Timings,
        max_cost: float | None,
    ) -> None:
        self._plan, self._market, self._timings = plan, market, timings
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
        check_room(cost)
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
        check_room(cost)
        check_budget(cost, self._max_cost)
        self.whole = pricer.study(self._all_jobs, num_nodes=len(blocks), blocks=parts)

    def plan(self) -> Plan:
        """Returns the plan with its cost."""
        market = replace(self._market, has_gpus=self._timings.ran_on_gpus)
        whole = self.whole or price_plan(self._plan, market, self._timings)
        return self._plan.model_copy(update={"cost": whole})

    def _on(self, *, has_gpus: bool) -> Pricer:
        market = replace(self._market, has_gpus=has_gpus)
        return _pricer(self._plan, market, self._all_jobs, self._timings)
