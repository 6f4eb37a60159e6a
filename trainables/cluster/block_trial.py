"""One block on Ray: a Tune trial that starts Ray Train worker groups until its cells have ended.

Ray Train starts a group again when a worker is lost, so many times and no more. What a block has
come to decides here whether the next group is worth its start: failures that are written down
beside their cells, and cells that finished, are no reason to give the others up.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.cells.completion import cells_without_outcome
from trainables.cells.planned import Block, RunContext
from trainables.cluster.run_folder_check import (
    UNSEEN,
    UnreachableRunFolder,
    check_reachable,
    first_fault,
)
from trainables.cluster.stop import told_to_stop
from trainables.data.task import SplitTask
from trainables.distributed.process_store import store_of_group
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import read_record

if TYPE_CHECKING:  # the driver must not pay for importing torch
    from trainables.cells.worker import CellRunner

WORKER_FAILURES = 12
"""Restarts of a block's worker group after a lost worker, which cost a start each: finished cells
are not run again, and a cell that kills its worker is given up after a few (`worker.MAX_ATTEMPTS`).
Losses that the cloud announced are not counted."""

TEAM_FAILURES = 6
"""The same where all workers run each cell together: as many as a cell takes that breaks its group
by running out of memory, from whole batches to the smallest (`memory.LEAST_SHARE`)."""

IDLE_GROUPS = 3
"""Groups in a row that may end early, without an error and without ending a cell: their machines
were about to be taken away before they began one."""

FAULT = "fault"
"""Key of a trial's last row: why its block has cells left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupEnd:
    """How a worker group ended."""

    fault: str | None = None
    """None: its workers ended well, though perhaps early, their machines being taken away."""
    is_for_good: bool = False
    """Whether another group would end in the same way."""


def run_block(
    config: Mapping[str, Any],
    *,
    blocks: Sequence[Block],
    tasks: Mapping[str, SplitTask],
    run_context: RunContext,
    run_one: CellRunner | None,
) -> None:
    """Runs one block as a Tune trial, then reports a row for each of its cells.

    Args:
        config: Of the trial: the place of its block, and a folder for Ray's own files.
        blocks: All blocks of the study.
        tasks: Task name -> the task with its split.
        run_context: Where inputs and outputs are.
        run_one: What runs a cell in a worker; None: the cell's method.
    """
    from ray import tune

    block = blocks[config["cells"]["block"]]
    given = {"block": block, "tasks": tasks, "run_context": run_context, "run_one": run_one}
    fault = run_to_the_end(
        block, open_storage(run_context.out), lambda: _run_group(block, given, config["scratch"])
    )
    if fault is None:
        for row in _rows(block, run_context):
            tune.report(row)
    else:
        tune.report({UNSEEN if isinstance(fault, UnreachableRunFolder) else FAULT: str(fault)})


def run_to_the_end(block: Block, storage: Storage, run_group: Callable[[], GroupEnd]) -> str | None:
    """Starts worker groups until every cell has ended; returns why some have not, if so.

    Args:
        block: Its cells end with a record or a failure.
        storage: The run folder.
        run_group: Starts a group and waits for its end.
    """
    left, idle = list(block.cells), 0
    while True:
        end = run_group()
        if isinstance(end.fault, UnreachableRunFolder):
            return end.fault
        try:
            still = cells_without_outcome(storage, left)
        except OSError as error:
            return f"the run folder cannot be read: {error}"
        if not still:
            return None
        got_further = len(still) < len(left)
        left, idle = still, 0 if got_further else idle + 1
        is_lost = end.fault is not None and not got_further
        if end.is_for_good or is_lost or idle >= IDLE_GROUPS:
            why = end.fault or "its workers ended early, and no other's got further"
            return f"{len(left)} cells have not ended, the first is {left[0].label}: {why}"


def scaling_of(block: Block) -> dict[str, Any]:
    """Returns the arguments of Ray Train's `ScalingConfig`: all workers on one node.

    The plan looks for nodes that hold a whole group (`growth.fit`) and prices those; a group that
    is spread over nodes would talk over their network.
    """
    resources: dict[str, float] = {"CPU": block.cpus_per_worker}
    if block.gpus_per_worker:
        resources["GPU"] = block.gpus_per_worker
    return {
        "num_workers": block.workers,
        "use_gpu": block.gpus_per_worker > 0,
        "resources_per_worker": resources,
        "placement_strategy": "STRICT_PACK",
    }


def backend_of(block: Block) -> str | None:
    """Returns the process group's backend: NCCL refuses two workers on one GPU.

    Workers of their own cells use the group's store alone. None: Ray Train's choice.
    """
    return "gloo" if 0 < block.gpus_per_worker < 1 else None


def _run_group(block: Block, given: Mapping[str, Any], scratch: str) -> GroupEnd:
    """Starts a Ray Train worker group, which Ray starts again when a worker is lost."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    failures = TEAM_FAILURES if block.runs_together else WORKER_FAILURES
    trainer = TorchTrainer(
        run_worker,
        train_loop_config=dict(given),
        torch_config=TorchConfig(backend=backend_of(block)),
        scaling_config=ScalingConfig(**scaling_of(block)),
        run_config=RunConfig(
            name=f"block-{block.index}",
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=failures, max_preemption_failures=-1),
        ),
    )
    try:
        fault = trainer.fit().return_value
    except TrainingFailedError as error:
        return GroupEnd(fault=f"{type(error).__name__}: {error}")
    return GroupEnd(fault=fault, is_for_good=fault is not None)


def run_worker(config: Mapping[str, Any]) -> str | None:
    """Runs in every Ray Train worker: runs units of the block, its own or all with the others.

    Returns why it stopped early, where the run folder takes nothing any more: if that were raised,
    Ray Train would start the group again and again. All workers of a worker group stop so together.
    """
    hidden = first_fault(check_reachable(config["run_context"]))
    if hidden is not None:
        return hidden
    with told_to_stop(config["run_context"].token) as must_stop:
        return _run_units(config, must_stop)


def _run_units(config: Mapping[str, Any], must_stop: Callable[[], bool]) -> str | None:
    import torch.distributed as dist

    from trainables.cells.run import run_cell
    from trainables.cells.worker import Worker
    from trainables.distributed.worker_group import WorkerGroup, current_worker_group
    from trainables.models.oom import limit_gpu_memory

    block: Block = config["block"]
    limit_gpu_memory(block.gpus_per_worker)
    worker = Worker(
        tasks=config["tasks"],
        run_context=config["run_context"],
        device="cuda" if block.gpus_per_worker else "cpu",
        gpus=block.gpus_per_worker,
        threads=block.cpus_per_worker,
        group=_group_name(),
        is_leaving=_is_leaving,
        must_stop=must_stop,
        is_first=not dist.is_initialized() or dist.get_rank() == 0,
        worker_group=current_worker_group() if block.runs_together else WorkerGroup(),
        engine=block.engine,
        offload=block.offload,
        run_one=config["run_one"] or run_cell,
    )
    number = len(block.units)
    try:
        worker.run(block.units, range(number) if block.runs_together else _claims(number))
    except OSError as error:
        return f"the run folder could not be used: {error}"
    return None


def _is_leaving() -> bool:
    """Says whether Ray knows that a machine of this worker group is about to be taken away.

    `ray.train.get_preemption_info` would ask all workers at once, which are at different cells;
    what this worker has been told stands in its context.
    """
    from ray.train.v2._internal.execution.context import get_train_context

    return get_train_context().preemption_context.preemption_info is not None


def _group_name() -> str:
    """Returns a name that all workers of this start of the group share, and no other start has."""
    import torch.distributed as dist

    store = store_of_group()
    if store is None:
        return uuid.uuid4().hex
    if dist.get_rank() == 0:
        store.set("group", uuid.uuid4().hex)
    return bytes(store.get("group")).decode()


def _claims(num_units: int) -> Iterator[int]:
    """Yields the units that this worker gets: each unit goes to whoever is free first."""
    store = store_of_group()
    if store is None:
        yield from range(num_units)
        return
    # The group's store counts the claims: a restarted group begins anew (and skips what is
    # finished), and it needs no other process.
    while (claimed := store.add("claimed_units", 1) - 1) < num_units:
        yield claimed


def _rows(block: Block, run_context: RunContext) -> Iterator[dict[str, Any]]:
    storage = open_storage(run_context.out)
    for planned in block.cells:
        row: dict[str, Any] = {"cell": planned.id, "name": planned.label}
        try:
            record = read_record(storage, planned.id)
        except (OSError, ValueError):
            yield {**row, "finished": False}
            continue
        yield {
            **row,
            "finished": True,
            "accuracy": record.accuracy,
            "seconds": record.seconds["total"],
        }
