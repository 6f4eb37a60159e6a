"""The one seam to Ray: blocks become Tune trials, and each trial starts one Ray Train worker group.

Nothing above it knows Ray, nothing below it does. Results do not pass through here: the workers
write records, and what Tune keeps is a row for the reader of its own tables.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainables import stop_signals
from trainables.cells.planned import Block, RunContext
from trainables.cluster import stop
from trainables.cluster.block_trial import FAULT, run_block
from trainables.cluster.capacity import (
    HEAD_RESOURCE,
    Capacity,
    fit_worker_group,
    growth,
    max_blocks_on_head,
)
from trainables.cluster.head import check_reachable, cluster_of_this_machine, head_watched
from trainables.cluster.run_folder_check import UNSEEN, check_shared
from trainables.data.task import SplitTask
from trainables.errors import ClusterError
from trainables.storage.filesystem import Storage

if TYPE_CHECKING:  # the driver must not pay for importing torch
    from trainables.cells.worker import CellRunner

SETTINGS: Mapping[str, str] = {
    # A worker group is polled for its end at this interval; the default of 2 s is idle time.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Cells write their own curves and records; Tune's copies would be read by nobody.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ctrl-C is the sweep's to handle.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Paths that a user gives relative to the working directory keep their meaning.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Set before Ray is imported; a variable that the user has set is left as it is."""

LOCAL_SETTINGS: Mapping[str, str] = {
    # One machine is not preempted by a cloud; saves an actor.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}

DRIVER_RESOURCE = {HEAD_RESOURCE: 0.001}
"""What a trial takes: it only waits for its workers. Ray gives every head this resource and nothing
else uses it, so trials run on the head and can never starve the workers of CPUs."""

TRIAL_FAILURES = 3
"""Restarts of a trial whose driver's process was lost. What ends a block for good is no error of
its trial, which Tune would try again, but a word in its last row (`ray_block.FAULT`)."""


@contextmanager
def connect(address: str | None) -> Iterator[None]:
    """Connects to a Ray cluster, or starts a local one that ends with the block.

    Args:
        address: An existing cluster's address. None: the cluster this process runs on
            (`RAY_ADDRESS`, or the one that `ray start` began on this machine), else a local one.

    Raises:
        ClusterError: If nothing answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or cluster_of_this_machine()
    if address:
        check_reachable(address)
    settings = SETTINGS if address else {**SETTINGS, **LOCAL_SETTINGS}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    import ray

    for name in ("ray", "ray.tune", "ray.train", "ray._private.authentication"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        environment = {name: os.environ[name] for name in settings}
        options |= {"address": address, "runtime_env": {"env_vars": environment}}
    else:
        options |= {"address": "local", "include_dashboard": False}
    with stop_signals.handlers_kept():
        ray.init(**options)
    try:
        with head_watched(address) if address else nullcontext():
            yield
    finally:
        ray.shutdown()


def capacity(
    *, workers: int | None, cpus_per_worker: int, gpus_per_worker: float | None
) -> Capacity:
    """Returns how the connected cluster can hold worker groups of this footprint, one a node.

    Raises:
        ClusterError: If no node can hold a block's workers.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    found = fit_worker_group(
        growth(nodes),
        workers=workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
    )
    return replace(found, slots=min(found.slots, max_blocks_on_head(nodes)))


def check_run_folder(storage: Storage) -> None:
    """Refuses a run folder that nodes which the connected cluster may start would not see.

    Raises:
        ClusterError: If they would not.
    """
    import ray

    check_shared(storage, growth([node for node in ray.nodes() if node["Alive"]]))


def run_blocks(
    blocks: Sequence[Block],
    tasks: Mapping[str, SplitTask],
    run_context: RunContext,
    *,
    factors: Sequence[Mapping[str, Any]],
    scratch: str,
    run_one: CellRunner | None = None,
) -> tuple[str, ...]:
    """Runs the blocks as trials of one Tuner; returns the errors of blocks that did not end well.

    Args:
        blocks: The blocks, at most as many at a time as the cluster has slots.
        tasks: Task name -> the task with its split.
        run_context: Where inputs and outputs are.
        factors: For each block, the values of its cells' factors: the trial's config.
        scratch: A folder that all nodes can reach, for Ray's own files.
        run_one: What runs a cell in a worker; None: the cell's method.

    Raises:
        ClusterError: If a node does not see the run folder: all blocks end at once.
        KeyboardInterrupt: If a signal asked this process to stop, once no worker has a cell in
            hand.
    """
    from ray import tune

    trainable = tune.with_parameters(
        run_block,
        blocks=tuple(blocks),
        tasks=dict(tasks),
        run_context=run_context,
        run_one=run_one,
    )
    trainable = tune.with_resources(trainable, DRIVER_RESOURCE)
    configs = [{"block": block.index, **row} for block, row in zip(blocks, factors, strict=True)]
    tuner = tune.Tuner(
        trainable,
        param_space={"cells": tune.grid_search(configs), "scratch": scratch},
        tune_config=tune.TuneConfig(max_concurrent_trials=min(len(blocks), _at_once())),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=TRIAL_FAILURES),
            stop=_stopper(run_context),
        ),
    )
    try:
        results = tuner.fit()
    except Exception as error:  # Tune's own files, on a full disk: cells have theirs
        return (f"Ray Tune ended early: {type(error).__name__}: {error}",)
    rows = [result.metrics or {} for result in results]
    for row in rows:
        if UNSEEN in row:
            raise ClusterError(row[UNSEEN])
    return (*map(str, results.errors), *(row[FAULT] for row in rows if row.get(FAULT)))


def _stopper(run_context: RunContext) -> Any:
    """Returns what ends all trials: where a node does not see the run folder, or after a signal."""
    from ray import tune

    signals = stop.SignalRelay(run_context=run_context)

    class StopWhereUnseen(tune.Stopper):  # type: ignore[misc]
        """Tune's stopper, asked at every row."""

        is_unseen = False

        def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
            self.is_unseen = self.is_unseen or UNSEEN in result
            return self.is_unseen

        def stop_all(self) -> bool:
            signals.look()
            return self.is_unseen

    return StopWhereUnseen()


def _at_once() -> int:
    import ray

    return max_blocks_on_head([node for node in ray.nodes() if node["Alive"]])
