"""Checks that this machine can hold the base models, if it is the one that runs the cells."""

from __future__ import annotations

import os
from collections.abc import Sequence

from search_spaces.space import Space
from trainables.cells.planned import PlannedCell
from trainables.cluster.capacity import IN_PROCESS
from trainables.errors import ClusterError


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
    if not quantized or not _is_here(address):
        return
    from trainables.models.loading import check_quantization, local_devices  # load torch

    for (quantization, is_on_cpu), cell in quantized.items():
        for device in ("cpu",) if is_on_cpu else local_devices():
            try:
                check_quantization(quantization, device)
            except ValueError as error:
                raise ClusterError(f"{cell.label}: {error}") from error


def _is_here(address: str | None) -> bool:
    """Returns whether cells would run in this process or on a local Ray."""
    if address == IN_PROCESS:
        return True
    if address or os.environ.get("RAY_ADDRESS"):
        return False
    from trainables.cluster.head import cluster_of_this_machine  # loads Ray

    return cluster_of_this_machine() is None
