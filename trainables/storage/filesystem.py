"""The one filesystem layer: a local path, s3:// or gs://, behind the same few verbs."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pyarrow import fs

from trainables.errors import StorageError
from trainables.storage.addresses import fault_of, is_local, split_options

T = TypeVar("T")
R = TypeVar("R")

LOCAL_THREADS = 4
REMOTE_THREADS = 32
"""Requests that are under way at once: an object store answers slowly."""


S3_ATTEMPTS = 8
"""Of every request, with longer and longer waits: a bucket may refuse for about 45 s, or stall for
two minutes, before a cell pays for it. Arrow's own strategy gives up after 6 s of refusals."""


class UnreadableError(OSError):
    """What lies in a file's place cannot be read, now or later: a folder, or a forbidden file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """A root folder on some filesystem. Keys are relative, with forward slashes."""

    root: str
    """As the user gave it (made absolute where it is local)."""
    filesystem: fs.FileSystem
    base: str
    """The root's path inside the filesystem."""

    @property
    def is_local(self) -> bool:
        """Says whether the root is a folder of this machine."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, key: str) -> str:
        """Returns the key as a user would write it: a bucket's options stay behind the path."""
        folder, mark, options = split_options(self.root)
        return f"{folder.rstrip('/')}/{key}{mark}{options}"

    def exists(self, key: str) -> bool:
        """Says whether there is a file or folder of this key."""
        return bool(self._info(key).type != fs.FileType.NotFound)

    def read_bytes(self, key: str) -> bytes:
        """Returns a file's content.

        Raises:
            FileNotFoundError: If there is no such file.
            UnreadableError: If it is a folder, or this user may not read it; on a local disk.
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
        """Writes a whole file or nothing: a reader sees the old content or the new.

        A local file is written under a temporary name beside its place and renamed; an object
        store makes an upload visible only when it is complete.

        Raises:
            OSError: Naming the file, if it cannot be written.
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
        """Writes a whole file that is not there yet; on a local disk only.

        Raises:
            FileExistsError: If it is there: of several that try at once one succeeds.
        """
        target = Path(self._at(key))
        temporary = f"{key}.{uuid.uuid4().hex}.tmp"
        self.write_bytes(temporary, content)
        try:
            target.hardlink_to(self._at(temporary))
        except FileExistsError:
            raise
        except OSError:  # exFAT, some network disks: no hard links
            _create(target, content)
        finally:
            self.delete(temporary)

    def delete(self, key: str) -> None:
        """Removes a file or a folder with all in it; does nothing where there is none."""
        kind = self._info(key).type
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(self._at(key))
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(self._at(key))

    def modified(self, key: str) -> float | None:
        """Returns when a file was last written, by the clock of where it lies, not of this machine.

        Seconds since 1970; None where there is no such file or the file system does not say.
        """
        time = self._info(key).mtime
        return None if time is None else float(time.timestamp())

    def list(self, key: str) -> Iterator[str]:
        """Yields the names of what lies directly in a folder, sorted; nothing if there is none."""
        selector = fs.FileSelector(self._at(key), allow_not_found=True)
        yield from sorted(info.base_name for info in self.filesystem.get_file_info(selector))

    def list_root(self) -> Iterator[str]:
        """Yields the names of what lies directly in the run folder, sorted."""
        selector = fs.FileSelector(self.base.rstrip("/") or "/", allow_not_found=True)
        yield from sorted(info.base_name for info in self.filesystem.get_file_info(selector))

    def list_with_mtime(self, key: str) -> dict[str, float | None]:
        """Returns the names of what lies directly in a folder, each with when it was last written.

        As `list` and `modified`, by one listing.
        """
        selector = fs.FileSelector(self._at(key), allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        times = {info.base_name: info.mtime for info in found}
        return {
            name: None if (time := times[name]) is None else float(time.timestamp())
            for name in sorted(times)
        }

    def keys(self, key: str) -> frozenset[str]:
        """Returns the keys of all files below a folder; a bucket takes a request a thousand."""
        selector = fs.FileSelector(self._at(key), allow_not_found=True, recursive=True)
        start = len(self.base.rstrip("/")) + 1
        return frozenset(
            info.path[start:]
            for info in self.filesystem.get_file_info(selector)
            if info.type == fs.FileType.File
        )

    def _at(self, key: str) -> str:
        if not key or key.startswith("/") or ".." in key.split("/"):
            raise StorageError(f"a storage key is a relative path without '..', got {key!r}")
        return f"{self.base.rstrip('/')}/{key}"

    def _info(self, key: str) -> fs.FileInfo:
        return self.filesystem.get_file_info(self._at(key))

    def _put(self, path: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)


def map_parallel(storage: Storage, function: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """Returns what a function that asks a storage gives for each thing; many are asked at once."""
    with ThreadPoolExecutor(LOCAL_THREADS if storage.is_local else REMOTE_THREADS) as pool:
        return list(pool.map(function, things))


def _create(target: Path, content: bytes) -> None:
    """Writes a file that is not there yet, without a link: a reader may see it half written."""
    with target.open("xb") as stream:
        try:
            stream.write(content)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def open_storage(root: str) -> Storage:
    """Returns the storage at a local path, `s3://bucket/...` or `gs://bucket/...`.

    Nothing is written; credentials come from the environment as the cloud's own tools read them.

    Raises:
        StorageError: If the address is empty, its scheme is none of these, it has no bucket, or
            something stands in it that may be secret.
    """
    if not root:
        raise StorageError("the run folder's address is empty: name a folder, such as runs")
    scheme, _, _ = root.partition("://")
    if is_local(root):
        path = str(Path(root).expanduser().absolute())
        return Storage(root=path, filesystem=fs.LocalFileSystem(), base=path)
    fault = fault_of(root)
    if fault is not None:
        raise StorageError(fault)
    try:
        filesystem, base = fs.FileSystem.from_uri(
            _with_single_puts(root) if scheme == "s3" else root
        )
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot open {split_options(root)[0]!r}: {error}") from error
    if scheme == "s3":
        filesystem = _patient(filesystem)
    return Storage(root=root, filesystem=filesystem, base=base)


def _patient(filesystem: fs.S3FileSystem) -> fs.S3FileSystem:
    """Returns the same file system with another strategy of retries: an address cannot name one."""
    _, (options,) = filesystem.__reduce__()
    strategy = fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS)
    return fs.S3FileSystem(**options, retry_strategy=strategy)


@contextmanager
def written_together(storage: Storage, *, last: str) -> Iterator[Storage]:
    """Yields where to write files that appear in the storage once all are written, or not at all.

    On a local disk they wait beside their places, so that a full one refuses them there, and are
    then renamed. A bucket gets them one after the other.

    Args:
        storage: Where they appear.
        last: The key of the file that appears after all others: the one that points at them.
    """
    if storage.is_local:
        Path(storage.base).mkdir(parents=True, exist_ok=True)
    beside = storage.base if storage.is_local else None
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=beside) as folder:
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
    """Removes folders of a local run folder again that were made meanwhile and are empty."""
    made = _missing_folders(Path(storage.base)) if storage.is_local else []
    try:
        yield
    finally:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def check_writable(storage: Storage) -> None:
    """Writes and removes one small file.

    Raises:
        StorageError: If that fails; on a local disk, folders made for the trial are removed again.
    """
    key = f".write-test-{uuid.uuid4().hex}"
    try:
        with removing_empty_folders(storage):
            storage.write_bytes(key, b"")
            storage.delete(key)
    except OSError as error:
        raise StorageError(
            f"cannot write to {storage.root!r}: {error}. Give a folder that you may write to "
            "with --out."
        ) from error


def _with_single_puts(root: str) -> str:
    """Asks for one PUT a small file: a multi-part upload costs three requests."""
    return f"{root}{'&' if '?' in root else '?'}allow_delayed_open=true"


def _missing_folders(path: Path) -> list[Path]:
    missing = [path, *path.parents]
    return [folder for folder in missing if not folder.exists()]
