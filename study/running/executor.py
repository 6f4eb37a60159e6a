"""Finds a plan's missing cells, runs them on Ray or in this process, and reports failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from search_spaces.base_models import Footprint
from search_spaces.explain import count
from search_spaces.space import Space
from study.artifacts.plan import Plan
from study.cost.budget import Budget
from study.cost.fitting import Setting, settings_of
from study.cost.flops import CPU_FLOP_PER_SECOND
from study.cost.jobs import Timings, jobs_of
from study.cost.pricer import shapes_of
from study.planning.planner import Inputs
from study.running.blocks import pack_blocks, plan_units, units_of
from study.running.outcomes import (
    claims_removed,
    clear_failures,
    record_block_failure,
)
from study.running.pace import Pace
from study.running.preflight import check_local_devices, check_local_memory, is_here
from study.running.progress import ProgressReporter
from trainables import stop_signals
from trainables.cells.completion import checked_record, lacks_state
from trainables.cells.planned import Block, PlannedCell, RunContext, Unit
from trainables.cluster.capacity import IN_PROCESS
from trainables.cluster.executor import Executor
from trainables.cluster.ray_executor import open_ray_executor
from trainables.storage import layout
from trainables.storage.filesystem import Storage, map_parallel
from trainables.storage.lock import token_of
from trainables.storage.records import Record


def missing_cells(
    storage: Storage,
    cells: Sequence[PlannedCell],
    timings: Timings | None = None,
    pace: Pace | None = None,
    *,
    keeps_adapters: bool = False,
) -> list[PlannedCell]:
    """Returns the cells that have to run; deletes and reports invalid records.

    A cell has to run if it has no valid record, or lacks the trained state that a cell which has to
    run starts from.

    Args:
        storage: The run folder.
        cells: Of a plan, parents before children.
        timings: Receives every valid record.
        pace: Receives the seconds of every valid record.
        keeps_adapters: Whether every cell whose state is kept has to have it (`Space.keep`).
    """
    folders = set(storage.list(layout.CELLS))
    started = [cell for cell in cells if cell.id in folders]
    records = map_parallel(storage, partial(checked_record, storage), started)
    valid: dict[str, Record] = {}
    for cell, record in zip(started, records, strict=True):
        if isinstance(record, Record):
            valid[cell.id] = record
            if timings is not None:
                timings.add(cell, record)
            if pace is not None:
                pace.add(cell, record.seconds)
        elif record is not None:
            print(f"The record of {cell.label} is not valid, so the cell runs again: {record}")
            storage.delete(layout.cell(cell.id))
    missing: list[PlannedCell] = []
    parents: set[str | None] = set()
    for cell in reversed(cells):
        known = valid.get(cell.id)
        has_record = known is not None and not lacks_state(cell, known)
        if has_record or (known is not None and not keeps_adapters and cell.id not in parents):
            continue
        missing.append(cell)
        parents.add(cell.cell.parent)
    return missing[::-1]


def run_cells(
    plan: Plan,
    inputs: Inputs,
    storage: Storage,
    missing: Sequence[PlannedCell],
    on_finished: Callable[[PlannedCell, Record], None],
    *,
    pace: Pace,
    address: str | None,
    write: Callable[[], None],
    budget: Budget | None = None,
    dashboard: bool = False,
) -> None:
    """Runs the missing cells of a plan; clears the failures of earlier runs.

    Args:
        plan: The plan of the cells.
        inputs: The loaded tasks and resolved models of the plan.
        storage: The run folder.
        missing: The cells to run.
        on_finished: Receives every cell that finishes.
        pace: Of the cells that earlier runs have finished.
        address: As `open_executor` takes it.
        write: Writes the study's own files, once it is certain that the cells can run.
        budget: Limits the number of blocks, prices them, and must approve them.
        dashboard: Whether to start Ray's dashboard.

    Raises:
        ClusterError: If the cluster does not answer or cannot hold a block, or this machine cannot
            hold a base model. The run folder is unchanged.
        CostError: If the budget does not approve, or this machine lacks memory. The run folder is
            unchanged.
        KeyboardInterrupt: If a signal asked the process to stop.
    """
    if not missing:
        write()
        clear_failures(storage, missing)
        number = len(plan.cells)
        have = count(number, "cell has a valid record", "cells have valid records")
        print(f"{'All ' * (number > 1)}{have}: no cell to run.")
        return
    check_local_devices(plan.space, missing, address)
    is_local = is_here(address)  # asked before a local Ray starts, which would count as a cluster
    run_context = RunContext(
        out=storage.root,
        tasks={name: task.without_items() for name, task in inputs.tasks.items()},
        models=inputs.models,
        token=token_of(storage),
    )
    with (
        claims_removed(storage, run_context.token),
        open_executor(address, storage, plan.space.name, dashboard=dashboard) as executor,
    ):
        units = units_of(plan_units(plan), {cell.id for cell in missing})
        blocks = _pack_by_footprint(plan.space, units, executor, budget)
        if is_local:
            check_local_memory([_settings(plan, block) for block in blocks], address)
        if budget is not None:
            budget.approve(blocks)
        write()
        clear_failures(storage, missing)
        pace.begin(units, assumed_speed=_assumed_speed(blocks))
        with (
            ProgressReporter(storage, units, pace=pace, on_finished=on_finished),
            stop_signals.cells_stop_first(),
        ):
            errors = executor.run_blocks(blocks, run_context)
    record_block_failure(storage, missing, errors)


def _assumed_speed(blocks: Iterable[Block]) -> float | None:
    """Returns FLOP/s of a worker on CPUs; None with GPUs, whose speeds differ by a factor of 10."""
    return None if any(block.gpus_per_worker for block in blocks) else CPU_FLOP_PER_SECOND


def _settings(plan: Plan, block: Block) -> tuple[Setting, ...]:
    footprint = Footprint(
        workers=block.workers,
        cpus_per_worker=block.cpus_per_worker,
        gpus_per_worker=block.gpus_per_worker,
        engine=block.engine,
        offload=block.offload,
    )
    return settings_of(jobs_of(block.cells, plan.tasks), shapes_of(plan.models), footprint)


@contextmanager
def open_executor(
    address: str | None, storage: Storage, space: str, *, dashboard: bool = False
) -> Iterator[Executor]:
    """Yields the executor of cells and trials: a Ray cluster, or this process.

    Args:
        address: A Ray cluster's address, `in-process`, or None: the cluster that this machine
            belongs to, else a local Ray.
        storage: The run folder.
        space: The space's name.
        dashboard: Whether to start the dashboard of a local Ray; without effect in this process.

    Raises:
        ClusterError: If the cluster does not answer, or would not see the run folder.
    """
    if address == IN_PROCESS:
        from trainables.cluster.in_process import InProcessExecutor  # loads torch

        yield InProcessExecutor()
        return
    with open_ray_executor(address, storage, space, dashboard=dashboard) as executor:
        yield executor


def _pack_by_footprint(
    space: Space, units: Sequence[Unit], executor: Executor, budget: Budget | None
) -> list[Block]:
    """Returns blocks whose units have one footprint each.

    There are as many as the executor can run at once, and as the budget can start nodes for.
    """
    footprints = {model.name: space.footprint_of(model) for model in space.models}
    by_footprint: dict[Footprint, list[Unit]] = {}
    for unit in units:
        by_footprint.setdefault(footprints[unit[0].model_name], []).append(unit)
    blocks: list[Block] = []
    for footprint, group in by_footprint.items():
        fits = executor.fit(footprint)
        if budget is not None and fits.slots > 1:
            affordable = budget.most_blocks(has_gpus=fits.gpus_per_worker > 0)
            if affordable is not None:
                slots = min(fits.slots, max(1, affordable // len(by_footprint)))
                fits = replace(fits, slots=slots)
        blocks += pack_blocks(group, fits, first_index=len(blocks))
    return blocks
