"""Whether a local folder is a disk of this machine alone, by the file system that it lies on."""

from __future__ import annotations

import os
from pathlib import Path

from trainables.storage.filesystem import Storage

MOUNTS = Path("/proc/mounts")

SHARED = (
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "smb3",
    "virtiofs",
    "wekafs",
)
"""File systems that are there to be mounted on several machines."""

SHARED_BY_FUSE = (
    "blobfuse2",
    "ceph",
    "ceph-fuse",
    "gcsfuse",
    "glusterfs",
    "goofys",
    "juicefs",
    "mountpoint-s3",
    "rclone",
    "s3fs",
    "sshfs",
)
"""Buckets and network disks that a process mounts (`fuse.gcsfuse`); others are local."""


def is_own_disk(storage: Storage) -> bool:
    """Says whether a run folder is a folder of this machine that no other one is known to see."""
    return storage.is_local and not is_shared(file_system(Path(storage.base)))


def is_shared(name: str) -> bool:
    """Says whether a file system of this name is one that several machines see."""
    return name in SHARED or name.removeprefix("fuse.") in SHARED_BY_FUSE


def file_system(path: Path, mounts: str | None = None) -> str:
    """Returns the name of the file system that a path lies on, or would; empty where nobody says.

    Args:
        path: It need not exist.
        mounts: Lines of /proc/mounts; None: this machine's.
    """
    if mounts is None:
        mounts = MOUNTS.read_text("utf-8", "replace") if MOUNTS.is_file() else ""
    target, found = os.path.realpath(path), ("", "")
    for line in mounts.splitlines():
        _, point, name, *_ = line.split(" ")
        point = point.encode().decode("unicode_escape")  # a blank is written \040
        inside = f"{target}/".startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= len(found[0]):  # of two on one point the later one is on top
            found = (point, name)
    return found[1]
