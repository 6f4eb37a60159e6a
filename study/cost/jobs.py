"""The cells of a plan as priced work: jobs, their measured speed, and the budget check. Pure.

`study.cost.pricer` computes the prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from search_spaces.recipes import InContext, LinearProbe, Recipe
from study.artifacts.costs import StudyCost
from study.artifacts.plan import PlannedTask
from study.cost.memory import UNKNOWN_LENGTHS, Lengths
from study.cost.prices import PriceTable
from trainables.cells.planned import PlannedCell
from trainables.errors import CostError, InsufficientMemoryError
from trainables.storage.records import Record

Rates = Mapping[tuple[str, str], float]
"""Measured seconds per FLOP of one worker with its own core or GPU, by (model, method)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PricingOptions:
    """Where a study may run, and at which prices."""

    prices: PriceTable
    source: str
    """File of the price table."""
    instance: str | None = None
    """Node type of every block; None: the cheapest that holds it."""
    types: tuple[str, ...] | None = None
    """Node types of the cluster; None: any in the table."""
    has_gpus: bool = True
    """Whether each worker gets one GPU if its footprint does not specify any."""

    @property
    def is_known(self) -> bool:
        """Whether the machines that the study would run on are known."""
        return self.instance is not None or self.types is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class PricedJob:
    """All cells of one base model and recipe."""

    model: str
    recipe: Recipe
    num_cells: int
    flop: float
    """Of all cells, each on one worker."""
    training_flop: float = 0.0
    """The part of `flop` that a worker group divides among its workers."""
    num_states: float = 0.0
    """Hidden states extracted for the cells."""
    lengths: Lengths = UNKNOWN_LENGTHS
    """Of the texts of its longest cell."""


def group_flop(flop: float, training_flop: float, workers: int) -> float:
    """Returns the FLOP of a cell over all workers of a group; only its training is divided.

    Args:
        flop: FLOP of the cell on one worker.
        training_flop: The part of `flop` that is divided.
        workers: Size of the worker group; 1: a single worker.
    """
    return training_flop + workers * (flop - training_flop)


def jobs_of(cells: Iterable[PlannedCell], tasks: Iterable[PlannedTask]) -> tuple[PricedJob, ...]:
    """Returns the cells as jobs; hidden states shared by several cells are counted once."""
    jobs: dict[tuple[str, Recipe], PricedJob] = {}
    extracted: set[tuple[str, ...]] = set()
    known = {task.task: task for task in tasks}
    for cell in cells:
        recipe, states, task = cell.cell.recipe, 0.0, known.get(cell.cell.task)
        key = (cell.model_name, cell.cell.task, cell.cell.prompt, recipe.quantization)
        if isinstance(recipe, LinearProbe) and task is not None and key not in extracted:
            extracted.add(key)
            states = task.num_states * len(recipe.layers)
        old = jobs.get((cell.model_name, recipe))
        new = PricedJob(
            model=cell.model_name,
            recipe=recipe,
            num_cells=1,
            flop=cell.flop,
            training_flop=cell.training_flop,
            num_states=states,
            lengths=UNKNOWN_LENGTHS
            if task is None
            else text_lengths(recipe, mean=task.mean_tokens, longest=task.longest_tokens),
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
        lengths=old.lengths | new.lengths,
    )


def text_lengths(recipe: Recipe, *, mean: float, longest: float) -> Lengths:
    """Returns the lengths of the texts that a recipe reads.

    Args:
        recipe: May show examples, and may write text.
        mean: Tokens of a question with all its choices.
        longest: Of the longest of them.
    """
    shown = recipe.k * mean if isinstance(recipe, InContext) else 0.0
    written = 0 if recipe.reasoning is None else recipe.reasoning.max_new_tokens
    return Lengths(longest=longest + written, shared=shown)


class Timings:
    """Measured speed of finished cells by base model and method; keeps sums, not records."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[bool, str, str], float] = {}
        self._flop: dict[tuple[bool, str, str], float] = {}

    def add(self, cell: PlannedCell, record: Record) -> None:
        """Adds a finished cell."""
        if not cell.flop:
            return
        gpus = record.gpus_per_worker
        group = (gpus > 0, cell.model_name, cell.cell.recipe.method)
        spent = record.seconds.get("total", 0.0) * record.workers * pace_share(gpus)
        done = group_flop(cell.flop, cell.training_flop, record.workers)
        self._seconds[group] = self._seconds.get(group, 0.0) + spent
        self._flop[group] = self._flop.get(group, 0.0) + done

    @property
    def ran_on_gpus(self) -> bool:
        """Whether any finished cell ran on a GPU."""
        return any(is_gpu for is_gpu, _, _ in self._flop)

    def rates(self, *, on_gpus: bool) -> Rates:
        """Returns the rates measured on GPUs, or those measured on CPUs."""
        return {
            (model, method): self._seconds[is_gpu, model, method] / flop
            for (is_gpu, model, method), flop in self._flop.items()
            if is_gpu == on_gpus
        }


def pace_share(gpus_per_worker: float) -> float:
    """Returns the assumed speed of a worker, as a fraction of one with a whole GPU.

    Workers that share a GPU are assumed to be together as fast as one worker alone.
    """
    return gpus_per_worker if 0 < gpus_per_worker < 1 else 1.0


def check_budget(cost: StudyCost, budget: float | None) -> None:
    """Checks the on-demand price against the budget, because spot machines may be sold out.

    Raises:
        CostError: If the price is higher, or unknown.
    """
    if budget is None:
        return
    if cost.on_demand is None or cost.spot is None:
        reasons = "; ".join(dict.fromkeys(base.reason for base in cost.bases if base.reason))
        raise CostError(f"--max-cost {budget:g} cannot be kept: the cost is unknown ({reasons})")
    if cost.on_demand > budget:
        raise CostError(
            f"the plan costs about ${cost.on_demand:,.2f} on-demand (${cost.spot:,.2f} if every "
            f"node is spot), more than --max-cost {budget:g}. Raise the limit, or run a smaller "
            "space."
        )


def check_memory(cost: StudyCost) -> None:
    """Checks that the machines, if known, can hold the plan; it would run out of memory otherwise.

    Raises:
        InsufficientMemoryError: Names a base model, the memory it needs and the memory available.
    """
    if cost.no_room:
        raise InsufficientMemoryError(cost.no_room)
