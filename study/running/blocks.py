"""Units, waves and blocks: in which order and in how many queues the cells of a plan are run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from search_spaces.base_models import EngineName
from study.artifacts.plan import Plan
from study.planning.units import _work
from trainables.cells.planned import Block, PlannedCell, Unit


def missing_units(plan: Plan, missing: Iterable[PlannedCell]) -> tuple[Unit, ...]:
    """Returns a plan's units without what is finished."""
    wanted = {cell.id: cell for cell in missing}
    left = (tuple(wanted[id_] for id_ in unit if id_ in wanted) for unit in plan.units)
    return tuple(unit for unit in left if unit)


def pack_blocks(
    units: Sequence[Unit],
    *,
    slots: int,
    workers: int,
    cpus_per_worker: int,
    gpus_per_worker: float,
    engine: EngineName = "plain",
    offload: bool = False,
    first_index: int = 0,
) -> tuple[Block, ...]:
    """Returns min(units, slots) blocks of about equal work; a base is in as few blocks as can be.

    Args:
        units: Of cells with one footprint, sorted.
        slots: Blocks that the cluster can hold beside each other.
        workers: Of a block; fewer where it has fewer units, unless they run cells together.
        cpus_per_worker: For each of them.
        gpus_per_worker: For each of them.
        engine: Who holds a training.
        offload: Whether what an engine shares lies in the memory of the CPU.
        first_index: Number of the first block.

    Raises:
        ValueError: If there is no slot.
    """
    if slots < 1:
        raise ValueError(f"blocks need at least one slot, got {slots}")
    queues = _cut_by_work(units, min(len(units), slots))
    return tuple(
        Block(
            index=index,
            units=tuple(queue),
            workers=min(workers, len(queue)) if engine == "plain" else workers,
            cpus_per_worker=cpus_per_worker,
            gpus_per_worker=gpus_per_worker,
            engine=engine,
            offload=offload,
        )
        for index, queue in enumerate(queues, first_index)
    )


def _cut_by_work(units: Sequence[Unit], num_queues: int) -> list[list[Unit]]:
    """Cuts the sorted units into consecutive runs of about equal work, none empty."""
    queues: list[list[Unit]] = [[] for _ in range(num_queues)]
    total = sum(_work(unit) for unit in units) or 1.0
    done, index = 0.0, 0
    for position, unit in enumerate(units):
        left_over = len(units) - position
        must_move = left_over == num_queues - index - 1
        is_full = queues[index] and done >= total * (index + 1) / num_queues
        if queues[index] and (is_full or must_move) and index < num_queues - 1:
            index += 1
        queues[index].append(unit)
        done += _work(unit)
    return queues


def factors_of(block: Block) -> Mapping[str, list[str | int | None]]:
    """Returns the distinct values of every factor among the block's cells: the trial's config."""
    rows = [
        {
            "model": planned.model_name,
            "task": planned.cell.task,
            "method": planned.cell.recipe.method,
            "condition": planned.condition,
            "seed": planned.cell.seed,
            "quantization": planned.cell.recipe.quantization,
        }
        for planned in block.cells
    ]
    names = rows[0].keys() if rows else ()
    values = {name: {row[name] for row in rows} - {None} for name in names}
    return {name: sorted(found, key=str) for name, found in values.items()}
