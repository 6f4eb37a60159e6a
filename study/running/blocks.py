"""Packs the missing cells of a plan into blocks."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Protocol, TypeVar

from study.planning.units import work_of
from trainables.cells.planned import Block, NamedCell, Unit
from trainables.cluster.capacity import Capacity

CellT = TypeVar("CellT", bound=NamedCell)
CellT_co = TypeVar("CellT_co", bound=NamedCell, covariant=True)


class _Queue(Protocol[CellT_co]):
    """A plan or its summary."""

    @property
    def cells(self) -> Sequence[CellT_co]: ...

    @property
    def units(self) -> Sequence[Sequence[str]]: ...


def plan_units(plan: _Queue[CellT]) -> tuple[tuple[CellT, ...], ...]:
    """Returns a plan's units with their cells."""
    by_id = {cell.id: cell for cell in plan.cells}
    return tuple(tuple(by_id[id_] for id_ in unit) for unit in plan.units)


def units_of(
    units: Iterable[tuple[CellT, ...]], ids: Container[str]
) -> tuple[tuple[CellT, ...], ...]:
    """Returns the units without the cells of other ids; units without cells are left out."""
    kept = (tuple(cell for cell in unit if cell.id in ids) for unit in units)
    return tuple(unit for unit in kept if unit)


def pack_blocks(units: Sequence[Unit], fits: Capacity, *, first_index: int = 0) -> list[Block]:
    """Returns min(units, slots) blocks of about equal work; a base is in as few blocks as possible.

    Args:
        units: Of cells with one footprint, sorted.
        fits: How many blocks of this footprint the cluster can hold, and their size. A block with
            fewer units has fewer workers, unless all workers run each cell together.
        first_index: Index of the first block.

    Raises:
        ValueError: If there is no slot.
    """
    if fits.slots < 1:
        raise ValueError(f"blocks need at least one slot, got {fits.slots}")
    queues = _cut_by_work(units, min(len(units), fits.slots))
    return [
        Block(
            index=index,
            units=tuple(queue),
            workers=min(fits.workers, len(queue)) if fits.engine == "plain" else fits.workers,
            cpus_per_worker=fits.cpus_per_worker,
            gpus_per_worker=fits.gpus_per_worker,
            engine=fits.engine,
            offload=fits.offload,
        )
        for index, queue in enumerate(queues, first_index)
    ]


def _cut_by_work(units: Sequence[Unit], num_queues: int) -> list[list[Unit]]:
    """Cuts the sorted units into consecutive runs of about equal work, none empty."""
    queues: list[list[Unit]] = [[] for _ in range(num_queues)]
    total = sum(work_of(unit) for unit in units) or 1.0
    done, index = 0.0, 0
    for position, unit in enumerate(units):
        left_over = len(units) - position
        must_move = left_over == num_queues - index - 1
        is_full = queues[index] and done >= total * (index + 1) / num_queues
        if queues[index] and (is_full or must_move) and index < num_queues - 1:
            index += 1
        queues[index].append(unit)
        done += work_of(unit)
    return queues
