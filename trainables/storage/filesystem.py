"""The file system layer: local paths, s3:// and gs:// behind the same few methods."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pyarrow import fs

from trainables.errors import StorageError
from trainables.storage.addresses import fault_of, is_local, split_options
from trainables.storage.mounts import file_system, is_shared

T = TypeVar("T")
R = TypeVar("R")

SHARED_THREADS = 8
REMOTE_THREADS = 32
"""Concurrent requests to a network disk and to an object store, which answers slowly."""

S3_ATTEMPTS = 8
"""Attempts per request with growing waits: a bucket may refuse requests for about 45 s, or stall
for two minutes, before a cell fails. Arrow's default gives up after 6 s."""


class UnreadableError(OSError):
    """A path that will stay unreadable: a folder in place of a file, or a forbidden file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """A root folder on some filesystem. Keys are relative, with forward slashes."""

    root: str
    """The user's address; local paths are absolute."""
    filesystem: fs.FileSystem
    base: str
    """The root's path inside the filesystem."""

    @property
    def is_local(self) -> bool:
        """Whether the root is a local path."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, key: str) -> str:
        """Returns the key's full address; a bucket's options follow the path."""
        folder, mark, options = split_options(self.root)
        return f"{folder.rstrip('/')}/{key}{mark}{options}"

    def exists(self, key: str) -> bool:
        """Returns whether a file or folder of this key exists."""
        return bool(self._info(key).type != fs.FileType.NotFound)

    def read_bytes(self, key: str) -> bytes:
        """Returns a file's content.

        Raises:
            FileNotFoundError: If the file does not exist.
            UnreadableError: On a local disk, if it is a folder or this user may not read it.
        """
        try:
            with self.filesystem.open_input_file(self._at(key)) as stream:
                return bytes(stream.readall())
        except (PermissionError, NotADirectoryError) as error:
            raise UnreadableError(f"{self.path(key)} cannot be read: {error.strerror}") from error
        except OSError as error:
            if self.is_local and Path(self._at(key)).is_dir():
                raise UnreadableError(f"{self.path(key)} is a folder, not a file") from error
            raise

    def write_bytes(self, key: str, content: bytes) -> None:
        """Writes a file atomically: readers see the old content or the new.

        A local file is written under a temporary name in the same folder and renamed; an object
        store shows an upload only when it is complete.

        Raises:
            OSError: If the file cannot be written; names it.
        """
        try:
            self._write(key, content)
        except OSError as error:
            if error.errno is None:
                raise OSError(f"{self.path(key)}: {error}") from error
            raise OSError(error.errno, os.strerror(error.errno), self.path(key)) from error

    def _write(self, key: str, content: bytes) -> None:
        target = self._at(key)
        if not self.is_local:
            self._put(target, content)
            return
        self.filesystem.create_dir(str(Path(target).parent), recursive=True)
        temporary = f"{target}.{uuid.uuid4().hex}.tmp"
        try:
            self._put(temporary, content)
            self.filesystem.move(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def create_bytes(self, key: str, content: bytes) -> None:
        """Creates a file; of several attempts at once one succeeds. On a local disk only.

        A reader may see the file before its content is complete.

        Raises:
            FileExistsError: If the file exists.
        """
        target = Path(self._at(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream:
            try:
                stream.write(content)
            except BaseException:
                target.unlink(missing_ok=True)
                raise

    def delete(self, key: str) -> None:
        """Deletes a file, or a folder with its content; does nothing if it does not exist."""
        kind = self._info(key).type
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(self._at(key))
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(self._at(key))

    def modified(self, key: str) -> float | None:
        """Returns when a file was last written, by the storage server's clock.

        Seconds since 1970; None if the file does not exist or the file system does not record it.
        """
        return _seconds(self._info(key))

    def list(self, key: str) -> Iterator[str]:
        """Yields the names of the files and folders directly in a folder, sorted.

        Empty if the folder does not exist.
        """
        yield from sorted(info.base_name for info in self._infos(self._at(key)))

    def list_root(self) -> Iterator[str]:
        """Yields the names of the files and folders directly in the run folder, sorted."""
        yield from sorted(info.base_name for info in self._infos(self.base.rstrip("/") or "/"))

    def list_with_mtime(self, key: str) -> dict[str, float | None]:
        """Returns the names that `list` yields with their `modified`, by one listing."""
        times = {info.base_name: _seconds(info) for info in self._infos(self._at(key))}
        return dict(sorted(times.items()))

    def keys(self, key: str) -> frozenset[str]:
        """Returns the keys of all files below a folder; a bucket takes one request per 1,000."""
        start = len(self.base.rstrip("/")) + 1
        return frozenset(
            info.path[start:]
            for info in self._infos(self._at(key), recursive=True)
            if info.type == fs.FileType.File
        )

    def _at(self, key: str) -> str:
        if not key or key.startswith("/") or ".." in key.split("/"):
            raise StorageError(f"a storage key is a relative path without '..', got {key!r}")
        return f"{self.base.rstrip('/')}/{key}"

    def _info(self, key: str) -> fs.FileInfo:
        return self.filesystem.get_file_info(self._at(key))

    def _infos(self, path: str, *, recursive: bool = False) -> Sequence[fs.FileInfo]:
        selector = fs.FileSelector(path, allow_not_found=True, recursive=recursive)
        return list(self.filesystem.get_file_info(selector))

    def _put(self, path: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)


def _seconds(info: fs.FileInfo) -> float | None:
    return None if info.mtime is None else float(info.mtime.timestamp())


def is_own_disk(storage: Storage) -> bool:
    """Returns whether a run folder is local and no other machine is known to see it."""
    return storage.is_local and not is_shared(file_system(Path(storage.base)))


def iter_parallel(storage: Storage, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yields the results of a function that reads a storage, for many items concurrently.

    One after the other on this machine's own disk, which answers faster than threads take turns:
    they would double the time of reading records.
    """
    if is_own_disk(storage):
        yield from map(function, items)
        return
    with ThreadPoolExecutor(SHARED_THREADS if storage.is_local else REMOTE_THREADS) as pool:
        yield from pool.map(function, items)


def map_parallel(storage: Storage, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Returns the results that `iter_parallel` yields."""
    return list(iter_parallel(storage, function, items))


def open_storage(root: str) -> Storage:
    """Returns the storage at a local path, `s3://bucket/...` or `gs://bucket/...`.

    Writes nothing. Credentials come from the environment as the cloud's own tools read them.

    Raises:
        StorageError: If the address is empty, has another scheme or no bucket, or may contain a
            secret.
    """
    if not root:
        raise StorageError("the run folder's address is empty: name a folder, such as runs")
    if is_local(root):
        path = str(Path(root).expanduser().absolute())
        return Storage(root=path, filesystem=fs.LocalFileSystem(), base=path)
    fault = fault_of(root)
    if fault is not None:
        raise StorageError(fault)
    try:
        filesystem, base = (
            _open_s3(root) if root.startswith("s3:") else fs.FileSystem.from_uri(root)
        )
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot open {split_options(root)[0]!r}: {error}") from error
    return Storage(root=root, filesystem=filesystem, base=base)


def _open_s3(root: str) -> tuple[fs.S3FileSystem, str]:
    """Opens a bucket with our strategy of retries, which an address cannot name."""
    # Delayed open: a small file is one PUT, a multi-part upload is three requests.
    address = f"{root}{'&' if '?' in root else '?'}allow_delayed_open=true"
    filesystem, base = fs.FileSystem.from_uri(address)
    _, (options,) = filesystem.__reduce__()
    strategy = fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS)
    return fs.S3FileSystem(**options, retry_strategy=strategy), base


@contextmanager
def written_together(storage: Storage, *, last: str) -> Iterator[Storage]:
    """Yields a staging storage whose files appear together at the end, or not at all.

    On a local disk they are staged in the same run folder, so that a full disk is noticed there,
    and then renamed. A bucket receives them one after the other.

    Args:
        storage: Where the files appear.
        last: The key of the file that appears last, because it points at the others.
    """
    if storage.is_local:
        Path(storage.base).mkdir(parents=True, exist_ok=True)
    parent = storage.base if storage.is_local else None
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=parent) as folder:
        staged = replace(storage, filesystem=fs.LocalFileSystem(), base=folder)
        yield staged
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        keys = sorted(path.relative_to(folder).as_posix() for path in files)
        for key in sorted(keys, key=lambda key: key == last):
            if storage.is_local:
                target = Path(storage.base, key)
                target.parent.mkdir(parents=True, exist_ok=True)
                Path(folder, key).replace(target)
            else:
                storage.write_bytes(key, staged.read_bytes(key))


@contextmanager
def removing_empty_folders(storage: Storage) -> Iterator[None]:
    """Removes folders of a local run folder that were created inside the block and are empty."""
    path = Path(storage.base)
    missing = [x for x in (path, *path.parents) if not x.exists()] if storage.is_local else []
    try:
        yield
    finally:
        for folder in missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def check_writable(storage: Storage) -> None:
    """Writes a small file and deletes it, with the folders that were created for it.

    Raises:
        StorageError: If that fails.
    """
    key = f".write-test-{uuid.uuid4().hex}"
    try:
        with removing_empty_folders(storage):
            storage.write_bytes(key, b"")
            storage.delete(key)
    except OSError as error:
        raise StorageError(
            f"cannot write to {storage.root!r}: {error}. Choose a writable folder with --out."
        ) from error
