"""Prices of jobs: a node type per footprint, then GPU-hours, bytes and dollars. Pure.

`study.cost.node_choice` chooses the node types. Seconds come from finished cells of the same base
model and method if there are any, else from FLOP and an assumed rate (`study.cost.devices`). A
worker group divides only a cell's training; every worker pays for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from search_spaces.base_models import Footprint
from search_spaces.space import Space
from study.artifacts.costs import BaseCost, BlockCost, StudyCost
from study.artifacts.plan import ModelFacts, PlannedTask
from study.cost.devices import useful_flop_per_second
from study.cost.flops import CPU_FLOP_PER_SECOND
from study.cost.jobs import PricedJob, PricingOptions, Rates, group_flop, jobs_of, pace_share
from study.cost.memory import ModelShape, weight_bytes
from study.cost.node_choice import Node, Nodes
from study.cost.prices import SECONDS_PER_HOUR, Cost, node_cost
from trainables.cells.planned import Block

NODE_SECONDS = 600.0
"""Assumption: paid time of a node outside its cells: about 5 minutes to boot and install, and the
idle timeout of cluster.yaml (5 minutes) after its block."""

STATE_BYTES = 4.0
"""Bytes per value of a hidden state: 32 bits."""


def shapes_of(models: Iterable[ModelFacts]) -> Mapping[str, ModelShape]:
    """Returns the dimensions of each base model by name."""
    return {
        model.name: ModelShape(
            num_params=model.num_params,
            dtype=model.dtype,
            num_layers=model.num_layers,
            hidden_size=model.hidden_size,
            vocab_size=model.vocab_size,
            num_expert_params=model.num_expert_params,
            is_mapped=model.is_mapped,
        )
        for model in models
    }


class Pricer:
    """Prices cells of one space; all blocks of a footprint run on one node type.

    Args:
        space: Defines the footprints.
        shapes: Dimensions by base model.
        jobs: All jobs that may run; the node type holds the largest base model of a footprint.
        pricing: The prices.
        rates: Measured rates.

    Raises:
        ValueError: If the given node type has no price.
    """

    def __init__(
        self,
        space: Space,
        shapes: Mapping[str, ModelShape],
        jobs: Iterable[PricedJob],
        pricing: PricingOptions,
        rates: Rates,
    ) -> None:
        self._shapes, self._pricing, self._rates = shapes, pricing, rates
        self._footprints = {model.name: space.footprint_of(model) for model in space.models}
        of_model: dict[str, list[PricedJob]] = {}
        for job in jobs:
            of_model.setdefault(job.model, []).append(job)
        self._choice = Nodes(self._footprints, shapes, of_model, pricing)
        used = dict.fromkeys(self._footprints[model] for model in of_model)
        self._nodes = {footprint: self._choice.choose(footprint) for footprint in used}

    def study(
        self,
        jobs: Sequence[PricedJob],
        *,
        num_nodes: int | None = None,
        blocks: Sequence[BlockCost] = (),
    ) -> StudyCost:
        """Returns the cost of jobs.

        Args:
            jobs: The jobs that run.
            num_nodes: Number of nodes started; None: one per footprint, the minimum.
            blocks: The priced blocks of a run.
        """
        models = dict.fromkeys(job.model for job in jobs)
        bases = tuple(self._base(m, [job for job in jobs if job.model == m]) for m in models)
        used = list(dict.fromkeys(self._footprints[model] for model in models))
        if num_nodes is None:
            num_nodes = len(used)
        starts = _total([self.start(footprint) for footprint in used])
        share = num_nodes / max(len(used), 1)
        on_demand, spot = (None if dollars is None else dollars * share for dollars in starts)
        return StudyCost(
            prices=self._pricing.source,
            bases=bases,
            num_nodes=num_nodes,
            starts_on_demand=on_demand,
            starts_spot=spot,
            gpu_hours=_known_sum(base.gpu_hours for base in bases),
            on_demand=_known_sum([on_demand, *(base.on_demand for base in bases)]),
            spot=_known_sum([spot, *(base.spot for base in bases)]),
            blocks=tuple(blocks),
            no_room=self._choice.find_insufficient_memory(models),
            notes=tuple(self._choice.find_memory_risks(models)),
        )

    def block(self, block: Block, tasks: Iterable[PlannedTask]) -> BlockCost:
        """Returns the cost of a block including the start of its node."""
        cost = self.study(jobs_of(block.cells, tasks))
        return BlockCost(
            index=block.index,
            num_cells=sum(base.num_cells for base in cost.bases),
            on_demand=cost.on_demand,
            spot=cost.spot,
        )

    def start(self, footprint: Footprint) -> Cost | None:
        """Returns the cost of a node outside its cells; None if unknown."""
        node = self._nodes[footprint]
        if not node.is_rented:
            return Cost(on_demand=0.0, spot=0.0)
        if node.instance is None:
            return None
        return node_cost(self._pricing.prices, node.instance, NODE_SECONDS)

    def _base(self, model: str, jobs: Sequence[PricedJob]) -> BaseCost:
        node = self._nodes[self._footprints[model]]
        flop = sum(job.flop for job in jobs)
        seconds = self._worker_seconds(model, jobs, node)
        on_demand = spot = None if node.is_rented else 0.0
        if node.instance is not None and seconds is not None:
            cost = node_cost(self._pricing.prices, node.instance, seconds / node.workers)
            on_demand, spot = cost.on_demand, cost.spot
        hours = None if seconds is None else seconds / SECONDS_PER_HOUR
        is_sized = self._shapes[model].num_params is not None
        measured = sum(j.flop for j in jobs if (model, j.recipe.method) in self._rates)
        return BaseCost(
            model=model,
            num_cells=sum(job.num_cells for job in jobs),
            flop=flop,
            bytes_moved=self._bytes_moved(model, jobs, node) if is_sized else None,
            memory_gib=self._choice.memory[model],
            instance=node.instance,
            workers=node.workers,
            gpu_hours=None if hours is None else hours * node.gpus,
            worker_hours=hours,
            on_demand=on_demand,
            spot=spot,
            measured_share=measured / flop if flop else 0.0,
            reason=node.reason,
        )

    def _worker_seconds(self, model: str, jobs: Sequence[PricedJob], node: Node) -> float | None:
        if node.is_rented and node.instance is None:
            return None
        gpu = "" if node.instance is None else self._pricing.prices.find(node.instance).gpu
        total = 0.0
        for job in jobs:
            measured = self._rates.get((model, job.recipe.method))
            rate = CPU_FLOP_PER_SECOND
            if node.gpus:
                rate = useful_flop_per_second(
                    gpu,
                    dtype=self._shapes[model].dtype,
                    quantization=job.recipe.quantization,
                    generates=job.recipe.reasoning is not None,
                )
            total += group_flop(job.flop, job.training_flop, node.worker_group) * (
                1.0 / rate if measured is None else measured
            )
        return total / pace_share(node.gpus)

    def _bytes_moved(self, model: str, jobs: Sequence[PricedJob], node: Node) -> float:
        """Returns the bytes loaded and written, assuming one block per footprint."""
        shape = self._shapes[model]
        formats = {job.recipe.quantization for job in jobs}
        loaded = len(formats) * node.workers * weight_bytes(shape, "none")
        return loaded + STATE_BYTES * shape.width * sum(job.num_states for job in jobs)


def _total(costs: Iterable[Cost | None]) -> tuple[float | None, float | None]:
    costs = tuple(costs)
    return (
        _known_sum(None if cost is None else cost.on_demand for cost in costs),
        _known_sum(None if cost is None else cost.spot for cost in costs),
    )


def _known_sum(amounts: Iterable[float | None]) -> float | None:
    """Returns the sum; None if an amount is unknown, because a partial sum would look complete."""
    total = 0.0
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total
