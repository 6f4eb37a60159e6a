"""Planned cells, the blocks they are packed into, and what all blocks of a run share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from search_spaces.base_models import EngineName
from search_spaces.cell import Cell
from search_spaces.frozen import FrozenModel
from search_spaces.levels import Level
from trainables.data.draws import CellDraws, TestDraw

if TYPE_CHECKING:  # reading a plan must import neither torch nor the Hub's client
    from trainables.cells.run import RunCell
    from trainables.data.task import SplitTask
    from trainables.models.source import ModelSource


class _RecipeSummary(FrozenModel, extra="allow"):
    """A recipe whose other fields are kept as they are."""

    method: str
    quantization: str = "none"


_RECIPES: dict[str, _RecipeSummary] = {}


def _shared(given: Any, validate: ValidatorFunctionWrapHandler) -> _RecipeSummary:
    """Returns one value for all equal recipes: a plan has few, each in hundreds of cells."""
    key = repr(given)
    if key not in _RECIPES:
        _RECIPES[key] = validate(given)
    return _RECIPES[key]


class _RoundSummary(FrozenModel, extra="ignore"):
    threshold: float | None = None


class _CellSummary(FrozenModel, extra="ignore"):
    """The fields of a cell that name it, or decide how long it takes."""

    model: str
    dtype: str
    task: str
    recipe: Annotated[_RecipeSummary, WrapValidator(_shared)]
    self_training: _RoundSummary | None = None
    round: int = 0
    seed: int | None = None
    tested_hash: str | None = None
    unlabelled_hash: str | None = None


class NamedCell(FrozenModel):
    """A cell with its id, its names for the reader and its expected work."""

    id: str
    cell: Cell | _CellSummary
    model_name: str
    condition: str
    """`zero-shot`, the name of a training level, `all`, or a condition of the space's own."""
    variant: str = ""
    """Tells conditions of the same name apart, in words."""
    flop: float
    """Expected floating-point operations."""

    @property
    def base_key(self) -> tuple[str, str, str]:
        """The base model to load: content, dtype and quantization."""
        return (self.cell.model, self.cell.dtype, self.cell.recipe.quantization)

    @property
    def label(self) -> str:
        """How messages name the cell."""
        seed = self.cell.seed
        return self.arm_label if seed is None else f"{self.arm_label} seed {seed}"

    @property
    def arm_label(self) -> str:
        """The label without the seed."""
        method = self.cell.recipe.method
        parts = [self.cell.task, self.model_name, method]
        if self.condition != method:
            parts.append(self.condition)
        if self.variant:
            parts.append(self.variant)
        if self.cell.self_training is not None:
            tau = self.cell.self_training.threshold
            parts += [] if tau is None else [f"tau {tau:g}"]
            parts.append(f"round {self.cell.round}")
        return " ".join(parts)


class PlannedCell(NamedCell):
    """A cell of a plan."""

    cell: Cell
    is_control: bool = False
    """Whether its condition is a control."""
    measure: str | None = None
    """None where the cell depends on no level: a zero-shot cell serves every measure."""
    train_level: Level | None = None
    """None unless all labels come from one level."""
    difficulty_gap: float | None = None
    """Mean hardness of all items minus that of the labelled levels, over the pools; None where the
    cell draws no labels of levels."""
    draws: CellDraws | None = None
    test_draw: TestDraw | None = None
    """The test items that it is scored on; None: all of the split."""
    keeps_state: bool = False
    """Whether its trained state stays in the run folder: another cell starts from it, or the space
    keeps adapters."""
    training_flop: float = 0.0
    """The part of `flop` that trains weights, which workers that run the cell together share."""


class CellSummary(NamedCell, extra="ignore"):
    """The fields of a planned cell that progress reporting reads: a fifth of the parsing time."""

    cell: _CellSummary


Unit = tuple[PlannedCell, ...]
"""Cells that one worker runs in order: they share hidden states, or follow their parent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A queue of units with one footprint, sorted by base model, for one worker group."""

    index: int
    units: tuple[Unit, ...]
    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    """Below 1: workers share a GPU."""
    engine: EngineName = "plain"
    """`plain`: each worker runs its own cells. Any other: all workers run each cell together."""
    offload: bool = False

    @property
    def runs_together(self) -> bool:
        """Whether all workers run the same cell at a time; otherwise each claims its own units."""
        return self.engine != "plain"

    @property
    def cells(self) -> Iterator[PlannedCell]:
        """Yields the cells in queue order."""
        for unit in self.units:
            yield from unit

    @property
    def factors(self) -> Mapping[str, list[str | int]]:
        """The distinct values of every factor among the cells."""
        values: dict[str, set[str | int | None]] = {}
        for planned in self.cells:
            factors = {
                "model": planned.model_name,
                "task": planned.cell.task,
                "method": planned.cell.recipe.method,
                "condition": planned.condition,
                "seed": planned.cell.seed,
                "quantization": planned.cell.recipe.quantization,
            }
            for name, value in factors.items():
                values.setdefault(name, set()).add(value)
        return {
            name: sorted((value for value in distinct if value is not None), key=str)
            for name, distinct in values.items()
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """What all blocks of a run share: where cells find their inputs and leave their records."""

    out: str
    """The run folder: a local path or a bucket."""
    tasks: Mapping[str, SplitTask]
    """Task name -> the task with its split; without items that workers load themselves."""
    models: Mapping[str, ModelSource]
    """Content of a base model -> where to load it from."""
    token: str | None = None
    """Identifies the sweep that holds the run folder's lock; None: no sweep holds it."""
    run_cell: RunCell | None = None
    """Replaces `trainables.cells.run.run_cell`, for benchmarks and tests."""

    def with_items(self) -> RunContext:
        """Returns the context of a worker, which calls the functions that items come from.

        Raises:
            DataError: If a function fails, or returns other items than in the plan.
        """
        tasks = {name: task.with_items() for name, task in self.tasks.items()}
        return replace(self, tasks=tasks)
