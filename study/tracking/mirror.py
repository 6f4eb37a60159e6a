"""A thread that writes to W&B, so that neither its start nor a slow network delays a study."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Self

from study.tracking.wandb_runs import WandbRuns, warn
from trainables.invocation import command_line

CLOSE_TIMEOUT_S = 60.0
"""Longest wait for W&B at the end of a study."""


class Closing:
    """A context manager that closes itself at the end."""

    def close(self) -> None:
        """Ends the mirror; does not wait indefinitely."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Mirror:
    """Runs tasks one after the other; the first that fails is a warning and ends the mirror."""

    def __init__(self, runs: WandbRuns) -> None:
        self._runs = runs
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def put(self, task: Callable[[], None]) -> None:
        """Adds a task."""
        self._tasks.put(task)

    def close(self, timeout_s: float | None) -> None:
        """Waits for the tasks.

        Args:
            timeout_s: Longest wait; None: no limit.
        """
        self._tasks.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            warn(
                f"not finished after {timeout_s:.0f} s; continuing without it. "
                f"`{command_line('report RUN --wandb')}` sends the rest"
            )

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception as error:
                # Whatever failed, the study continues and warns once.
                warn(f"off for the rest of this run: {type(error).__name__}: {error}")
                break
        try:
            self._runs.close()
        except Exception as error:
            warn(f"the offline runs could not be copied: {type(error).__name__}: {error}")
