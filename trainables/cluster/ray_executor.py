"""Runs blocks and recipe searches on a Ray cluster.

Each block is a Tune trial that starts one Ray Train worker group. Results do not pass through Ray:
workers write records, and Tune gets a row per ended cell for its own tables, TensorBoard and
tune_results.parquet.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from search_spaces.base_models import Footprint
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
from trainables.cluster.run_folder_check import RUN_FAULT, check_shared
from trainables.cluster.tune_results import (
    ResultsFile,
    Row,
    add_results,
    cell_results,
    search_results,
)
from trainables.errors import ClusterError
from trainables.storage import layout
from trainables.storage.filesystem import Storage

if TYPE_CHECKING:  # the driver must not pay for importing torch
    from trainables.tuning.search import OnTrial, Search

SETTINGS: Mapping[str, str] = {
    # Ray polls a worker group for its end at this interval; the default of 2 s is idle time.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # The sweep handles Ctrl-C itself.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Relative paths of the user stay relative to the working directory.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Set before Ray is imported, unless the user has set the variable."""

LOCAL_SETTINGS: Mapping[str, str] = {
    # A local machine is not preempted by a cloud; this saves an actor.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}

DRIVER_RESOURCE = {HEAD_RESOURCE: 0.001}
"""Resources of a trial, which only waits for its workers. Every Ray head has this resource and only
trials use it, so trials run on the head and can never starve the workers of CPUs."""

TRIAL_FAILURES = 3
"""Restarts of a trial whose process was lost. Tune retries every error of a trial, so a block that
must not run again reports `block_trial.FAULT` in its last row instead."""


@contextmanager
def connect(address: str | None, *, dashboard: bool = False) -> Iterator[None]:
    """Connects to a Ray cluster, or starts a local one for the duration of the context.

    Args:
        address: An existing cluster's address. None: the cluster of this machine (`RAY_ADDRESS`, or
            the one that `ray start` started here), else a local one.
        dashboard: Whether to start the dashboard of a local Ray and print its address.

    Raises:
        ClusterError: If the address does not answer.
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
        options |= {"address": "local", "include_dashboard": dashboard}
    # Tune's TensorBoard logger imports torch: seconds in which Ray's own processes start.
    importing = threading.Thread(target=import_module, args=("torch",), daemon=True)
    importing.start()
    with stop_signals.handlers_kept():
        url = ray.init(**options).dashboard_url
    importing.join()
    if dashboard:
        print(_dashboard_text(url), flush=True)
    try:
        with head_watched(address) if address else nullcontext():
            yield
    finally:
        ray.shutdown()


def _dashboard_text(url: str | None) -> str:
    if not url:
        return "Ray runs without a dashboard: its cluster was started without one."
    return f"Ray dashboard: http://{url} (it asks for the token of `ray get-auth-token`)"


@contextmanager
def open_ray_executor(
    address: str | None, storage: Storage, space: str, *, dashboard: bool = False
) -> Iterator[RayExecutor]:
    """Connects to a Ray cluster and yields its executor.

    Args:
        address: As `connect` takes it.
        storage: The run folder.
        space: Name of the study: Ray's own files are in its folder until the end.
        dashboard: As `connect` takes it.

    Raises:
        ClusterError: If the address does not answer, or nodes that the cluster may start would not
            see the run folder.
    """
    with connect(address, dashboard=dashboard):
        check_shared(storage, growth(_living_nodes()))
        yield RayExecutor(storage, space)
    storage.delete(layout.ray(space))


class RayExecutor:
    """An `Executor` on the connected Ray cluster.

    Args:
        storage: The run folder.
        space: Name of the study. What a killed run left of Ray's own files is deleted.
    """

    def __init__(self, storage: Storage, space: str) -> None:
        self._storage, self._space = storage, space

    def fit(self, footprint: Footprint) -> Capacity:
        """Returns how the cluster can hold worker groups of this footprint, one per node.

        Raises:
            ClusterError: If no node can hold a group.
        """
        nodes = _living_nodes()
        fits = fit_worker_group(growth(nodes), footprint)
        return replace(fits, slots=min(fits.slots, max_blocks_on_head(nodes)))

    def run_blocks(self, blocks: Sequence[Block], run_context: RunContext) -> Sequence[str]:
        """Runs the blocks as trials of one Tuner; returns the errors of blocks that ended early.

        Raises:
            ClusterError: If a node does not see the run folder, or a function of the user's file
                returns other items there: all blocks end at once.
            KeyboardInterrupt: If a signal asked this process to stop, once no worker runs a cell.
        """
        from ray import tune

        trainable = tune.with_parameters(run_block, blocks=tuple(blocks), run_context=run_context)
        configs = [{"block": block.index, **block.factors} for block in blocks]
        scratch = self._empty_scratch()
        file = cell_results(layout.tune_results(self._space))
        recorder = _row_recorder(file)
        tuner = tune.Tuner(
            tune.with_resources(trainable, DRIVER_RESOURCE),
            param_space={"cells": tune.grid_search(configs), "scratch": scratch},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=min(len(blocks), max_blocks_on_head(_living_nodes())),
                trial_name_creator=lambda trial: f"block-{trial.config['cells']['block']}",
                trial_dirname_creator=lambda trial: f"block-{trial.config['cells']['block']}",
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                verbose=0,
                callbacks=[recorder],
                failure_config=tune.FailureConfig(max_failures=TRIAL_FAILURES),
                stop=_stopper(run_context),
            ),
        )
        try:
            results = tuner.fit()
        except Exception as error:  # Tune's own files, on a full disk; cells have theirs
            return (f"Ray Tune ended early: {type(error).__name__}: {error}",)
        finally:
            add_results(self._storage, file, recorder.rows)
        rows = [result.metrics or {} for result in results]
        for row in rows:
            if RUN_FAULT in row:
                raise ClusterError(row[RUN_FAULT])
        return (*map(str, results.errors), *(row[FAULT] for row in rows if row.get(FAULT)))

    def run_search(
        self, search: Search, num_trials: int, on_trial: OnTrial, *, fits: Capacity
    ) -> None:
        """Runs each trial in its own process, as many at once as fit."""
        from trainables.cluster import ray_search

        file = search_results(layout.search_results(self._space))
        recorder = _row_recorder(file)
        try:
            ray_search.run_search(
                search,
                num_trials,
                on_trial,
                fits=fits,
                scratch=self._empty_scratch(),
                callbacks=[recorder],
            )
        finally:
            add_results(self._storage, file, recorder.rows)

    def _empty_scratch(self) -> str:
        self._storage.delete(layout.ray(self._space))
        return self._storage.path(layout.ray(self._space))


def _living_nodes() -> list[Mapping[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _row_recorder(file: ResultsFile) -> Any:
    """Returns a Tune callback whose `rows` are all results with the columns of a file."""
    from ray import tune

    class RowRecorder(tune.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows: list[Row] = []

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: Row, **info: Any
        ) -> None:
            if all(result.get(name) is not None for name in file.identity):
                self.rows.append(file.row(result))

    return RowRecorder()


def _stopper(run_context: RunContext) -> Any:
    """Returns Tune's stopper: it ends all trials if a worker can run no cell of the run.

    It also relays signals, because Tune calls it regularly.
    """
    from ray import tune

    signals = stop.SignalRelay(run_context=run_context)

    class Stopper(tune.Stopper):  # type: ignore[misc]
        has_run_fault = False

        def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
            self.has_run_fault = self.has_run_fault or RUN_FAULT in result
            return self.has_run_fault

        def stop_all(self) -> bool:
            signals.poll()
            return self.has_run_fault

    return Stopper()
