"""Workers that run one cell together: they take the same steps and share their faults.

They communicate through the process group's key-value store, not through collective operations: a
worker that failed can report it while the others wait inside a collective operation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from trainables.models.oom import is_out_of_memory

GRACE_S = 60.0
"""How long a worker that failed waits for the others to end the cell. After that, they must be
waiting for the failed worker inside a collective operation."""

LONGEST_CELL = timedelta(days=7)
"""The timeout of a worker that waits for the others. A worker that dies ends the group sooner."""

Value = TypeVar("Value")


class FailedElsewhereError(RuntimeError):
    """The cell failed on another worker of the group."""


class OutOfMemoryElsewhereError(MemoryError):
    """Memory ran out on another worker of the group: all workers try again together."""


class GroupBrokenError(Exception):
    """The cell failed here and the other workers cannot end it: the group must start again."""

    def __init__(self, message: str, *, ran_out: bool = False) -> None:
        super().__init__(message)
        self.ran_out = ran_out
        """Whether memory ran out."""


@dataclass(kw_only=True, slots=True)
class WorkerGroup:
    """One worker's view of a group that runs every cell together; alone by default."""

    rank: int = 0
    size: int = 1
    store: Any = None
    """The process group's `torch.distributed.Store`; None: alone."""
    grace_s: float = GRACE_S
    _within: str = field(init=False, default="")
    """Key prefix of the current `run_together`. Each prefix has its own counter, so that workers
    that leave it at different points use the same keys afterwards."""
    _turn: int = field(init=False, default=0)

    @property
    def is_first(self) -> bool:
        """Whether this worker writes the group's results."""
        return self.rank == 0

    def broadcast_decision(self, decide: Callable[[], Value]) -> Value:
        """Calls `decide` on the first worker; returns its result (plain JSON) on all workers.

        Raises:
            Exception: On the first worker, the error of `decide`.
            OSError: On the others, if it was an OSError: all use the same run folder.
            FailedElsewhereError: On the others, if it was any other error.
        """
        if self.size == 1:
            return decide()
        key = self._next("decision")
        if self.is_first:
            try:
                value = decide()
            except Exception as error:
                self._put(key, {"fault": str(error), "is_storage": isinstance(error, OSError)})
                raise
            self._put(key, {"value": value})
            return value
        self.store.wait([key], LONGEST_CELL)
        decision = self._get(key)
        if "fault" in decision:
            raise (OSError if decision["is_storage"] else FailedElsewhereError)(decision["fault"])
        decided: Value = decision["value"]
        return decided

    def all_agree(self, mine: bool) -> bool:
        """Returns whether every worker's value is true; all workers call this at the same point."""
        if self.size == 1:
            return mine
        key = self._next("question")
        self._put(f"{key} {self.rank}", {"value": mine})
        self.store.wait(self._of_all(key), LONGEST_CELL)
        return all(self._get(one)["value"] for one in self._of_all(key))

    def run_together(self, work: Callable[[], Value]) -> Value:
        """Does the work on every worker; returns this worker's result if all succeeded.

        Raises:
            OutOfMemoryElsewhereError: If memory ran out on another worker, whatever happened here.
            Exception: Otherwise, the error of the work on this worker.
            FailedElsewhereError: If it only failed on other workers.
            GroupBrokenError: If it failed here, and others did not end in time.
        """
        if self.size == 1:
            return work()
        key = self._next("outcome")
        outside = self._within, self._turn
        self._within, self._turn = f"{key}: ", 0
        try:
            value = work()
        except GroupBrokenError:
            raise  # an inner `run_together` has reported it
        except Exception as error:
            fault, ran_out = f"{type(error).__name__}: {error}", is_out_of_memory(error)
            self._put(f"{key} {self.rank}", {"fault": fault, "ran_out": ran_out})
            self._wait_for_others(key, fault, ran_out=ran_out)
            if not ran_out:
                self._raise_if_out_of_memory(key)
            raise
        finally:
            self._within, self._turn = outside
        self._put(f"{key} {self.rank}", {"fault": "", "ran_out": False})
        self.store.wait(self._of_all(key), LONGEST_CELL)
        self._raise_if_out_of_memory(key)
        for rank, outcome in enumerate(self._of_all(key)):
            if fault := self._get(outcome)["fault"]:
                raise FailedElsewhereError(f"worker {rank + 1} of {self.size}: {fault}")
        return value

    def run_on_first(self, work: Callable[[], object]) -> None:
        """Does the work on the first worker alone; raises what `run_together` raises."""
        if self.size == 1:
            work()
        else:
            self.run_together(work if self.is_first else lambda: None)

    def _wait_for_others(self, key: str, fault: str, *, ran_out: bool) -> None:
        try:
            self.store.wait(self._of_all(key), timedelta(seconds=self.grace_s))
        except RuntimeError as late:
            raise GroupBrokenError(
                f"worker {self.rank + 1} of {self.size}: {fault}; the others had not ended the "
                f"cell {self.grace_s:g} s later",
                ran_out=ran_out,
            ) from late

    def _raise_if_out_of_memory(self, key: str) -> None:
        for rank, outcome in enumerate(self._of_all(key)):
            result = self._get(outcome)
            if result["ran_out"]:
                raise OutOfMemoryElsewhereError(
                    f"worker {rank + 1} of {self.size}: {result['fault']}"
                )

    def _put(self, key: str, value: Any) -> None:
        self.store.set(key, json.dumps(value))

    def _get(self, key: str) -> Any:
        return json.loads(self.store.get(key))

    def _of_all(self, key: str) -> list[str]:
        return [f"{key} {rank}" for rank in range(self.size)]

    def _next(self, what: str) -> str:
        self._turn += 1
        return f"{self._within}group {what} {self._turn}"


def store_of_group() -> Any:
    """Returns the store of the default process group; None where a worker is alone.

    It lives as long as the group: a restarted group begins with an empty store.
    """
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    return dist.distributed_c10d._get_default_store()


def current_worker_group() -> WorkerGroup:
    """Returns the worker group of the default process group; without one, this worker alone.

    Call it once per process: two worker groups on one store would mix up their keys.
    """
    import torch.distributed as dist

    store = store_of_group()
    if store is None:
        return WorkerGroup()
    return WorkerGroup(rank=dist.get_rank(), size=dist.get_world_size(), store=store)
