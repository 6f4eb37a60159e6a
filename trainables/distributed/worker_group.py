"""Workers that run one cell together: they take the same steps, and learn of each other's faults.

What they tell each other goes through the process group's own key-value store, not through its
collective operations: a worker that failed can say so while the others wait inside one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from trainables.distributed.process_store import store_of_group
from trainables.models.oom import is_out_of_memory

GRACE_S = 60.0
"""How long a worker that failed waits for the others to end the cell. One that does not is taken to
wait for the failed worker inside a collective operation."""

LONGEST_CELL = timedelta(days=7)
"""A worker that is done waits so long for the others: one that died ends the group much sooner."""

Value = TypeVar("Value")


class FailedElsewhereError(RuntimeError):
    """The cell failed on another worker of the group, so it failed."""


class OutOfMemoryElsewhereError(MemoryError):
    """Memory ran out on another worker of the group: all try again together."""


class GroupBrokenError(Exception):
    """The cell failed here while other workers cannot end it: the group has to start anew."""

    def __init__(self, message: str, *, ran_out: bool = False) -> None:
        super().__init__(message)
        self.ran_out = ran_out
        """Whether what failed is that memory ran out."""


@dataclass(kw_only=True, slots=True)
class WorkerGroup:
    """One worker's place in a group that runs every cell together; alone by default."""

    rank: int = 0
    size: int = 1
    store: Any = None
    """The process group's `torch.distributed.Store`; None: alone."""
    grace_s: float = GRACE_S
    _within: str = field(init=False, default="")
    """The key of the work in hand. What is said within it is counted within it: workers that left
    it at different places count alike afterwards."""
    _turn: int = field(init=False, default=0)

    @property
    def is_first(self) -> bool:
        """Whether this worker writes what the group finds."""
        return self.rank == 0

    def broadcast_decision(self, decide: Callable[[], Value]) -> Value:
        """Returns what the first worker decides (plain JSON); the others do not ask themselves.

        Raises:
            Exception: On the first worker, what deciding raised.
            OSError: On the others, if that was one: the run folder is everyone's.
            FailedElsewhereError: On the others, if it was another error.
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
        word = json.loads(self.store.get(key))
        if "fault" in word:
            raise (OSError if word["is_storage"] else FailedElsewhereError)(word["fault"])
        decided: Value = word["value"]
        return decided

    def all_agree(self, mine: bool) -> bool:
        """Says whether it is so on every worker; all ask at the same place of their work."""
        if self.size == 1:
            return mine
        key = self._next("question")
        self._put(f"{key} {self.rank}", {"value": mine})
        self.store.wait(self._of_all(key), LONGEST_CELL)
        return all(self._get(one)["value"] for one in self._of_all(key))

    def run_together(self, work: Callable[[], Value]) -> Value:
        """Does the work, and returns what it gives if it went well on every worker.

        Raises:
            OutOfMemoryElsewhereError: If memory ran out on another worker, whatever happened here.
            Exception: Else what the work raised here.
            FailedElsewhereError: If it went well here only.
            GroupBrokenError: If it failed here, and others did not end it in time.
        """
        if self.size == 1:
            return work()
        key = self._next("outcome")
        outside = self._within, self._turn
        self._within, self._turn = f"{key}: ", 0
        try:
            value = work()
        except GroupBrokenError:
            raise  # said already, by work within this work
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
            word = self._get(outcome)
            if word["ran_out"]:
                raise OutOfMemoryElsewhereError(
                    f"worker {rank + 1} of {self.size}: {word['fault']}"
                )

    def _put(self, key: str, word: Any) -> None:
        self.store.set(key, json.dumps(word))

    def _get(self, key: str) -> Any:
        return json.loads(self.store.get(key))

    def _of_all(self, key: str) -> list[str]:
        return [f"{key} {rank}" for rank in range(self.size)]

    def _next(self, what: str) -> str:
        self._turn += 1
        return f"{self._within}group {what} {self._turn}"


def current_worker_group() -> WorkerGroup:
    """Returns this worker's place in the default process group; alone where there is none.

    Once a process: worker groups of one group would take each other's words for their own.
    """
    import torch.distributed as dist

    store = store_of_group()
    if store is None:
        return WorkerGroup()
    return WorkerGroup(rank=dist.get_rank(), size=dist.get_world_size(), store=store)
