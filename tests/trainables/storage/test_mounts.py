"""Which folders are a disk of one machine, read off lines of /proc/mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.storage import mounts
from trainables.storage.filesystem import is_own_disk, open_storage
from trainables.storage.mounts import file_system, is_shared

LINES = """\
overlay / overlay rw 0 0
/dev/sda1 /data ext4 rw 0 0
server:/vol /data/shared nfs4 rw 0 0
tmpfs /data/shared/cache tmpfs rw 0 0
bucket /mnt/a\\040bucket fuse.gcsfuse rw 0 0
/dev/sdb /twice ext4 rw 0 0
server:/vol /twice nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "overlay"),
        ("/home/runs", "overlay"),
        ("/data", "ext4"),
        ("/data/runs", "ext4"),
        ("/data/shared", "nfs4"),
        ("/data/shared/runs/not/there/yet", "nfs4"),
        ("/data/shared-not", "ext4"),
        ("/data/shared/cache/x", "tmpfs"),
        ("/data/shared/../runs", "ext4"),
        ("/mnt/a bucket/runs", "fuse.gcsfuse"),
        ("/twice/x", "nfs"),
    ],
)
def test_a_folder_lies_on_the_deepest_mount_above_it(path: str, name: str) -> None:
    assert file_system(Path(path), LINES) == name


def test_a_link_lies_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/data/shared")
    assert file_system(tmp_path / "link" / "runs", LINES) == "nfs4"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nfs4", True),
        ("lustre", True),
        ("fuse.gcsfuse", True),
        ("fuse.sshfs", True),
        ("ext4", False),
        ("overlay", False),
        ("fuse.fuse-overlayfs", False),
        ("fuseblk", False),
        ("", False),
    ],
)
def test_file_systems_of_several_machines(name: str, expected: bool) -> None:
    assert is_shared(name) == expected


def test_a_run_folder_is_this_machines_own_unless_it_is_a_bucket_or_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = tmp_path / "mounts"
    monkeypatch.setattr(mounts, "MOUNTS", lines)
    local = open_storage(str(tmp_path / "runs"))
    lines.write_text("overlay / overlay rw 0 0\n")
    assert is_own_disk(local)
    assert not is_own_disk(open_storage("s3://bucket/runs?region=us-east-1"))
    lines.write_text("server:/vol / nfs4 rw 0 0\n")
    assert not is_own_disk(local)
    lines.unlink()
    assert is_own_disk(local), "nobody says that it is shared"
