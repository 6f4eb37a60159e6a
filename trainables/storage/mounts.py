"""Whether a local folder may be visible on other machines, by the type of its file system."""

from __future__ import annotations

import os
from pathlib import Path

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
"""File systems meant to be mounted on several machines."""

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
"""Buckets and network disks mounted by a process (`fuse.gcsfuse`); other FUSE types are local."""


def is_shared(name: str) -> bool:
    """Returns whether several machines may see a file system of this type."""
    return name in SHARED or name.removeprefix("fuse.") in SHARED_BY_FUSE


def file_system(path: Path, mounts: str | None = None) -> str:
    """Returns the type of a path's file system; empty if unknown.

    Args:
        path: A path that need not exist.
        mounts: Content of /proc/mounts; None: this machine's.
    """
    if mounts is None:
        mounts = MOUNTS.read_text("utf-8", "replace") if MOUNTS.is_file() else ""
    target, deepest, kind = os.path.realpath(path), "", ""
    for line in mounts.splitlines():
        _, point, name, *_ = line.split(" ")
        point = point.encode().decode("unicode_escape")  # a blank is written \040
        inside = f"{target}/".startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= len(deepest):  # the later of two mounts on one point is on top
            deepest, kind = point, name
    return kind
