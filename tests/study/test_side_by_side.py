"""Adapters that train side by side: groups from the plan, equal bytes after a stop, class B."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from search_spaces.registry import find_space
from search_spaces.space import Space
from study.blocks import missing_units
from study.planned import Plan
from study.planner import Inputs, make_plan
from tests.study.small_study import SmallStudy
from trainables import cells, layout, side_by_side
from trainables.adapter_groups import is_group
from trainables.block import Site
from trainables.checkpoints import update_reached
from trainables.methods import Setting, many_adapters
from trainables.methods.adapter_stacks import Stacks
from trainables.methods.many_adapters import TrainedGroup
from trainables.records import Record, read_record
from trainables.storage import open_storage
from trainables.worker import Worker

TOLERANCE = 5e-3
"""Nats, in fp32 (docs/methods.md)."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return SmallStudy(folder=tmp_path_factory.mktemp("study"))


def planned(study: SmallStudy, side_by_side: int) -> tuple[Plan, Inputs]:
    space = find_space(study.arguments[0])
    qlora = [recipe for recipe in space.methods if recipe.method == "qlora"]
    footprint = space.footprint.model_copy(update={"side_by_side": side_by_side})
    space = Space.model_validate(dict(space.__dict__) | {"methods": qlora, "footprint": footprint})
    return make_plan(space, study.folder / "data")


def run(plan: Plan, inputs: Inputs, out: Path, wanted: set[str] | None = None) -> dict[str, bytes]:
    missing = [cell for cell in plan.cells if wanted is None or cell.id in wanted]
    units = missing_units(plan, missing)
    worker = Worker(tasks=inputs.tasks, site=Site(out=str(out), models=inputs.models))
    worker.run(units, range(len(units)))
    assert not list(out.glob("cells/*/failure.json"))
    return {cell.id: (out / layout.scores(cell.id)).read_bytes() for cell in plan.cells}


def log_probs(path: Path) -> np.ndarray:
    return np.concatenate([np.array(row) for row in pq.read_table(path)["log_probs"].to_pylist()])


def test_groups_change_no_id_and_hold_cells_that_differ_in_draw_only(study: SmallStudy) -> None:
    alone, together = planned(study, 1)[0], planned(study, 4)[0]
    assert {c.id for c in alone.cells} == {c.id for c in together.cells}
    assert sorted(len(unit) for unit in together.units) == [1, 2, 4]  # zero-shot; 6 adapters
    assert all(len(unit) == 1 for unit in alone.units)


def test_cells_side_by_side_agree_with_cells_alone_and_say_so(
    study: SmallStudy, tmp_path: Path
) -> None:
    alone, inputs = planned(study, 1)
    together, _ = planned(study, 4)
    run(alone, inputs, tmp_path / "alone")
    run(together, inputs, tmp_path / "together")
    for cell in alone.cells:
        paths = [tmp_path / part / layout.scores(cell.id) for part in ("alone", "together")]
        first, second = map(log_probs, paths)
        assert np.abs(first - second).max() < TOLERANCE
        record = read_record(open_storage(str(tmp_path / "together")), cell.id)
        is_trained = cell.cell.seed is not None
        assert record.execution["class"] == ("B" if is_trained else "A")
        assert ("side_by_side" in record.execution) == is_trained
        assert (tmp_path / "together" / layout.curve(cell.id)).exists() == is_trained


def trained_of(plan: Plan, out: Path) -> list[tuple[Record, list[dict[str, float]]]]:
    """Returns the record and the curve of every cell that was trained."""
    storage = open_storage(str(out))
    ids = [cell.id for cell in plan.cells if cell.cell.seed is not None]
    curves = [(out / layout.curve(id_)).read_text().splitlines() for id_ in ids]
    return [
        (read_record(storage, id_), [json.loads(line) for line in lines])
        for id_, lines in zip(ids, curves, strict=True)
    ]


@pytest.mark.parametrize("fault", [None, "no linear layer"], ids=["beside", "alone"])
def test_a_group_that_ran_out_of_memory_says_so(
    study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None
) -> None:
    def full(settings: Sequence[Setting], *rest: Any) -> TrainedGroup:
        found = many_adapters.fit_many(settings, *rest)
        if settings[0].execution.token_share > 0.5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return found

    monkeypatch.setattr(side_by_side, "fit_many", full)
    if fault is not None:
        monkeypatch.setattr(many_adapters, "_fault", lambda *args: fault)
    plan, inputs = planned(study, 8)
    run(plan, inputs, tmp_path)
    for record, curve in trained_of(plan, tmp_path):
        assert (record.execution["class"], record.execution["token_share"]) == ("B", 0.5)
        assert record.execution.get("side_by_side") == (6 if fault is None else None)
        assert [note for note in record.notes if "batches of 0.5 of the usual" in note]
        steps = [row["step"] for row in curve]
        assert steps == sorted(set(steps)) and steps


def test_cells_that_their_architecture_made_train_alone_are_as_alone(
    study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run(*planned(study, 1), tmp_path / "alone")
    monkeypatch.setattr(many_adapters, "_fault", lambda *args: "no linear layer")
    plan, inputs = planned(study, 8)
    assert run(plan, inputs, tmp_path / "group") == alone
    for record, _ in trained_of(plan, tmp_path / "group"):
        assert record.execution["class"] == "A"
        assert "side_by_side" not in record.execution and "token_share" not in record.execution


def test_memory_that_runs_out_while_answering_keeps_what_training_logged(
    study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = cells.restore
    failed: list[float] = []

    def full(setting: Setting, *rest: Any) -> Any:
        if setting.execution.token_share > 0.5:
            failed.append(setting.execution.token_share)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return answer(setting, *rest)

    monkeypatch.setattr(cells, "restore", full)
    plan, inputs = planned(study, 8)
    run(plan, inputs, tmp_path)
    assert failed == [1.0] * 6
    for record, curve in trained_of(plan, tmp_path):
        assert record.execution["token_share"] == 0.5 and record.execution["side_by_side"] == 6
        assert curve


def test_a_group_that_was_stopped_half_way_gets_the_same_bytes(
    study: SmallStudy, tmp_path: Path
) -> None:
    plan, inputs = planned(study, 4)
    whole = run(plan, inputs, tmp_path / "whole")
    run(plan, inputs, tmp_path / "parts")
    group = next(unit for unit in plan.units if len(unit) == 4)
    for id_ in group[1:3]:
        for name in (layout.record(id_), layout.scores(id_)):
            (tmp_path / "parts" / name).unlink()
    assert run(plan, inputs, tmp_path / "parts", wanted=set(group[1:3])) == whole
    left = missing_units(plan, [cell for cell in plan.cells if cell.id == group[1]])
    assert [[cell.id for cell in unit] for unit in left] == [list(group)] and is_group(left[0])


class LostWorkerError(BaseException):
    """The process is gone."""


def test_a_group_whose_worker_was_lost_in_training_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, inputs = planned(SmallStudy(folder=tmp_path / "study", epochs=5), 8)
    whole = run(plan, inputs, tmp_path / "whole")
    monkeypatch.setattr("trainables.worker.Timer", lambda **options: lambda: True)
    real, steps = Stacks.clip, list[int]()

    def clip(self: Stacks, largest: float) -> Tensor:
        steps.append(1)
        if len(steps) == 4:
            raise LostWorkerError
        return real(self, largest)

    monkeypatch.setattr(Stacks, "clip", clip)
    out = tmp_path / "parts"
    with pytest.raises(LostWorkerError):
        run(plan, inputs, out)
    storage = open_storage(str(out))
    (in_hand,) = storage.list(layout.RUNNING)
    assert update_reached(storage, in_hand.removesuffix(".json")) == 3
    assert run(plan, inputs, out) == whole
    assert len(steps) == 6, "5 updates, and the one that was lost"
    assert not list(storage.list(layout.CHECKPOINTS))
    assert not list(storage.list(layout.RUNNING))
