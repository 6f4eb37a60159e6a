"""Prints the progress of a running study, read from its records, with an ETA."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from study.formatting import clock
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.failures import read_failure
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, Record, read_record

LOCAL_INTERVAL_S = 1.0
REMOTE_INTERVAL_S = 20.0
"""Between two polls of the run folder."""

LINE_INTERVAL_S = 15.0
"""Between two lines when the output is not a terminal."""


class ProgressReporter:
    """Polls for the records of the cells that a sweep is running, in its own thread.

    Use it as a context manager around the run. It calls `on_finished` once per finished cell.
    """

    def __init__(
        self,
        storage: Storage,
        cells: Iterable[PlannedCell],
        *,
        on_finished: Callable[[PlannedCell, Record], None],
        stream: TextIO | None = None,
    ) -> None:
        self._storage = storage
        self._waiting = {cell.id: cell for cell in cells}
        self._failed: dict[str, str] = {}
        self._has_started = False
        self._on_finished = on_finished
        self._stream = stream or sys.stdout
        self._num_cells = len(self._waiting)
        self._started = time.monotonic()
        self._paced_from: tuple[float, float] | None = None
        self._last_line = 0.0
        self._width = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProgressReporter:
        self._print(f"starting: {self._num_cells} cells to run")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._try_poll()
        self._show(final=True)

    @property
    def num_finished(self) -> int:
        """Cells finished so far."""
        return self._num_cells - len(self._waiting)

    def _watch(self) -> None:
        interval = LOCAL_INTERVAL_S if self._storage.is_local else REMOTE_INTERVAL_S
        while not self._stop.wait(interval):
            self._try_poll()
            self._show(final=False)

    def _try_poll(self) -> None:
        try:
            self._poll()
        except OSError as error:  # a bucket may answer again later
            self._print(f"cannot read {self._storage.root}: {error}")

    def _poll(self) -> None:
        if not self._has_started:
            self._has_started = bool(self._storage.list(layout.RUNNING))
        folders = set(self._storage.list(layout.CELLS))
        for id_, cell in list(self._waiting.items()):
            if id_ not in folders:
                continue  # it has neither a record nor a failure
            try:
                record = read_record(self._storage, id_)
            except (FileNotFoundError, InvalidRecordError):
                reason = read_failure(self._storage, id_)
                if reason is not None:
                    self._failed[id_] = reason
                continue
            del self._waiting[id_]
            self._failed.pop(id_, None)
            self._on_finished(cell, record)

    def _show(self, *, final: bool) -> None:
        now = time.monotonic()
        is_terminal = self._stream.isatty()
        if not final and not is_terminal and now - self._last_line < LINE_INTERVAL_S:
            return
        self._last_line = now
        failed = f", {len(self._failed)} failed" if self._failed else ""
        eta = "" if final else f", {self._eta(now)}"
        done = f"{self.num_finished}/{self._num_cells} cells"
        text = f"{clock(now - self._started)}  {done}{failed}{eta}"
        self._print(text, overwrite=is_terminal and not final)

    def _eta(self, now: float) -> str:
        """Returns the time for the remaining work at the pace since the first cell finished."""
        waiting = self._waiting_flop()
        if not self.num_finished:
            return "the first cells are running" if self._has_started else "workers are starting"
        if self._paced_from is None:
            self._paced_from = (now, waiting)
        since, waiting_then = self._paced_from
        if waiting_then == waiting:
            return "ETA unknown"
        return f"ETA {clock(waiting * (now - since) / (waiting_then - waiting))}"

    def _waiting_flop(self) -> float:
        return sum(cell.flop for cell in self._waiting.values())

    def _print(self, text: str, *, overwrite: bool = False) -> None:
        if self._stream.isatty():
            self._stream.write("\r" + text.ljust(self._width) + ("" if overwrite else "\n"))
            self._width = len(text) if overwrite else 0
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
