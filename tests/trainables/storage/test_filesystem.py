from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from trainables.errors import StorageError
from trainables.storage import filesystem
from trainables.storage.filesystem import Storage, check_writable, iter_parallel, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "runs"))


def test_write_read_list_delete(storage: Storage) -> None:
    storage.write_bytes("cells/a/record.json", b"one")
    storage.write_bytes("cells/a/record.json", b"two")
    storage.write_bytes("cells/b/record.json", b"")
    assert storage.read_bytes("cells/a/record.json") == b"two"
    assert list(storage.list("cells")) == ["a", "b"]
    assert list(storage.list("cells/a")) == ["record.json"], "no temporary file is left"
    storage.delete("cells/a")
    storage.delete("cells/a")
    assert not storage.exists("cells/a/record.json")
    assert list(storage.list("nothing")) == []
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("cells/a/record.json")


def test_failed_write_leaves_the_old_content(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes("a/file", b"old")

    def fail(self: Storage, path: str, content: bytes) -> None:
        Path(path).write_bytes(content[:1])
        raise OSError("disk full")

    monkeypatch.setattr(Storage, "_put", fail)
    with pytest.raises(OSError, match="disk full"):
        storage.write_bytes("a/file", b"new")
    assert storage.read_bytes("a/file") == b"old"
    assert list(storage.list("a")) == ["file"]


@pytest.mark.parametrize("key", ["", "/etc/x", "a/../../x"])
def test_keys_stay_inside_the_root(storage: Storage, key: str) -> None:
    with pytest.raises(StorageError, match="relative path"):
        storage.exists(key)


@pytest.mark.parametrize("root", ["ftp://host/x", "s3://", "http://x/y"])
def test_other_schemes_are_refused(root: str) -> None:
    with pytest.raises(StorageError, match="s3://bucket"):
        open_storage(root)


def test_relative_root_keeps_its_meaning_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage("runs/")
    monkeypatch.chdir("/")
    storage.write_bytes("x", b"1")
    assert (tmp_path / "runs" / "x").read_bytes() == b"1"


def test_check_writable_leaves_nothing(tmp_path: Path) -> None:
    check_writable(open_storage(str(tmp_path / "new" / "runs")))
    assert list(tmp_path.iterdir()) == []


def test_root_below_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        check_writable(open_storage(str(tmp_path / "file" / "runs")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot write"):
        check_writable(open_storage(str(tmp_path / "runs")))


def test_an_empty_address_is_not_the_current_folder() -> None:
    """A shell's unset variable would fill the folder that one happens to stand in."""
    with pytest.raises(StorageError, match="address is empty"):
        open_storage("")


def test_an_own_disk_is_read_in_turn_and_a_network_disk_concurrently(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> set[int]:
        barrier = threading.Barrier(2, timeout=10.0)

        def read(number: int) -> int:
            if not is_own:
                barrier.wait()
            return threading.get_ident()

        return set(iter_parallel(storage, read, range(2)))

    is_own = True
    assert threads() == {threading.get_ident()}
    is_own = False
    monkeypatch.setattr(filesystem, "is_own_disk", lambda storage: False)
    assert len(threads()) == 2
