"""One block on Ray: a Tune trial that starts Ray Train worker groups until its cells have ended.

Ray Train restarts a group after a lost worker, up to a limit. Beyond that limit, the block's
progress decides: a new group starts as long as cells keep ending, by a record or a failure.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from search_spaces.explain import count
from trainables.cells.completion import cells_without_outcome
from trainables.cells.planned import Block, RunContext
from trainables.cluster.cell_rows import CellRows
from trainables.cluster.run_folder_check import (
    RUN_FAULT,
    RunFault,
    check_reachable,
    first_fault,
)
from trainables.cluster.stop import told_to_stop
from trainables.cluster.tune_results import Row
from trainables.errors import DataError
from trainables.storage.filesystem import Storage, open_storage

if TYPE_CHECKING:  # the driver must not pay for importing torch
    from trainables.cells.worker import Worker

WORKER_FAILURES = 12
"""Restarts of a worker group after lost workers. Finished cells do not run again, and a cell that
keeps killing its worker fails after `retries.MAX_ATTEMPTS`. Losses that the cloud announced do not
count."""

SHARED_CELL_FAILURES = 6
"""The same where all workers run each cell together. A cell that runs out of memory may break its
group once per halving of the batch, down to `oom.LEAST_SHARE`."""

IDLE_GROUPS = 3
"""Groups in a row that may end early, without an error and without ending a cell, because their
machines were about to be taken away."""

FAULT = "fault"
"""Key in a trial's last row: why cells of its block have not ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupEnd:
    """How a worker group ended."""

    fault: str | None = None
    """None: without an error, though perhaps early, because its machines are taken away."""
    is_permanent: bool = False
    """Whether another group would end with the same fault."""


def run_block(
    config: Mapping[str, Any], *, blocks: Sequence[Block], run_context: RunContext
) -> None:
    """Runs one block as a Tune trial that reports a row for each cell once it has ended.

    Workers do not report in step, so the trial reads their records while they run.

    Args:
        config: Of the trial: the index of its block, and a folder for Ray's own files.
        blocks: All blocks of the run.
        run_context: What they share.
    """
    from ray import tune

    block = blocks[config["cells"]["block"]]
    storage = open_storage(run_context.out)
    run_group = partial(_run_group, block, run_context, config["scratch"])
    fault = reporting_rows(
        CellRows(block, run_context, storage),
        tune.report,
        lambda: run_to_the_end(block, storage, run_group),
    )
    if fault is not None:
        tune.report({RUN_FAULT if isinstance(fault, RunFault) else FAULT: str(fault)})


def reporting_rows(
    rows: CellRows, report: Callable[[Row], None], run: Callable[[], str | None]
) -> str | None:
    """Runs a function in a thread and reports the cells that end meanwhile, in this thread.

    Args:
        rows: The cells.
        report: Receives each row.
        run: Returns once no worker runs any more.

    Returns:
        The result of the function.

    Raises:
        Exception: That of the function, once all rows are reported.
    """
    ended: Future[str | None] = Future()

    def work() -> None:
        try:
            ended.set_result(run())
        except BaseException as error:  # it is raised in the trial's own thread
            ended.set_exception(error)

    # A daemon: Tune may end the trial while its workers are still busy.
    threading.Thread(target=work, daemon=True).start()
    while not wait([ended], timeout=rows.poll_s).done:
        _report_ended(rows, report)
    _report_ended(rows, report, is_over=True)
    return ended.result()


def _report_ended(rows: CellRows, report: Callable[[Row], None], *, is_over: bool = False) -> None:
    with suppress(OSError):  # a bucket may answer again later
        for row in rows.ended(is_over=is_over):
            report(row)


def run_to_the_end(block: Block, storage: Storage, run_group: Callable[[], GroupEnd]) -> str | None:
    """Starts worker groups until every cell has ended; returns why some have not, if any.

    Args:
        block: Its cells end with a record or a failure.
        storage: The run folder.
        run_group: Starts a group and waits for its end.
    """
    left, num_idle = list(block.cells), 0
    while True:
        end = run_group()
        if isinstance(end.fault, RunFault):
            return end.fault
        try:
            remaining = cells_without_outcome(storage, left)
        except OSError as error:
            return f"the run folder cannot be read: {error}"
        if not remaining:
            return None
        has_progressed = len(remaining) < len(left)
        left, num_idle = remaining, 0 if has_progressed else num_idle + 1
        has_failed = end.fault is not None and not has_progressed
        if end.is_permanent or has_failed or num_idle >= IDLE_GROUPS:
            reason = end.fault or "its workers ended early, several times without progress"
            number = count(len(left), "cell has", "cells have")
            return f"{number} not ended, the first is {left[0].label}: {reason}"


def scaling_of(block: Block) -> dict[str, Any]:
    """Returns the arguments of Ray Train's `ScalingConfig`: all workers on one node.

    The plan prices nodes that hold a whole group (`capacity.fit_worker_group`); a group spread over
    several nodes would communicate over their network.
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
    """Returns the process group's backend; None: Ray Train's choice.

    NCCL refuses two workers on one GPU. Such workers only use the group's store.
    """
    return "gloo" if 0 < block.gpus_per_worker < 1 else None


def _run_group(block: Block, run_context: RunContext, scratch: str) -> GroupEnd:
    """Runs a Ray Train worker group, which Ray restarts after a lost worker."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    failures = SHARED_CELL_FAILURES if block.runs_together else WORKER_FAILURES
    trainer = TorchTrainer(
        run_worker,
        train_loop_config={"block": block, "run_context": run_context},
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
    return GroupEnd(fault=fault, is_permanent=fault is not None)


def run_worker(config: Mapping[str, Any]) -> str | None:
    """Runs in every Ray Train worker: its share of the block's units.

    Returns why it stopped early, if the run folder or a function of the user's file cannot be used:
    Ray Train would start the group again and again if that were raised. All workers of a worker
    group stop together.
    """
    block: Block = config["block"]
    run_context: RunContext = config["run_context"]
    fault: RunFault | None = check_reachable(run_context)
    if fault is None:
        try:
            run_context = run_context.with_items()
        except DataError as error:
            fault = RunFault(error)
    if (first := first_fault(fault)) is not None:
        return first
    with told_to_stop(run_context.token) as must_stop:
        worker = _make_worker(block, run_context, must_stop)
        indices = range(len(block.units))
        try:
            worker.run(block.units, indices if block.runs_together else _claims(len(indices)))
        except OSError as error:
            return f"the run folder could not be used: {error}"
    return None


def _make_worker(block: Block, run_context: RunContext, must_stop: Callable[[], bool]) -> Worker:
    import torch.distributed as dist

    from trainables.cells.runner import CellRunner
    from trainables.cells.worker import Worker
    from trainables.distributed.worker_group import WorkerGroup, current_worker_group
    from trainables.models.oom import limit_gpu_memory

    limit_gpu_memory(block.gpus_per_worker)
    runner = CellRunner(
        run_context=run_context,
        device="cuda" if block.gpus_per_worker else "cpu",
        gpus=block.gpus_per_worker,
        threads=block.cpus_per_worker,
        engine=block.engine,
        offload=block.offload,
        worker_group=current_worker_group() if block.runs_together else WorkerGroup(),
        is_leaving=_is_leaving,
        must_stop=must_stop,
    )
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    return Worker(runner, group=_group_name(), is_first=is_first)


def _is_leaving() -> bool:
    """Returns whether a machine of this worker group is about to be taken away.

    `ray.train.get_preemption_info` is a collective call, and the workers are at different cells.
    This worker's context holds what Ray has told it.
    """
    from ray.train.v2._internal.execution.context import get_train_context

    return get_train_context().preemption_context.preemption_info is not None


def _group_name() -> str:
    """Returns a name that is unique to this start of the group and shared by its workers."""
    import torch.distributed as dist

    from trainables.distributed.worker_group import store_of_group

    store = store_of_group()
    if store is None:
        return uuid.uuid4().hex
    if dist.get_rank() == 0:
        store.set("group", uuid.uuid4().hex)
    return bytes(store.get("group")).decode()


def _claims(num_units: int) -> Iterator[int]:
    """Yields the indices of units for this worker: each unit goes to the first free worker."""
    from trainables.distributed.worker_group import store_of_group

    store = store_of_group()
    if store is None:
        yield from range(num_units)
        return
    # A counter in the group's store needs no other process. A restarted group counts from 0 again
    # and skips finished cells.
    while (claimed := store.add("claimed_units", 1) - 1) < num_units:
        yield claimed
