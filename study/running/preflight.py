"""Checks that this machine can hold the base models, if it is the one that runs the cells."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from search_spaces.space import Space
from study.cost.fitting import Setting, find_misfit
from trainables.cells.planned import PlannedCell
from trainables.cluster.capacity import HEAD_BYTES_PER_BLOCK, IN_PROCESS
from trainables.cluster.machine_memory import this_machine
from trainables.errors import ClusterError, InsufficientMemoryError

LOCAL_RAY_BYTES = 1e9 + HEAD_BYTES_PER_BLOCK
"""Memory of a local Ray with one block, without its workers: Ray's services and the driver (0.5 GB,
docs/reference/scale.md), and what a running block takes on its head."""


def check_local_memory(groups: Sequence[Sequence[Setting]], address: str | None) -> None:
    """Checks that this machine's memory holds worker groups that all run on it.

    The machines of a `ray up` cluster are checked by their types (`study.cost.node_choice`).

    Args:
        groups: The settings of each group, which runs one of them at a time. Groups run at once as
            far as this machine's cores allow.
        address: `in-process`, where groups follow each other, or of a local Ray.

    Raises:
        InsufficientMemoryError: Names the first base model that does not fit, the memory it needs,
            and the largest setting that fits.
    """
    machine = this_machine(with_gpus=any(group[0].gpus for group in groups))
    cores = os.cpu_count() or 1
    for place, group in enumerate(groups):
        others = 0.0
        if address != IN_PROCESS:
            neighbours = (*groups[:place], *groups[place + 1 :])
            others = LOCAL_RAY_BYTES + _most_at_once(neighbours, cores - group[0].cores)
        if misfit := find_misfit(group, machine, others):
            raise InsufficientMemoryError(misfit)


def _most_at_once(groups: Iterable[Sequence[Setting]], cores: int) -> float:
    """Returns the memory of the largest groups that run at once on some cores."""
    total = 0.0
    for group in sorted(groups, key=_largest, reverse=True):
        if group[0].cores <= cores:
            cores, total = cores - group[0].cores, total + _largest(group)
    return total


def _largest(group: Sequence[Setting]) -> float:
    return max(setting.cpu_memory for setting in group)


def check_local_devices(space: Space, cells: Sequence[PlannedCell], address: str | None) -> None:
    """Checks that this machine supports the cells' quantizations, if it will run them.

    The machines of a cluster are unknown here: a cell that they cannot hold fails there.

    Args:
        space: The cells' space.
        cells: The cells to run.
        address: As `study.running.executor.run_cells` takes it.

    Raises:
        ClusterError: Naming the first cell whose quantization this machine does not support.
    """
    on_cpu = {
        model.name: address == IN_PROCESS or space.footprint_of(model).gpus_per_worker == 0
        for model in space.models
    }
    quantized = {
        (cell.cell.recipe.quantization, on_cpu[cell.model_name]): cell
        for cell in reversed(cells)
        if cell.cell.recipe.quantization != "none"
    }
    if not quantized or not is_here(address):
        return
    from trainables.models.loading import check_quantization, local_devices  # load torch

    for (quantization, is_on_cpu), cell in quantized.items():
        for device in ("cpu",) if is_on_cpu else local_devices():
            try:
                check_quantization(quantization, device)
            except ValueError as error:
                raise ClusterError(f"{cell.label}: {error}") from error


def is_here(address: str | None) -> bool:
    """Returns whether cells would run in this process or on a local Ray."""
    if address == IN_PROCESS:
        return True
    if address or os.environ.get("RAY_ADDRESS"):
        return False
    from trainables.cluster.head import cluster_of_this_machine  # loads Ray

    return cluster_of_this_machine() is None
