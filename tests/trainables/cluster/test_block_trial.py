"""A block on Ray: which end of a worker group is worth another start, and where groups stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.base_models import Footprint
from trainables.cells.planned import Block, RunContext
from trainables.cluster.block_trial import (
    IDLE_GROUPS,
    GroupEnd,
    backend_of,
    run_to_the_end,
    run_worker,
    scaling_of,
)
from trainables.cluster.ray_executor import RayExecutor
from trainables.storage import layout
from trainables.storage.filesystem import Storage, open_storage

LOST = GroupEnd(fault="WorkerGroupError: restarts are used up")
FULL = GroupEnd(fault="No space left on device", is_permanent=True)
WELL = GroupEnd()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


def block_of(number: int) -> Any:
    cells = [SimpleNamespace(id=f"c{place}", label=f"cell {place}") for place in range(number)]
    return SimpleNamespace(cells=cells)


def groups(
    storage: Storage, *ends: tuple[int, GroupEnd]
) -> tuple[Callable[[], GroupEnd], list[GroupEnd]]:
    """Returns what plays groups that end so many of the cells that are left, and what it played."""
    cells: Iterator[int] = iter(range(10**6))
    waiting, played = iter(ends), list[GroupEnd]()

    def run() -> GroupEnd:
        number, end = next(waiting)
        for _ in range(number):
            place = next(cells)
            kind = layout.failure if place % 2 else layout.record
            storage.write_bytes(kind(f"c{place}"), b"{}")
        played.append(end)
        return end

    return run, played


def test_a_group_that_ends_all_cells_is_the_last(storage: Storage) -> None:
    run, played = groups(storage, (3, WELL))
    assert run_to_the_end(block_of(3), storage, run) is None
    assert played == [WELL]


def test_restarts_that_were_used_up_by_recorded_failures_give_no_other_cell_up(
    storage: Storage,
) -> None:
    """60 cells too large for the machine, 12 of them a group's restarts, before 40 good ones."""
    run, played = groups(storage, *[(12, LOST)] * 5, (40, WELL))
    assert run_to_the_end(block_of(100), storage, run) is None
    assert len(played) == 6


def test_restarts_that_were_used_up_for_nothing_end_the_block(storage: Storage) -> None:
    run, played = groups(storage, (1, LOST), (0, LOST), (2, WELL))
    fault = run_to_the_end(block_of(3), storage, run)
    assert fault is not None and played == [LOST, LOST]
    assert fault.startswith("2 cells have not ended, the first is cell 1: WorkerGroupError")


def test_a_run_folder_that_takes_nothing_ends_the_block_after_one_start(storage: Storage) -> None:
    run, played = groups(storage, (2, FULL), (1, WELL))
    fault = run_to_the_end(block_of(3), storage, run)
    assert fault is not None and played == [FULL]
    assert "1 cell has not ended" in fault and "No space left on device" in fault


def test_groups_whose_machines_are_taken_away_are_followed_by_others(storage: Storage) -> None:
    run, played = groups(storage, (1, WELL), (0, WELL), (0, WELL), (1, WELL), (1, WELL))
    assert run_to_the_end(block_of(3), storage, run) is None
    assert len(played) == 5


def test_groups_that_never_begin_a_cell_are_no_endless_loop(storage: Storage) -> None:
    run, played = groups(storage, *[(0, WELL)] * 100)
    fault = run_to_the_end(block_of(2), storage, run)
    assert fault is not None and "ended early" in fault
    assert len(played) == IDLE_GROUPS


def test_a_run_folder_that_cannot_be_read_is_said(storage: Storage, monkeypatch: Any) -> None:
    def refuse(self: Storage, key: str) -> frozenset[str]:
        raise OSError("AccessDenied")

    monkeypatch.setattr(Storage, "keys", refuse)
    run, _ = groups(storage, (0, WELL))
    assert "AccessDenied" in (run_to_the_end(block_of(1), storage, run) or "")


@pytest.mark.parametrize("gpus", [0, 1, 0.5])
def test_all_workers_of_a_group_stand_on_one_node(gpus: float) -> None:
    block = Block(index=0, units=(), workers=4, cpus_per_worker=2, gpus_per_worker=gpus)
    scaling = scaling_of(block)
    assert scaling["placement_strategy"] == "STRICT_PACK"
    assert scaling["num_workers"] == 4 and scaling["use_gpu"] == (gpus > 0)
    assert scaling["resources_per_worker"] == ({"CPU": 2, "GPU": gpus} if gpus else {"CPU": 2})


def test_a_worker_is_limited_to_its_fraction_and_records_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    made: list[dict[str, Any]] = []

    def make(**given: Any) -> Any:
        made.append(given)

    def idle(runner: Any, **given: Any) -> Any:
        return SimpleNamespace(run=lambda units, claims: None)

    monkeypatch.setattr("trainables.models.oom.limit_gpu_memory", limits.append)
    monkeypatch.setattr("trainables.cells.runner.CellRunner", make)
    monkeypatch.setattr("trainables.cells.worker.Worker", idle)
    block = Block(index=0, units=(), workers=1, cpus_per_worker=1, gpus_per_worker=0.5)
    run_context = RunContext(out=str(tmp_path), tasks={}, models={})
    assert run_worker({"block": block, "run_context": run_context}) is None
    assert limits == [0.5]
    assert (made[0]["device"], made[0]["gpus"]) == ("cuda", 0.5)


@pytest.mark.ray
def test_two_workers_share_one_gpu(tmp_path: Path) -> None:
    """Ray is told of a GPU that this machine need not have: it allocates by number only."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def see_gpu() -> tuple[list[str], str, str]:
        import torch.distributed as dist
        from ray.train.torch import get_device

        from trainables.distributed.worker_group import store_of_group

        store = store_of_group()
        store.set(f"gpu {dist.get_rank()}", ",".join(map(str, ray.get_gpu_ids())))
        gpus = [bytes(store.get(f"gpu {rank}")).decode() for rank in range(dist.get_world_size())]
        return gpus, str(get_device()), dist.get_backend()

    options = {"include_dashboard": False, "log_to_driver": False}
    ray.init(address="local", num_cpus=2, num_gpus=1, **options)
    try:
        fits = RayExecutor(open_storage(str(tmp_path)), "ray").fit(Footprint(gpus_per_worker=0.5))
        assert (fits.slots, fits.workers) == (1, 2)
        block = Block(
            index=0, units=(), workers=2, cpus_per_worker=1, gpus_per_worker=fits.gpus_per_worker
        )
        trainer = TorchTrainer(
            see_gpu,
            torch_config=TorchConfig(backend=backend_of(block)),
            scaling_config=ScalingConfig(**scaling_of(block)),
            run_config=RunConfig(name="shared", storage_path=str(tmp_path)),
        )
        gpus, device, backend = trainer.fit().return_value
    finally:
        ray.shutdown()
    assert gpus == ["0", "0"]
    assert (device, backend) == ("cuda:0", "gloo"), "NCCL refuses two workers on one GPU"
