"""Workers that run one cell together: same decisions, and nobody waits for one that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch.distributed as dist

from trainables.distributed.worker_group import (
    FailedElsewhereError,
    GroupBrokenError,
    OutOfMemoryElsewhereError,
    WorkerGroup,
)
from trainables.models.oom import CPU_MESSAGE, is_out_of_memory


@pytest.fixture
def together() -> Iterator[Callable[[Callable[[WorkerGroup], Any]], list[Any]]]:
    """Runs a function on three workers at once; returns what each gave or raised."""
    store = dist.HashStore()
    groups = [WorkerGroup(rank=rank, size=3, store=store, grace_s=0.5) for rank in range(3)]

    def outcome(work: Callable[[WorkerGroup], Any], group: WorkerGroup) -> Any:
        try:
            return work(group)
        except Exception as error:
            return error

    with ThreadPoolExecutor(3) as pool:
        yield lambda work: list(pool.map(lambda group: outcome(work, group), groups))


def test_the_first_worker_decides_for_all(together: Any) -> None:
    assert (
        together(lambda group: group.broadcast_decision(lambda: [group.rank, "a"]))
        == [[0, "a"]] * 3
    )
    assert together(lambda group: group.broadcast_decision(lambda: group.rank == 0)) == [True] * 3
    assert (
        together(lambda group: group.broadcast_decision(lambda: {"b": group.rank}))
        == [{"b": 0}] * 3
    )


def test_work_that_goes_well_gives_each_its_own_result(together: Any) -> None:
    assert together(lambda group: group.run_together(lambda: group.rank * 10)) == [0, 10, 20]


def test_a_failure_on_one_fails_all_and_the_next_work_goes_on(together: Any) -> None:
    def fail(group: WorkerGroup) -> int:
        if group.rank == 1:
            raise ValueError("item 7 is too long")
        return group.rank

    first, second, third = together(lambda group: group.run_together(lambda: fail(group)))
    assert isinstance(second, ValueError)
    for other in (first, third):
        assert isinstance(other, FailedElsewhereError)
        assert str(other) == "worker 2 of 3: ValueError: item 7 is too long"
    assert together(lambda group: group.run_together(lambda: group.rank)) == [0, 1, 2]


def test_a_failure_on_all_is_each_ones_own(together: Any) -> None:
    def fail() -> None:
        raise ValueError("no number")

    assert all(
        isinstance(error, ValueError) for error in together(lambda group: group.run_together(fail))
    )


def test_a_failure_breaks_the_group_where_others_do_not_end(together: Any) -> None:
    def work(group: WorkerGroup) -> Any:
        if group.rank == 0:  # waits inside a collective for the one that failed
            return "still waiting"
        if group.rank == 1:
            return group.run_together(lambda: {}["key"])
        return "still waiting"

    first, second, _ = together(work)
    assert first == "still waiting"
    assert isinstance(second, GroupBrokenError)
    assert "worker 2 of 3: KeyError: 'key'" in str(second)


def test_what_the_first_worker_cannot_decide_is_an_error_on_all(together: Any) -> None:
    """The others would else wait for its word for days."""

    def refuse(error: Exception) -> None:
        raise error

    full = OSError("No space left on device")
    for error in together(lambda group: group.broadcast_decision(lambda: refuse(full))):
        assert isinstance(error, OSError) and "No space left on device" in str(error)
    first, *others = together(lambda group: group.broadcast_decision(lambda: refuse(KeyError("a"))))
    assert isinstance(first, KeyError)
    assert all(isinstance(error, FailedElsewhereError) for error in others)
    assert together(lambda group: group.broadcast_decision(lambda: "on")) == ["on"] * 3


def test_all_agree_asks_every_worker(together: Any) -> None:
    assert together(lambda group: group.all_agree(True)) == [True] * 3
    assert together(lambda group: group.all_agree(group.rank != 2)) == [False] * 3


def test_memory_that_runs_out_on_one_is_every_workers_error(together: Any) -> None:
    """Whatever else went wrong beside it: all try again with less."""

    def work(rank: int) -> int:
        if rank == 1:
            raise MemoryError("full")
        if rank == 2:
            raise ValueError("a collective was ended")
        return rank

    first, second, third = together(lambda group: group.run_together(lambda: work(group.rank)))
    assert isinstance(first, OutOfMemoryElsewhereError)
    assert "worker 2 of 3: MemoryError: full" in str(first)
    assert type(second) is MemoryError
    assert isinstance(third, OutOfMemoryElsewhereError)
    assert all(is_out_of_memory(error) for error in (first, second, third))


def test_a_group_that_memory_breaks_says_so_and_is_not_tried_again_as_it_is(together: Any) -> None:
    def work(group: WorkerGroup) -> Any:
        if group.rank == 0:
            return "still waiting"
        return group.run_together(
            lambda: (_ for _ in ()).throw(RuntimeError(f"{CPU_MESSAGE}: 9 bytes."))
        )

    for error in together(work)[1:]:
        assert isinstance(error, GroupBrokenError) and error.ran_out
        assert not is_out_of_memory(error)


def test_workers_that_left_their_work_at_different_places_understand_each_other(
    together: Any,
) -> None:
    """The first two fail before they are told something that the third is told."""

    def work(group: WorkerGroup) -> str:
        if group.is_first:
            group.broadcast_decision(lambda: "told")
            raise ValueError("late")
        if group.rank == 1:
            raise ValueError("early")
        return group.broadcast_decision(lambda: "never asked")

    assert all(
        isinstance(error, ValueError | FailedElsewhereError)
        for error in together(lambda group: group.run_together(lambda: work(group)))
    )
    assert (
        together(lambda group: group.run_together(lambda: group.broadcast_decision(lambda: "next")))
        == ["next"] * 3
    )


def test_work_within_work_fails_on_all_and_says_it_once(together: Any) -> None:
    def inner(group: WorkerGroup) -> int:
        if group.rank == 1:
            raise ValueError("unreadable")
        return group.rank

    first, second, third = together(
        lambda group: group.run_together(lambda: group.run_together(lambda: inner(group)))
    )
    assert isinstance(second, ValueError)
    for other in (first, third):
        assert str(other) == "worker 2 of 3: ValueError: unreadable"
    assert together(
        lambda group: group.run_together(lambda: group.run_together(lambda: group.rank))
    ) == [0, 1, 2]


def test_a_worker_alone_asks_nobody() -> None:
    group = WorkerGroup()
    assert group.is_first
    assert group.broadcast_decision(lambda: object) is object
    assert group.run_together(lambda: 5) == 5
    assert group.all_agree(True) and not group.all_agree(False)
    with pytest.raises(ValueError, match="own"):
        group.run_together(lambda: (_ for _ in ()).throw(ValueError("own")))
