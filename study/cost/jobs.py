"""What the cells of a plan are as work to be paid: jobs, their measured pace, and the budget. Pure.

Prices are put on them by `study.cost.pricer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from search_spaces.recipes import LinearProbe, Recipe
from study.artifacts.costs import StudyCost
from study.artifacts.plan import PlannedTask
from study.cost.prices import PriceTable
from trainables.cells.planned import PlannedCell
from trainables.errors import CostError, InsufficientMemoryError
from trainables.storage.records import Record

Rates = Mapping[tuple[str, str], float]
"""(Model, method) -> measured seconds of one worker, with a core or a GPU of its own, a
floating-point operation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PricingOptions:
    """Where a study could be run, and for what."""

    prices: PriceTable
    source: str
    """The price table's file."""
    instance: str | None = None
    """The node type of every block; None: the cheapest that holds it."""
    types: tuple[str, ...] | None = None
    """Node types of the cluster that the study is run on; None: any of the table."""
    has_gpus: bool = True
    """Whether a footprint that leaves its GPUs open is given one a worker."""

    @property
    def is_known(self) -> bool:
        """Says whether it is known which machines the study would run on."""
        return self.instance is not None or self.types is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class PricedJob:
    """Cells of one base model and recipe."""

    model: str
    recipe: Recipe
    num_cells: int
    flop: float
    """Of the cells on one worker."""
    training_flop: float = 0.0
    """Of them those that the workers of a worker group share."""
    num_states: float = 0.0
    """Hidden states that are extracted for them."""

    def flop_of_team(self, workers: int) -> float:
        """Returns the operations of all workers where they run each cell together."""
        return flop_of_team(self.flop, self.training_flop, workers)


def flop_of_team(flop: float, training_flop: float, workers: int) -> float:
    """Returns the operations of a cell that workers run together: each does whole all but training.

    Args:
        flop: Of the cell on one worker.
        training_flop: Of them those that are shared.
        workers: Of the worker group; 1: a worker alone.
    """
    return training_flop + workers * (flop - training_flop)


def jobs_of(cells: Iterable[PlannedCell], tasks: Iterable[PlannedTask]) -> tuple[PricedJob, ...]:
    """Returns the cells as jobs; the states of one base, task and prompt are counted once."""
    jobs: dict[tuple[str, Recipe], PricedJob] = {}
    extracted: set[tuple[str, ...]] = set()
    sizes = {task.task: task.num_states for task in tasks}
    for cell in cells:
        recipe, states = cell.cell.recipe, 0.0
        key = (cell.model_name, cell.cell.task, cell.cell.prompt, recipe.quantization)
        if isinstance(recipe, LinearProbe) and key not in extracted:
            extracted.add(key)
            states = sizes.get(cell.cell.task, 0.0) * len(recipe.layers)
        old = jobs.get((cell.model_name, recipe))
        new = PricedJob(
            model=cell.model_name,
            recipe=recipe,
            num_cells=1,
            flop=cell.flop,
            training_flop=cell.training_flop,
            num_states=states,
        )
        jobs[cell.model_name, recipe] = new if old is None else _sum(old, new)
    return tuple(jobs.values())


def _sum(old: PricedJob, new: PricedJob) -> PricedJob:
    return replace(
        old,
        num_cells=old.num_cells + new.num_cells,
        flop=old.flop + new.flop,
        training_flop=old.training_flop + new.training_flop,
        num_states=old.num_states + new.num_states,
    )


class Timings:
    """The pace of finished cells by base model and method; holds sums, not records."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[bool, str, str], float] = {}
        self._flop: dict[tuple[bool, str, str], float] = {}

    def add(self, cell: PlannedCell, record: Record) -> None:
        """Counts a finished cell."""
        if not cell.flop:
            return
        gpus = record.gpus_per_worker
        group = (gpus > 0, cell.model_name, cell.cell.recipe.method)
        spent = record.seconds.get("total", 0.0) * record.workers * pace_share(gpus)
        done = flop_of_team(cell.flop, cell.training_flop, record.workers)
        self._seconds[group] = self._seconds.get(group, 0.0) + spent
        self._flop[group] = self._flop.get(group, 0.0) + done

    @property
    def ran_on_gpus(self) -> bool:
        """Says whether some finished cell ran on a GPU."""
        return any(is_gpu for is_gpu, _, _ in self._flop)

    def rates(self, *, on_gpus: bool) -> Rates:
        """Returns the paces on GPUs, or on CPUs: the one says nothing of the other."""
        return {
            (model, method): self._seconds[is_gpu, model, method] / flop
            for (is_gpu, model, method), flop in self._flop.items()
            if is_gpu == on_gpus
        }


def pace_share(gpus_per_worker: float) -> float:
    """Returns the assumed pace of a worker, as a share of one with a GPU of its own.

    Workers that share a GPU are assumed to compute no more together than one alone.
    """
    return gpus_per_worker if 0 < gpus_per_worker < 1 else 1.0


def check_budget(cost: StudyCost, budget: float | None) -> None:
    """Refuses what costs more than the budget, by the on-demand price: spot may be sold out.

    Raises:
        CostError: If it does, or if nobody knows.
    """
    if budget is None:
        return
    if cost.on_demand is None or cost.spot is None:
        reasons = "; ".join(dict.fromkeys(base.reason for base in cost.bases if base.reason))
        raise CostError(f"--max-cost {budget:g} cannot be kept: the cost is not known ({reasons})")
    if cost.on_demand > budget:
        raise CostError(
            f"the plan costs about ${cost.on_demand:,.2f} on-demand (${cost.spot:,.2f} where every "
            f"node is spot), more than --max-cost {budget:g}; give a higher one to run it, or a "
            "smaller space"
        )


def check_memory(cost: StudyCost) -> None:
    """Refuses what the machines that are known cannot hold: it would end by memory that runs out.

    Raises:
        NoRoomError: Naming a base, what it needs, and what there is.
    """
    if cost.no_room:
        raise InsufficientMemoryError(cost.no_room)
