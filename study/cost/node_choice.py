"""Chooses the node type of blocks and checks its memory. Pure.

The user's node type if given; otherwise the cheapest that holds a block, among the cluster's types
if they are known, else in the whole price table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.base_models import Footprint, gpus_for, workers_on
from study.cost.fitting import Setting, largest_setting, settings_of
from study.cost.jobs import PricedJob, PricingOptions
from study.cost.memory import ModelShape
from study.cost.prices import NodeNeed
from study.formatting import GIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """The node of a footprint's blocks."""

    instance: str | None
    workers: int
    gpus: float
    """GPUs of one worker."""
    worker_group: int = 1
    """Number of workers that run each cell together."""
    is_rented: bool = True
    reason: str = ""


class Nodes:
    """Chooses a node type for each footprint that holds the largest of its base models.

    Args:
        footprints: Footprints by base model.
        shapes: Dimensions by base model.
        jobs: Jobs by base model.
        pricing: Prices and available machines.
    """

    def __init__(
        self,
        footprints: Mapping[str, Footprint],
        shapes: Mapping[str, ModelShape],
        jobs: Mapping[str, Sequence[PricedJob]],
        pricing: PricingOptions,
    ) -> None:
        self._footprints, self._shapes, self._pricing = footprints, shapes, pricing
        self._settings = {model: self._settings_of(model, of) for model, of in jobs.items()}
        self.memory = {model: self._memory_of(model) for model in jobs}
        """GiB of a worker in each base model's largest cell, on each of its GPUs or, without
        GPUs, of its process; None if the model's size is unknown."""
        self._offloaded = {
            model: max(setting.cpu_memory for setting in settings) / GIB
            for model, settings in self._settings.items()
        }

    def choose(self, footprint: Footprint) -> Node:
        """Returns the node type of a footprint's blocks, or the reason why there is none."""
        pricing, gpus, workers = self._pricing, self._gpus(footprint), footprint.workers or 1
        if not gpus and not pricing.is_known:
            reason = "no GPUs are used, so no machines are rented"
            return Node(instance=None, workers=workers, gpus=0, is_rented=False, reason=reason)
        needs = [self._need_of(m) for m in self.memory if self._footprints[m] == footprint]
        known = [need for need in needs if need is not None]
        if len(known) < len(needs):
            reason = "the size of a base model or of a task is unknown"
            return Node(instance=None, workers=workers, gpus=gpus, reason=reason)
        need = NodeNeed(
            gpus=gpus_for(workers, gpus),
            gpu_memory_gib=max(need.gpu_memory_gib for need in known),
            memory_gib=max(need.memory_gib for need in known),
        )
        name = self._cheapest(need)
        if name is None:
            reason = f"a block needs {need.text} on a node, but {self._available()}"
            return Node(instance=None, workers=workers, gpus=gpus, reason=reason)
        instance = pricing.prices.find(name)
        if footprint.workers is None:
            workers = instance.vcpus // footprint.cpus_per_worker
            if gpus:
                workers = min(workers, workers_on(instance.gpus, gpus))
        workers = max(workers, 1)
        worker_group = 1 if footprint.engine == "plain" else workers
        return Node(instance=name, workers=workers, gpus=gpus, worker_group=worker_group)

    def find_insufficient_memory(self, models: Iterable[str]) -> str:
        """Returns a message about the first base model that the machines cannot hold.

        Empty if all fit, or if the machines are unknown.

        Args:
            models: Base models of the cells that will run.
        """
        if not self._pricing.is_known:
            return ""
        for model in models:
            need = self._need_of(model)
            if need is not None and need.gpus and not self._holders(need):
                return (
                    f"base model {model}: a block needs {need.text} on one node, but "
                    f"{self._available()}. {self._largest_setting(model)}"
                )
        return ""

    def find_memory_risks(self, models: Iterable[str]) -> Iterator[str]:
        """Yields a warning for each base model whose blocks Ray may place on too small machines.

        Args:
            models: Base models of the cells that will run.
        """
        table = self._pricing.prices.instances
        types = [name for name in self._pricing.types or () if name in table]
        for model in models:
            need = self._need_of(model)
            if need is None or not need.gpus:
                continue
            candidates = [name for name in types if table[name].gpus >= need.gpus]
            small = [name for name in candidates if not table[name].holds(need)]
            if small and len(small) < len(candidates):
                yield (
                    f"{model} needs {need.text}, but Ray may place its blocks on "
                    f"{', '.join(small)}, which is too small: Ray ignores GPU memory"
                )

    def _settings_of(self, model: str, jobs: Iterable[PricedJob]) -> tuple[Setting, ...]:
        footprint = self._footprints[model]
        sizes = {"workers": footprint.workers or 1, "gpus_per_worker": self._gpus(footprint)}
        return settings_of(jobs, self._shapes, footprint.model_copy(update=sizes))

    def _memory_of(self, model: str) -> float | None:
        needs = [setting.worker_memory for setting in self._settings[model]]
        known = [need for need in needs if need is not None]
        return max(known) / GIB if known else None

    def _gpus(self, footprint: Footprint) -> float:
        """Returns the number of GPUs per worker."""
        if footprint.gpus_per_worker is not None:
            return footprint.gpus_per_worker
        if self._pricing.instance is None:
            return int(self._pricing.has_gpus)
        return int(self._pricing.prices.find(self._pricing.instance).gpus > 0)

    def _need_of(self, model: str) -> NodeNeed | None:
        """Returns what a block of one base model needs on a node; None if its size is unknown."""
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

    def _largest_setting(self, model: str) -> str:
        """Returns a sentence about the largest setting that an available node type holds."""
        wanted = max(self._settings[model], key=lambda setting: setting.gpu_memory)
        names = self._pricing.types if self._pricing.instance is None else (self._pricing.instance,)
        table = self._pricing.prices.instances
        return largest_setting(wanted, [table[n].machine(n) for n in names or () if n in table])

    def _cheapest(self, need: NodeNeed) -> str | None:
        """Returns the node type whose price a block gets; None if none holds it."""
        pricing = self._pricing
        if pricing.instance is not None:
            return pricing.instance if self._holders(need) else None
        return pricing.prices.cheapest(need, pricing.types)

    def _holders(self, need: NodeNeed) -> list[str]:
        """Returns the available node types that hold a block; unpriced ones may."""
        names = self._pricing.types if self._pricing.instance is None else (self._pricing.instance,)
        table = self._pricing.prices.instances
        return [name for name in names or () if name not in table or table[name].holds(need)]

    def _available(self) -> str:
        """Returns the machines' memory as the second half of a sentence."""
        pricing = self._pricing
        table = pricing.prices.instances
        if pricing.instance is not None:
            return f"{pricing.instance} has {pricing.prices.find(pricing.instance).text}"
        if pricing.types is None:
            return "no type in the price table has that"
        sizes = [
            f"{name} has {table[name].text}" if name in table else f"{name} has no price"
            for name in pricing.types
        ]
        return f"no type of this cluster has that: {'; '.join(sizes)}"
