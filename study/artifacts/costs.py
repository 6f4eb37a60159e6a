"""Cost of a plan by base model, block and study."""

from __future__ import annotations

from search_spaces.frozen import FrozenModel


class BaseCost(FrozenModel):
    """Expected cost of the cells of one base model; None: unknown."""

    model: str
    num_cells: int
    flop: float
    bytes_moved: float | None
    """Weights loaded and hidden states written by a block's workers."""
    memory_gib: float | None
    """Of one worker, on each of its GPUs, in its largest cell."""
    instance: str | None
    """Node type; None: no node is rented, or no type can hold a block."""
    workers: int
    """Per block."""
    gpu_hours: float | None
    worker_hours: float | None
    """GPU-hours for workers with one GPU, CPU-core-hours for workers without."""
    on_demand: float | None
    """$ for whole nodes; 0 if no node is rented."""
    spot: float | None
    measured_share: float
    """Share of the operations whose time is extrapolated from finished cells."""
    reason: str = ""
    """Why a value is unknown, or why the cost is 0."""


class BlockCost(FrozenModel):
    """A block of a run with its share of the cost."""

    index: int
    num_cells: int
    on_demand: float | None
    spot: float | None


class StudyCost(FrozenModel):
    """Expected cost of a plan, or of its missing cells."""

    prices: str
    """Name of the price table, with the date of each cloud's prices."""
    bases: tuple[BaseCost, ...]
    num_nodes: int
    """Nodes that are started, one a block."""
    starts_on_demand: float | None
    """$ for booting and idling nodes."""
    starts_spot: float | None
    gpu_hours: float | None
    on_demand: float | None
    """$ in total; None: some part is unknown."""
    spot: float | None
    blocks: tuple[BlockCost, ...] = ()
    """Blocks of a run, which all start at once."""
    no_room: str = ""
    """Which base model does not fit on the known machines; such a plan does not run."""
    notes: tuple[str, ...] = ()
    """Risks on the machines, a sentence each."""
