"""An interrupted training goes on and ends as if nothing had been; what is left is removed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load

from tests.support.tiny_models import save_folder
from tests.support.zero_group import RECIPES, TEST, cell_inputs
from tests.support.zero_group import load as load_model
from trainables.cells.run import run_cell
from trainables.methods.base.interface import Execution
from trainables.methods.training.resume import TrainingProgress
from trainables.models.loading import Base
from trainables.storage import layout
from trainables.storage.checkpoints import Checkpoint, Timer, clean_checkpoints, read_progress
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import write_record

NUM_UPDATES = 6
KIND = {"host": "here", "workers": 1}


class LostWorkerError(BaseException):
    """The process of a training is gone."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_model(save_folder(tmp_path_factory.mktemp("base"), "llama", "bytes"))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


def execution(storage: Storage, kind: Mapping[str, object] = KIND) -> Execution:
    checkpoint = Checkpoint(storage=storage, cell_id="c", execution=kind, is_due=lambda: True)
    return Execution(checkpoint=checkpoint)


def run(method: str, base: Base, how: Execution, *, lost_after: int | None = None) -> tuple:
    """Returns curve, scores and state; the worker is lost after `lost_after` logged updates."""
    curve: list[Mapping[str, float]] = []

    def log(row: Mapping[str, float]) -> None:
        if len(curve) == lost_after:
            raise LostWorkerError
        curve.append(row)

    inputs = cell_inputs(method, how, curve)
    object.__setattr__(inputs.context, "log", log)
    result = run_cell(inputs, base)
    scores = [row.tobytes() for row in result.answers.log_probs or []]
    return curve, scores, {k: v.numpy().tobytes() for k, v in (result.state or {}).items()}


def num_updates_of(storage: Storage) -> int | None:
    progress = Checkpoint(storage=storage, cell_id="c", execution=KIND).read_progress()
    return None if progress is None else progress.update


@pytest.fixture(scope="module", autouse=True)
def dropout() -> None:
    RECIPES["dropout"] = RECIPES["lora"].model_copy(update={"dropout": 0.3})


@pytest.mark.parametrize("method", ["lora", "dropout", "full"])
def test_an_interrupted_training_ends_with_the_same_bytes(
    base: Base, storage: Storage, method: str
) -> None:
    undisturbed = run(method, base, Execution())
    with pytest.raises(LostWorkerError):
        run(method, base, execution(storage), lost_after=4)
    assert num_updates_of(storage) == 4
    assert run(method, base, execution(storage)) == undisturbed
    assert len(undisturbed[0]) == NUM_UPDATES


def test_a_resumed_training_does_only_the_rest(base: Base, storage: Storage) -> None:
    with pytest.raises(LostWorkerError):
        run("lora", base, execution(storage), lost_after=4)
    with pytest.raises(LostWorkerError):  # it logs the four again, then is lost at the fifth
        run("lora", base, execution(storage), lost_after=5)
    assert num_updates_of(storage) == 5
    shares = [name for name in storage.list(layout.checkpoint("c")) if name != "progress.json"]
    assert shares == ["5-0.safetensors"]


@pytest.mark.parametrize("other", [{**KIND, "host": "there"}, {**KIND, "workers": 2}])
def test_another_kind_of_host_or_group_begins_anew(
    base: Base, storage: Storage, other: dict[str, object]
) -> None:
    with pytest.raises(LostWorkerError):
        run("lora", base, execution(storage), lost_after=4)
    with pytest.raises(LostWorkerError):
        run("lora", base, execution(storage, other), lost_after=1)
    progress = Checkpoint(storage=storage, cell_id="c", execution=other).read_progress()
    assert progress is not None
    assert progress.update == 1


@pytest.mark.parametrize("content", [b"", b"half a file"])
def test_a_broken_share_begins_anew(base: Base, storage: Storage, content: bytes) -> None:
    with pytest.raises(LostWorkerError):
        run("lora", base, execution(storage), lost_after=4)
    storage.write_bytes(layout.checkpoint_share("c", 4, 0), content)
    assert run("lora", base, execution(storage)) == run("lora", base, Execution())


def test_a_share_holds_weights_and_both_moments(base: Base, storage: Storage) -> None:
    with pytest.raises(LostWorkerError):
        run("full", base, execution(storage), lost_after=2)
    share = load(storage.read_bytes(layout.checkpoint_share("c", 2, 0)))
    number = len(list(base.model.parameters()))
    for name in ("weight", "exp_avg", "exp_avg_sq", "step"):
        assert sum(key.rpartition(" ")[0] == name for key in share) == number
    assert all(float(value) == 2.0 for key, value in share.items() if key.startswith("step "))


def test_the_timer_says_so_once_an_interval() -> None:
    now = [0.0]
    timer = Timer(interval_s=10.0, clock=lambda: now[0])
    found = []
    for second in (1.0, 9.9, 10.0, 11.0, 19.9, 20.0, 55.0, 56.0):
        now[0] = second
        found.append(timer())
    assert found == [False, False, True, False, False, True, True, False]


def test_a_notice_makes_it_time_at_once_and_then_more_often() -> None:
    now, leaving = [0.0], [False]
    timer = Timer(interval_s=600.0, is_leaving=lambda: leaving[0], clock=lambda: now[0])
    found = []
    for second, notice in ((5.0, False), (6.0, True), (7.0, True), (25.9, True), (26.0, True)):
        now[0], leaving[0] = second, notice
        found.append(timer())
    assert found == [False, True, False, False, True]


def test_only_checkpoints_that_a_cell_will_go_on_from_are_kept(storage: Storage) -> None:
    day = 24 * 3600.0
    inputs = cell_inputs("zero-shot", Execution(), [])
    finished = write_finished(storage, inputs)
    for id_ in (finished, "waiting", "of-another-study", "forgotten"):
        Checkpoint(storage=storage, cell_id=id_, execution=KIND).write_progress(1, [])
    progress = read_progress(storage, "waiting")
    assert progress is not None
    now = progress.written
    storage.write_bytes(layout.checkpoint_progress("forgotten"), b'{"written": 0}')
    removed = clean_checkpoints(storage, {"waiting"}, now=now + day)
    assert sorted(removed) == sorted([finished, "forgotten"])
    assert list(storage.list(layout.CHECKPOINTS)) == ["of-another-study", "waiting"]
    assert clean_checkpoints(storage, {"waiting"}, now=now + 15 * day) == ["of-another-study"]


def write_finished(storage: Storage, inputs: object) -> str:
    from search_spaces.cell import cell_id
    from trainables.storage.records import scores_table

    cell = inputs.context.cell
    ids = [item.id for item in TEST]
    rows = [torch.zeros(len(item.choices)).double().numpy() for item in TEST]
    table = scores_table(ids, [item.answer for item in TEST], rows)
    write_record(storage, cell, table, seconds={"total": 1.0}, execution={})
    return cell_id(cell)


class Shared:
    """What two threads' engines agree by: all wait for each other, as in a collective."""

    def __init__(self) -> None:
        self.values, self.barrier = [0.0, 0.0], threading.Barrier(2, timeout=20)

    def engine(self, rank: int) -> Any:
        def mean(value: float) -> float:
            self.values[rank] = value
            self.barrier.wait()
            found = sum(self.values) / 2
            self.barrier.wait()
            return found

        return SimpleNamespace(
            rank=rank,
            mean=mean,
            state=lambda: {"weight": torch.full((2,), float(rank))},
            load_state=lambda state: None,
        )

    def run(self, storage: Storage, updates: int) -> list[Any]:
        """Lets both resume and make some updates; returns what they did by then, or raised."""

        def one(rank: int) -> Any:
            checkpoint = Checkpoint(
                storage=storage, cell_id="c", execution=KIND, is_due=lambda: True
            )
            progress = TrainingProgress(
                checkpoint=checkpoint,
                engine=self.engine(rank),
                log=lambda row: None,
                device=torch.device("cpu"),
            )
            try:
                progress.restore()
                for _ in range(updates):
                    progress.done({"step": 1.0})
            except OSError as error:
                return str(error)
            return progress.num_done

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(one, range(2)))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_share_that_one_worker_cannot_write_fails_the_training_on_all(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """One that went on would wait for the other in the next step."""
    real, key = Storage.write_bytes, layout.checkpoint_share("c", 1, rank)

    def write(self: Storage, to: str, content: bytes) -> None:
        if to == key:
            raise OSError("No space left on device")
        real(self, to, content)

    monkeypatch.setattr(Storage, "write_bytes", write)
    said = Shared().run(storage, 1)
    assert said[rank] == "No space left on device"
    assert said[1 - rank] == "another worker could not write its share of a checkpoint"


@pytest.mark.parametrize("key", ["progress", "2-1"])
def test_a_checkpoint_that_one_worker_cannot_read_is_no_ones(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    assert Shared().run(storage, 2) == [2, 2]
    assert Shared().run(storage, 0) == [2, 2]
    real, left = Storage.read_bytes, [1]

    def read(self: Storage, wanted: str) -> bytes:
        if key in wanted.rpartition("/")[2] and left:
            left.pop()
            raise OSError("the bucket refuses")
        return real(self, wanted)

    monkeypatch.setattr(Storage, "read_bytes", read)
    assert Shared().run(storage, 0) == [0, 0]
