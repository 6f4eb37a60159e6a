"""A storage that counts what a bucket would be asked: a disk behind the door for other systems."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

from pyarrow import fs

from trainables.storage.filesystem import Storage


class CountingDisk(fs.FileSystemHandler):
    """Counts the calls by name; a listing of many files counts a request a thousand of them."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._disk = fs.LocalFileSystem()
        self._lock = threading.Lock()

    def _count(self, name: str, times: int = 1) -> None:
        with self._lock:
            self.asked[name] += times

    def get_type_name(self) -> str:
        return "counting"

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        self._count("look", len(paths))
        return self._disk.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        found = self._disk.get_file_info(selector)
        self._count("list", 1 + len(found) // 1000)
        return found

    def create_dir(self, path: str, recursive: bool) -> None:
        self._disk.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self._count("delete")
        self._disk.delete_dir(path)

    def delete_file(self, path: str) -> None:
        self._count("delete")
        self._disk.delete_file(path)

    def open_input_stream(self, path: str) -> Any:
        self._count("read")
        return self._disk.open_input_stream(path)

    def open_input_file(self, path: str) -> Any:
        self._count("read")
        return self._disk.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self._count("write")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self._disk.open_output_stream(path)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def move(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def normalize_path(self, path: str) -> str:
        return path


def counting_storage(folder: Path) -> tuple[Storage, Counter[str]]:
    """Returns a storage that is no local one, and what it has been asked so far."""
    disk = CountingDisk()
    found = Storage(root="s3://counted", filesystem=fs.PyFileSystem(disk), base=str(folder))
    return found, disk.asked
