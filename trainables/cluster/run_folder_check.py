"""Whether the workers of a cluster see the run folder that the driver writes to.

A folder of the driver's own disk has the same name on another machine and is another folder: what
workers wrote there would be lost with their machines, and the driver would wait for it.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

from trainables.cells.planned import RunContext
from trainables.cluster.capacity import HEAD_RESOURCE, ClusterLimits
from trainables.distributed.process_store import store_of_group
from trainables.errors import ClusterError
from trainables.storage import layout
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.mounts import file_system, is_own_disk

LOOKS = 5
LOOK_INTERVAL_S = 1.0
"""A network disk may show a new file a moment later."""

UNSEEN = "unseen_run_folder"
"""Key in a trial's row: why the run folder cannot be used on this cluster."""

ADVICE = "give a bucket (s3://, gs://) or a folder on a file system that all nodes share with --out"


class UnreachableRunFolder(str):
    """Why a worker cannot use the run folder: no other start of it could either."""

    __slots__ = ()


def check_reachable(run_context: RunContext) -> UnreachableRunFolder | None:
    """Returns why this process does not see the driver's run folder; None where it does.

    The driver's sign tells: it lies in the folder, and names the sweep.

    Raises:
        OSError: If the folder's bucket does not answer.
    """
    if run_context.token is None or _sees(run_context):
        return None
    return UnreachableRunFolder(
        f"the node {platform.node()} does not see the run folder {run_context.out}: "
        f"the sweep's lock ({layout.LOCK}) is not there. Nothing was run on it; {ADVICE}"
    )


def first_fault(fault: UnreachableRunFolder | None) -> UnreachableRunFolder | None:
    """Returns the first fault of any worker of this process's group, on all of them."""
    import torch.distributed as dist

    store = store_of_group()
    if store is None:
        return fault
    store.set(f"sees/{dist.get_rank()}", str(fault or ""))
    found = (bytes(store.get(f"sees/{rank}")).decode() for rank in range(dist.get_world_size()))
    return next((UnreachableRunFolder(text) for text in found if text), None)


def check_shared(storage: Storage, cluster: ClusterLimits) -> None:
    """Refuses a run folder on a disk of this machine where the cluster starts other machines.

    Nodes that are there already look for themselves (`unseen`): they may share the disk.

    Raises:
        ClusterError: If the folder's file system is not one that is made to be shared.
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
            f"{storage.root}: its file system ({name}) is none of those known to be shared (NFS, "
            f"Lustre, Ceph, a mounted bucket, ...); {ADVICE}"
        )


def _sees(run_context: RunContext) -> bool:
    storage = open_storage(run_context.out)
    for look in range(LOOKS):
        if look:
            time.sleep(LOOK_INTERVAL_S)
        try:
            word = json.loads(storage.read_bytes(layout.LOCK))
        except (FileNotFoundError, ValueError):
            continue
        if isinstance(word, dict) and word.get("token") == run_context.token:
            return True
    return False
