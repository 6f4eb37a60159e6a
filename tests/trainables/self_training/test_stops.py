"""A round of self-training that is stopped anywhere in it ends as if it had not been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD
from search_spaces.supervision import Condition, SelfTraining
from study.planning.planner import Inputs, make_plan
from tests.trainables.self_training.test_studies import chain, files_of, run, selection
from trainables.cells import runner
from trainables.cells.planned import PlannedCell
from trainables.data.task import SplitTask
from trainables.methods.training.resume import TrainingProgress
from trainables.self_training import rounds
from trainables.storage import layout
from trainables.storage.checkpoints import Checkpoint, update_reached
from trainables.storage.filesystem import open_storage

NUM_TEST = 40


class LostWorkerError(BaseException):
    """The machine is gone: nothing that handles errors runs."""


@pytest.fixture(scope="module")
def study() -> tuple[list[PlannedCell], Inputs]:
    """Two rounds of LoRA on the lab's smallest base, and their start; few test items."""
    options = SelfTraining(rule="quantile", threshold=0.5, memory="accumulate", max_unlabelled=16)
    learns = Condition(
        name="easy_ssrm", levels=("easy",), unlabelled=("hard",), rounds=2, self_training=options
    )
    axis = TaskAxis(
        task="micro",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        train_on_all=False,
        conditions=(learns,),
    )
    recipe = LoRA(n_train=8, epochs=2, learning_rate=1e-3, batch_size=4)
    space = Space(
        name="stops",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(axis,),
        methods=(recipe,),
        seeds=1,
    )
    plan, inputs = make_plan(space, None)
    task = inputs.tasks["micro"]
    few = SplitTask(data=task.data, split=replace(task.split, test=task.split.test[:NUM_TEST]))
    cells = chain(plan)
    assert [cell.cell.round for cell in cells] == [0, 1, 2]
    return cells, replace(inputs, tasks={"micro": few})


@pytest.fixture(scope="module")
def whole(
    study: tuple[list[PlannedCell], Inputs], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, bytes]:
    """What the rounds leave that nothing stops."""
    cells, inputs = study
    return files_of(cells, run(cells, inputs, tmp_path_factory.mktemp("whole")))


def stop_and_go_on(
    study: tuple[list[PlannedCell], Inputs], out: Path, patch: pytest.MonkeyPatch
) -> Mapping[str, bytes]:
    cells, inputs = study
    with pytest.raises(LostWorkerError):
        run(cells, inputs, out)
    patch.undo()
    files = files_of(cells, run(cells, inputs, out))
    for cell in cells[1:]:
        assert any(row["trained_on"] for row in selection(out, cell))
    return files


def test_a_round_that_has_labelled_and_not_trained(
    study: tuple[list[PlannedCell], Inputs],
    whole: Mapping[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, labelled = rounds.training_examples, []

    def stopped(context: Any, *rest: Any) -> Any:
        labelled.append(context.cell.round)
        if context.cell.round == 2:
            raise LostWorkerError
        return plain(context, *rest)

    monkeypatch.setattr(rounds, "training_examples", stopped)
    files = stop_and_go_on(study, tmp_path, monkeypatch)
    assert labelled == [1, 2], "stopped in the second round"
    assert files == whole


def test_a_second_round_in_the_middle_of_its_training(
    study: tuple[list[PlannedCell], Inputs],
    whole: Mapping[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells, _ = study
    last = cells[-1].id
    write = Checkpoint.write_progress

    def stopped(self: Checkpoint, update: int, rows: Any) -> None:
        write(self, update, rows)
        if self.cell_id == last and update == 3:
            assert update_reached(open_storage(str(tmp_path)), last) == 3
            raise LostWorkerError

    restore, went_on_at = TrainingProgress.restore, []

    def noted(self: TrainingProgress) -> None:
        restore(self)
        went_on_at.append(self.num_done)

    with pytest.MonkeyPatch.context() as kept:
        kept.setattr(TrainingProgress, "restore", noted)
        monkeypatch.setattr(runner, "Timer", lambda is_leaving: lambda: True)
        monkeypatch.setattr(Checkpoint, "write_progress", stopped)
        files = stop_and_go_on(study, tmp_path, monkeypatch)
    # Start, round 1 and round 2 begin at 0; what is left of round 2 behind its third update.
    assert went_on_at == [0, 0, 0, 3]
    assert files == whole
    assert not (tmp_path / layout.checkpoint_progress(last)).exists()
