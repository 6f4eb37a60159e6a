"""A storage that counts the requests a bucket would get; its files are on a disk."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pyarrow import fs

from trainables.storage.filesystem import Storage


class CountingStorage(Storage):
    """Counts requests by kind; a listing counts one request per thousand files."""

    asked: Counter[str]
    lock: threading.Lock

    @property
    def is_local(self) -> bool:
        return False

    def count(self, kind: str, times: int = 1) -> None:
        with self.lock:
            self.asked[kind] += times

    def read_bytes(self, key: str) -> bytes:
        self.count("read")
        return super().read_bytes(key)

    def delete(self, key: str) -> None:
        self.count("delete")
        super().delete(key)

    def _info(self, key: str) -> fs.FileInfo:
        self.count("look")
        return super()._info(key)

    def _infos(self, path: str, *, recursive: bool = False) -> Sequence[fs.FileInfo]:
        infos = super()._infos(path, recursive=recursive)
        self.count("list", 1 + len(infos) // 1000)
        return infos

    def _put(self, path: str, content: bytes) -> None:
        self.count("write")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        super()._put(path, content)


def counting_storage(folder: Path) -> tuple[Storage, Counter[str]]:
    """Returns a storage that counts as remote, and its requests so far."""
    storage = CountingStorage(
        root="s3://counted", filesystem=fs.LocalFileSystem(), base=str(folder)
    )
    object.__setattr__(storage, "asked", Counter())
    object.__setattr__(storage, "lock", threading.Lock())
    return storage, storage.asked
