"""Which node type blocks run on, and whether it can hold them. Pure.

It is the one that the user names, else the cheapest that holds a block: of the cluster's types
where they are known, else of the whole price table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.base_models import Footprint, gpus_for, workers_on
from search_spaces.recipes import Recipe
from study.cost.jobs import PricingOptions
from study.cost.memory import GIB, ModelShape, host_bytes, worker_bytes
from study.cost.prices import NodeNeed


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """What a block of a footprint runs on."""

    instance: str | None
    workers: int
    gpus: float
    """Of one worker."""
    worker_group: int = 1
    """Workers that run each cell together."""
    is_rented: bool = True
    reason: str = ""


class Nodes:
    """Chooses the node type of each footprint's blocks: one that holds the largest of its bases.

    Args:
        footprints: Of each base model.
        shapes: Model name -> what its memory depends on.
        recipes: Model name -> all that is done with it.
        pricing: The prices, and the machines that there are.
    """

    def __init__(
        self,
        footprints: Mapping[str, Footprint],
        shapes: Mapping[str, ModelShape],
        recipes: Mapping[str, Sequence[Recipe]],
        pricing: PricingOptions,
    ) -> None:
        self._footprints, self._shapes, self._market = footprints, shapes, pricing
        self.memory = {model: self._largest(model, used) for model, used in recipes.items()}
        """GiB that a base takes on each GPU in the cell that needs most; None: size not known."""
        self._offloaded = {model: self._most_offloaded(model, r) for model, r in recipes.items()}

    def choose(self, footprint: Footprint) -> Node:
        """Returns the node type of a footprint's blocks, or why there is none."""
        pricing, gpus, workers = self._market, self._gpus(footprint), footprint.workers or 1
        if not gpus and not pricing.is_known:
            reason = "no GPU is used, so nothing is rented"
            return Node(instance=None, workers=workers, gpus=0, is_rented=False, reason=reason)
        needs = [self._need_of(m) for m in self.memory if self._footprints[m] == footprint]
        known = [need for need in needs if need is not None]
        if len(known) < len(needs):
            reason = "the size of a base model or of a task is not known"
            return Node(instance=None, workers=workers, gpus=gpus, reason=reason)
        need = NodeNeed(
            gpus=gpus_for(workers, gpus),
            gpu_memory_gib=max(need.gpu_memory_gib for need in known),
            memory_gib=max(need.memory_gib for need in known),
        )
        name = self._cheapest(need)
        if name is None:
            reason = f"a block needs {need.text} on a node, and {self._what_there_is()}"
            return Node(instance=None, workers=workers, gpus=gpus, reason=reason)
        found = pricing.prices.find(name)
        if footprint.workers is None:
            workers = found.vcpus // footprint.cpus_per_worker
            if gpus:
                workers = min(workers, workers_on(found.gpus, gpus))
        workers = max(workers, 1)
        worker_group = 1 if footprint.engine == "plain" else workers
        return Node(instance=name, workers=workers, gpus=gpus, worker_group=worker_group)

    def find_insufficient_memory(self, models: Iterable[str]) -> str:
        """Says which base the machines cannot hold, what it needs and what there is.

        Empty where all fit, or where it is not known which machines there will be.

        Args:
            models: Of the cells that are to be run.
        """
        if not self._market.is_known:
            return ""
        for model in models:
            need = self._need_of(model)
            if need is not None and need.gpus and not self._holders(need):
                return (
                    f"base model {model}: a block needs {need.text} on one node, and "
                    f"{self._what_there_is()}. Use a node type with more, nf4, or a footprint "
                    "with a larger share of a GPU, or whose engine shares the weights or their "
                    "training among more GPUs"
                )
        return ""

    def find_memory_risks(self, models: Iterable[str]) -> Iterator[str]:
        """Yields what may end by memory that runs out: Ray gives blocks to any type with the GPUs.

        Args:
            models: Of the cells that are to be run.
        """
        table = self._market.prices.instances
        types = [name for name in self._market.types or () if name in table]
        for model in models:
            need = self._need_of(model)
            if need is None or not need.gpus:
                continue
            able = [name for name in types if table[name].gpus >= need.gpus]
            small = [name for name in able if not table[name].holds(need)]
            if small and len(small) < len(able):
                yield (
                    f"{model} needs {need.text}: this cluster may put its blocks on "
                    f"{', '.join(small)}, too small for it. Ray does not know a GPU's memory"
                )

    def _largest(self, model: str, recipes: Sequence[Recipe]) -> float | None:
        footprint = self._footprints[model]
        needs = [
            worker_bytes(self._shapes[model], recipe, footprint, workers=footprint.workers or 1)
            for recipe in recipes
        ]
        known = [need for need in needs if need is not None]
        return max(known) / GIB if known else None

    def _most_offloaded(self, model: str, recipes: Sequence[Recipe]) -> float:
        footprint = self._footprints[model]
        needs = [
            host_bytes(self._shapes[model], recipe, footprint, workers=footprint.workers or 1)
            for recipe in recipes
        ]
        return max((need or 0.0 for need in needs), default=0.0) / GIB

    def _gpus(self, footprint: Footprint) -> float:
        """Returns the GPUs of a worker."""
        if footprint.gpus_per_worker is not None:
            return footprint.gpus_per_worker
        if self._market.instance is None:
            return int(self._market.has_gpus)
        return int(self._market.prices.find(self._market.instance).gpus > 0)

    def _need_of(self, model: str) -> NodeNeed | None:
        """Returns what a block of one base takes of a node; None where its size is not known."""
        footprint = self._footprints[model]
        gpus, memory = self._gpus(footprint), self.memory[model]
        if not gpus:
            return NodeNeed(gpus=0)
        if memory is None:
            return None
        return NodeNeed(
            gpus=gpus_for(footprint.workers or 1, gpus),
            gpu_memory_gib=memory / min(gpus, 1.0),
            memory_gib=self._offloaded[model],
        )

    def _cheapest(self, need: NodeNeed) -> str | None:
        """Returns the node type that a block of this need is priced on; None if none holds it."""
        pricing = self._market
        if pricing.instance is not None:
            return pricing.instance if self._holders(need) else None
        return pricing.prices.cheapest(need, is_spot=True, among=pricing.types)

    def _holders(self, need: NodeNeed) -> list[str]:
        """Returns the node types that there are and that hold a block; an unpriced one may."""
        names = self._market.types if self._market.instance is None else (self._market.instance,)
        table = self._market.prices.instances
        return [name for name in names or () if name not in table or table[name].holds(need)]

    def _what_there_is(self) -> str:
        pricing = self._market
        table = pricing.prices.instances
        if pricing.instance is not None:
            return f"{pricing.instance} has {pricing.prices.find(pricing.instance).text}"
        if pricing.types is None:
            return "no type of the price table has them"
        has = [
            f"{name} has {table[name].text}" if name in table else f"{name} has no price"
            for name in pricing.types
        ]
        return f"no type of this cluster has them: {'; '.join(has)}"
