"""A plan's missing cells on Ray, or in this process: found, run, and said why where they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from search_spaces.base_models import Footprint
from search_spaces.space import Space
from study.artifacts.plan import Plan
from study.cost.budget import Budget
from study.cost.jobs import Timings
from study.planning.planner import Inputs
from study.running.blocks import factors_of, missing_units, pack_blocks
from study.running.outcomes import (
    claims_removed,
    clear_failures,
    print_incomplete_cells,
    record_block_failure,
)
from study.running.preflight import check_local_devices
from study.running.progress import ProgressReporter
from trainables import stop_signals
from trainables.cells.completion import check_record
from trainables.cells.planned import Block, PlannedCell, RunContext, Unit
from trainables.cluster import tuner
from trainables.cluster.capacity import IN_PROCESS as IN_PROCESS
from trainables.storage import layout
from trainables.storage.filesystem import Storage, map_parallel
from trainables.storage.lock import token_of
from trainables.storage.records import InvalidRecordError, Record

OK, CELLS_FAILED, BAD_INPUT = 0, 1, 2
"""Exit statuses of the commands that run cells; `trainables.stop_signals` has those of a signal."""

STATUS_OF_SIGNALS = "130 stopped by Ctrl-C, 143 by SIGTERM, 129 by a closed terminal"
"""For the help of these commands."""


class CellObserver(Protocol):
    """Hears how a run goes on, such as a W&B mirror."""

    def start_blocks(self, blocks: Sequence[Block]) -> None:
        """Hears which blocks are about to start."""

    def log_cell(self, planned: PlannedCell, record: Record) -> None:
        """Hears of each cell that finishes."""


def missing_cells(
    storage: Storage, cells: Sequence[PlannedCell], timings: Timings | None = None
) -> list[PlannedCell]:
    """Returns the cells without a valid record; an invalid record is said and run again.

    Args:
        storage: The run folder.
        cells: Of a plan.
        timings: Hears of every valid record.
    """
    folders = set(storage.list(layout.CELLS))
    begun = [cell for cell in cells if cell.id in folders]
    valid = set()
    for cell, found in zip(
        begun, map_parallel(storage, partial(_look, storage), begun), strict=True
    ):
        if isinstance(found, Record):
            valid.add(cell.id)
            if timings is not None:
                timings.add(cell, found)
        elif found is not None:
            print(f"The record of {cell.label} is not valid and is made again: {found}")
            storage.delete(layout.cell(cell.id))
    return [cell for cell in cells if cell.id not in valid]


def _look(storage: Storage, cell: PlannedCell) -> Record | InvalidRecordError | None:
    try:
        return check_record(storage, cell)
    except FileNotFoundError:
        return None
    except InvalidRecordError as error:
        return error


def run_cells(
    plan: Plan,
    inputs: Inputs,
    storage: Storage,
    missing: Sequence[PlannedCell],
    observer: CellObserver,
    *,
    address: str | None,
    write: Callable[[], None],
    budget: Budget | None = None,
) -> None:
    """Runs the missing cells of a plan; how they ended before is forgotten.

    Args:
        plan: What the cells are part of.
        inputs: The loaded tasks and resolved models of the plan.
        storage: The run folder.
        missing: The cells to run.
        observer: Hears of the blocks, and of every cell that finishes.
        address: A Ray cluster's address, None for the surrounding or a local one, or `in-process`.
        write: Writes what is known of the study before its cells run, once they can run.
        budget: Limits the blocks, prices them, and has to approve of them.

    Raises:
        ClusterError: If the cluster is not there or cannot hold a block, or this machine a base
            model; nothing is written then.
        CostError: If the budget does not approve; nothing is written then.
        KeyboardInterrupt: If a signal asked the process to stop.
    """
    if not missing:
        write()
        clear_failures(storage, missing)
        print(f"All {len(plan.cells)} cells have valid records: no cell to run.")
        return
    check_local_devices(plan.space, missing, address)
    with (
        claims_removed(storage, token_of(storage)),
        _open_executor(plan, inputs, storage, missing, address, budget) as (blocks, run),
    ):
        if budget is not None:
            budget.approve(blocks)
        write()
        clear_failures(storage, missing)
        observer.start_blocks(blocks)
        with (
            ProgressReporter(storage, missing, on_finished=observer.log_cell),
            stop_signals.cells_stop_first(),
        ):
            errors = run()
    record_block_failure(storage, missing, errors)


def exit_status(storage: Storage, cells: Sequence[PlannedCell]) -> int:
    """Says which cells have no record and why; returns the exit status."""
    return CELLS_FAILED if print_incomplete_cells(storage, cells) else OK


Run = Callable[[], Sequence[str]]
"""Runs the blocks and returns the errors of those that did not end well."""


@contextmanager
def _open_executor(
    plan: Plan,
    inputs: Inputs,
    storage: Storage,
    missing: Sequence[PlannedCell],
    address: str | None,
    budget: Budget | None,
) -> Iterator[tuple[Sequence[Block], Run]]:
    """Yields the blocks of the missing cells and what runs them: on Ray, or in this process."""
    run_context = RunContext(out=storage.root, models=inputs.models, token=token_of(storage))
    units = missing_units(plan, missing)
    if address == IN_PROCESS:
        from trainables.cluster import in_process

        blocks = pack_blocks(units, slots=1, workers=1, cpus_per_worker=1, gpus_per_worker=0)
        yield blocks, partial(in_process.run_blocks, blocks, inputs.tasks, run_context)
        return
    scratch = layout.ray(plan.space.name)
    with tuner.connect(address):
        tuner.check_run_folder(storage)
        blocks = _pack_by_footprint(plan.space, units, budget)
        storage.delete(scratch)  # left by a run that was killed
        yield (
            blocks,
            partial(
                tuner.run_blocks,
                blocks,
                inputs.tasks,
                run_context,
                factors=[factors_of(block) for block in blocks],
                scratch=storage.path(scratch),
            ),
        )
    storage.delete(scratch)


def _pack_by_footprint(
    space: Space, units: Sequence[Unit], budget: Budget | None
) -> tuple[Block, ...]:
    """Returns blocks whose units have one footprint each, for the cluster that is connected.

    They are as many as the cluster can hold at once, and as the budget can start nodes for.
    """
    of_model = {model.name: space.footprint_of(model) for model in space.models}
    parts: dict[Footprint, list[Unit]] = {}
    for unit in units:
        parts.setdefault(of_model[unit[0].model_name], []).append(unit)
    blocks: tuple[Block, ...] = ()
    for footprint, part in parts.items():
        fits = tuner.capacity(
            workers=footprint.workers,
            cpus_per_worker=footprint.cpus_per_worker,
            gpus_per_worker=footprint.gpus_per_worker,
        )
        blocks += pack_blocks(
            part,
            slots=min(fits.slots, _affordable(budget, fits.gpus_per_worker > 0, len(parts))),
            workers=fits.workers,
            cpus_per_worker=fits.cpus_per_worker,
            gpus_per_worker=fits.gpus_per_worker,
            engine=footprint.engine,
            offload=footprint.offload,
            first_index=len(blocks),
        )
    return blocks


def _affordable(budget: Budget | None, has_gpus: bool, num_footprints: int) -> int:
    """Returns the blocks of one footprint that the budget pays the start of, at least one."""
    most = None if budget is None else budget.most_blocks(has_gpus=has_gpus)
    return sys.maxsize if most is None else max(1, most // num_footprints)
