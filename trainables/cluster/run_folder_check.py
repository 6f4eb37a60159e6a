"""Checks that the workers of a cluster see the run folder that the driver writes to.

On another machine, the path of a folder on the driver's disk names a different folder: results that
workers write there would be lost with their machines, while the driver waits for them.
"""

from __future__ import annotations

import platform
import time
from pathlib import Path

from trainables.cells.planned import RunContext
from trainables.cluster.capacity import HEAD_RESOURCE, ClusterLimits
from trainables.errors import ClusterError
from trainables.storage import layout
from trainables.storage.filesystem import Storage, is_own_disk, open_storage
from trainables.storage.lock import token_of
from trainables.storage.mounts import file_system

ATTEMPTS = 5
ATTEMPT_INTERVAL_S = 1.0
"""A network disk may show a new file with a delay."""

RUN_FAULT = "run_fault"
"""Key in a trial's row: why the whole run ends (`RunFault`)."""

ADVICE = "give a bucket (s3://, gs://) or a folder on a file system that all nodes share with --out"


class RunFault(str):
    """Why a worker can run no cell of the run. A restart would not help, so all blocks end."""

    __slots__ = ()


def check_reachable(run_context: RunContext) -> RunFault | None:
    """Returns why this process does not see the driver's run folder; None if it does.

    The process looks for the driver's lock in the folder, which has the token of the sweep.

    Raises:
        OSError: If the folder's bucket does not answer.
    """
    if run_context.token is None or _sees(run_context):
        return None
    return RunFault(
        f"the node {platform.node()} does not see the run folder {run_context.out}: "
        f"the sweep's lock ({layout.LOCK}) is missing. No cell ran on that node; {ADVICE}"
    )


def first_fault(fault: RunFault | None) -> RunFault | None:
    """Returns the first fault of any worker of this process's group, on all of them."""
    import torch.distributed as dist

    from trainables.distributed.worker_group import store_of_group

    store = store_of_group()
    if store is None:
        return fault
    store.set(f"run fault/{dist.get_rank()}", str(fault or ""))
    ranks = range(dist.get_world_size())
    faults = (bytes(store.get(f"run fault/{rank}")).decode() for rank in ranks)
    return next((RunFault(text) for text in faults if text), None)


def check_shared(storage: Storage, cluster: ClusterLimits) -> None:
    """Refuses a run folder on this machine's own disk if the cluster may start other machines.

    Existing nodes check for themselves (`check_reachable`), because they may share the disk.

    Raises:
        ClusterError: If the folder's file system is not a shared one.
    """
    others = [
        kind for kind in cluster.kinds if kind.count > 0 and HEAD_RESOURCE not in kind.resources
    ]
    if not cluster.is_autoscaled or not others or not cluster.most_workers:
        return
    if is_own_disk(storage):
        name = file_system(Path(storage.base)) or "unknown"
        raise ClusterError(
            f"the cluster starts nodes by itself, and they would not see the run folder "
            f"{storage.root}: its file system ({name}) is not a known shared one (NFS, Lustre, "
            f"Ceph, a mounted bucket, ...); {ADVICE}"
        )


def _sees(run_context: RunContext) -> bool:
    storage = open_storage(run_context.out)
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(ATTEMPT_INTERVAL_S)
        if token_of(storage) == run_context.token:
            return True
    return False
