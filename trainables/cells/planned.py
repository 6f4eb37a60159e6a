"""What a worker group is given: a queue of cells with one footprint, and where things are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.base_models import EngineName
from search_spaces.cell import Cell
from search_spaces.frozen import FrozenModel
from search_spaces.levels import Level
from trainables.data.draws import CellDraws, TestDraw

if TYPE_CHECKING:  # reading a plan must not pay for importing the Hub's client
    from trainables.models.source import ModelSource


class PlannedCell(FrozenModel):
    """A cell with its id, the names a reader knows it by, and the work it is expected to be."""

    id: str
    cell: Cell
    model_name: str
    condition: str
    """`zero-shot`, the name of a training level, `all`, or a condition of the space's own."""
    variant: str = ""
    """What tells the condition from others of its name, in words."""
    is_control: bool = False
    """Its condition says that it is one."""
    measure: str | None = None
    """None where no level is involved: a zero-shot cell serves every measure."""
    train_level: Level | None = None
    """None where the labels are not of exactly one level."""
    draws: CellDraws | None = None
    test_draw: TestDraw | None = None
    """Which test items it is scored on; None: all of the split."""
    is_parent: bool = False
    """Another cell starts from this one's trained state, so the state is kept: execution."""
    flop: float
    """Expected floating-point operations."""
    training_flop: float = 0.0
    """Of them those that train weights: workers that run the cell together share these alone."""

    @property
    def base_key(self) -> tuple[str, str, str]:
        """What has to be loaded to run the cell: content, dtype and quantization."""
        return (self.cell.model, self.cell.dtype, self.cell.recipe.quantization)

    @property
    def label(self) -> str:
        """How messages name the cell."""
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
        if self.cell.seed is not None:
            parts.append(f"seed {self.cell.seed}")
        return " ".join(parts)


Unit = tuple[PlannedCell, ...]
"""Cells that one worker runs one after the other: those that share prepared states, or a parent
before its children."""


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
    """Any other: all workers run each cell together."""
    offload: bool = False

    @property
    def runs_together(self) -> bool:
        """Whether all workers run the same cell at a time; else each takes units of its own."""
        return self.engine != "plain"

    @property
    def cells(self) -> Iterator[PlannedCell]:
        """Yields the cells in queue order."""
        for unit in self.units:
            yield from unit


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """Where a block's cells find their inputs and leave their records: execution, not identity."""

    out: str
    """The run folder: a local path or a bucket."""
    models: Mapping[str, ModelSource]
    """Content of a base model -> where to load it from."""
    token: str | None = None
    """What the driver's sign in the run folder says; None: nobody holds the folder."""
