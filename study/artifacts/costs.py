"""The cost of a plan, as values: by base model, block and study."""

from __future__ import annotations

from search_spaces.frozen import FrozenModel


class BaseCost(FrozenModel):
    """What the cells of one base model are expected to take; None where nobody knows."""

    model: str
    num_cells: int
    flop: float
    bytes_moved: float | None
    """Weights that a block's workers load, and hidden states that they write."""
    memory_gib: float | None
    """Of one worker, on each of its GPUs, in the cell that needs most."""
    instance: str | None
    """Node type; None: no node is rented, or none can hold a block."""
    workers: int
    """Of a block."""
    gpu_hours: float | None
    worker_hours: float | None
    """GPU-hours where a worker has one GPU; CPU-core-hours where it has none."""
    on_demand: float | None
    """$, of the whole node; 0 where nothing is rented."""
    spot: float | None
    measured_share: float
    """Of the operations: those whose seconds follow from finished cells."""
    reason: str = ""
    """Why something is not known, or why nothing is paid."""


class BlockCost(FrozenModel):
    """A block of a run and its share of the cost."""

    index: int
    num_cells: int
    on_demand: float | None
    spot: float | None


class StudyCost(FrozenModel):
    """What a plan, or what is left of it, is expected to cost."""

    prices: str
    """The price table, with the date of each of its clouds."""
    bases: tuple[BaseCost, ...]
    num_nodes: int
    """Started at least once each: one a block."""
    starts_on_demand: float | None
    """$ for what nodes are paid beside their cells: booting, idling."""
    starts_spot: float | None
    gpu_hours: float | None
    on_demand: float | None
    """$ in all; None where a part is not known."""
    spot: float | None
    blocks: tuple[BlockCost, ...] = ()
    """Of a run, of one wave: no block waits for another."""
    no_room: str = ""
    """Which base the machines cannot hold, where they are known: such a plan is not run."""
    notes: tuple[str, ...] = ()
    """What may go wrong with the machines, a sentence each."""
