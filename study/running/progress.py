"""Prints the progress of a running study, read from its records and claims, with an ETA."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TextIO

from search_spaces.explain import count
from study.formatting import clock
from study.running.blocks import units_of
from study.running.pace import Pace, remaining
from study.running.status_line import LINE_INTERVAL_S, StatusLine
from trainables.cells.planned import PlannedCell, Unit
from trainables.storage import layout
from trainables.storage.failures import read_failure
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, Record, read_record

LOCAL_INTERVAL_S = 1.0
REMOTE_INTERVAL_S = 20.0
"""Between two polls of the run folder."""

QUIET_S = 60.0
"""At most between two lines when the output is not a terminal; before that, and `LINE_INTERVAL_S`
after the last one, a line needs a cell that has ended."""

AT_ONCE_POLLS = 30
"""Polls whose largest number of running cells is the number of workers: between two cells, a worker
runs none."""


class ProgressReporter:
    """Polls for the records of the cells that a sweep is running, in its own thread.

    Use it as a context manager around the run. It calls `on_finished` once per finished cell.

    Args:
        storage: The run folder.
        units: The cells that will run, in the order of the queue.
        pace: Of the run that begins; it gets the finished cells.
        on_finished: Receives each finished cell.
        stream: Standard output by default.
        now: Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        storage: Storage,
        units: Sequence[Unit],
        *,
        pace: Pace,
        on_finished: Callable[[PlannedCell, Record], None],
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._units = tuple(units)
        self._waiting = {cell.id: cell for unit in units for cell in unit}
        self._failed: set[str] = set()
        self._running: dict[str, float] = {}
        self._at_once: deque[int] = deque(maxlen=AT_ONCE_POLLS)
        self._pace = pace
        self._has_started = False
        self._on_finished = on_finished
        self._line = StatusLine(stream or sys.stdout)
        self._now = now
        self._num_cells = len(self._waiting)
        self._started = now()
        self._last_line = (self._started, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProgressReporter:
        self._line.write(f"starting: {count(self._num_cells, 'cell')} to run")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._try_poll()
        self.show(final=True)

    @property
    def num_finished(self) -> int:
        """Cells finished so far."""
        return self._num_cells - len(self._waiting)

    def _watch(self) -> None:
        interval = LOCAL_INTERVAL_S if self._storage.is_local else REMOTE_INTERVAL_S
        while not self._stop.wait(interval):
            self._try_poll()
            self.show()

    def _try_poll(self) -> None:
        try:
            self.poll()
        except OSError as error:  # a bucket may answer again later
            self._line.write(f"cannot read {self._storage.root}: {error}")

    def poll(self) -> None:
        """Reads which cells run and which have ended."""
        claimed = {name.removesuffix(".json") for name in self._storage.list(layout.RUNNING)}
        folders = set(self._storage.list(layout.CELLS))
        for id_, cell in list(self._waiting.items()):
            if id_ not in folders:
                continue  # it has neither a record nor a failure
            try:
                record = read_record(self._storage, id_)
            except (FileNotFoundError, InvalidRecordError):
                if read_failure(self._storage, id_) is not None:
                    self._failed.add(id_)
                continue
            del self._waiting[id_]
            self._failed.discard(id_)
            self._pace.add(cell, record.seconds)
            self._on_finished(cell, record)
        self._has_started = self._has_started or bool(claimed)
        now = self._now()
        self._running = {
            id_: self._running.get(id_, now) for id_ in self._waiting if id_ in claimed
        }
        self._at_once.append(len(self._running))

    def show(self, *, final: bool = False) -> None:
        """Prints where the run stands, unless the last line is recent.

        Args:
            final: Whether the run has ended.
        """
        now, num_ended = self._now(), self.num_finished + len(self._failed)
        quiet = now - self._last_line[0]
        is_due = quiet >= (LINE_INTERVAL_S if num_ended > self._last_line[1] else QUIET_S)
        if not (final or self._line.is_terminal or is_due):
            return
        self._last_line = (now, num_ended)
        parts = [f"{self.num_finished}/{count(self._num_cells, 'cell')}"]
        parts += [f"{len(self._running)} running"] * bool(self._running)
        parts += [f"{len(self._failed)} failed"] * bool(self._failed)
        parts += [] if final else [self._eta(now)]
        text = f"{clock(now - self._started)}  {', '.join(parts)}"
        self._line.write(text, overwrite=not final)

    def _eta(self, now: float) -> str:
        if not self._has_started:
            return "workers are starting"
        ids = (self._waiting.keys() - self._failed) | self._running.keys()
        units = units_of(self._units, ids)
        left = remaining(units, {id_: now - at for id_, at in self._running.items()}, self._pace)
        if left is None:
            return "ETA unknown until a cell has finished"
        eta = clock(left.time(max(self._at_once)))
        if self._pace.is_guess:
            return f"ETA about {eta} (a guess, no cell timed)"
        untimed = self._pace.untimed(cell for unit in units for cell in unit)
        if not untimed:
            return f"ETA {eta}"
        return f"ETA about {eta} ({untimed} kind{'s' * (untimed > 1)} of cells untimed)"
