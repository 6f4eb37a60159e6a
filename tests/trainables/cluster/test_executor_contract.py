"""What every executor must do: the same assertions for this process and for a Ray cluster."""

from __future__ import annotations

import os
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import Footprint
from search_spaces.registry import find_space
from search_spaces.tuning import Trial, num_epochs, with_parameters
from study.artifacts.plan import Plan
from study.planning.planner import Inputs, make_plan
from study.running.blocks import pack_blocks
from study.running.executor import open_executor
from study.tuning.searches import make_searches
from tests.support.small_study import scores_of
from tests.support.tuning_study import TuningStudy
from tests.support.workers import run_context_of, worker_of
from trainables import stop_signals
from trainables.cells.planned import PlannedCell
from trainables.cells.run import CellInputs, CellResult, run_cell
from trainables.cluster.capacity import IN_PROCESS
from trainables.cluster.executor import Executor
from trainables.cluster.ray_executor import RayExecutor
from trainables.errors import ClusterError
from trainables.models.loading import Base
from trainables.storage import layout
from trainables.storage.failures import read_failure
from trainables.storage.filesystem import open_storage
from trainables.storage.lock import held, token_of
from trainables.storage.records import read_record
from trainables.tuning.trial import load_search_base, run_trial

ONE = Footprint(workers=1, gpus_per_worker=0)


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder in which an executor keeps its own files."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module", params=[IN_PROCESS, pytest.param(None, marks=pytest.mark.ray)])
def executor(request: pytest.FixtureRequest, own_folder: Path) -> Iterator[Executor]:
    storage = open_storage(str(own_folder))
    with open_executor(request.param, storage, "contract") as opened:
        yield opened
    assert not list(storage.list(layout.ray("contract"))), "an executor removes its own files"


def kept_rows(executor: Executor, own_folder: Path, key: str) -> list[dict[str, object]] | None:
    """Returns the rows that Tune received, of the file that outlives Ray; None without Ray."""
    if not isinstance(executor, RayExecutor):
        assert not (own_folder / key).exists()
        return None
    rows: list[dict[str, object]] = pq.read_table(own_folder / key).to_pylist()
    return rows


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> list[TuneViews]:
    """What Tune itself shows of each run on Ray, read before the executor deletes its files."""
    from ray import tune

    taken, fit = list[TuneViews](), tune.Tuner.fit

    def fit_and_look(tuner: tune.Tuner) -> tune.ResultGrid:
        grid = fit(tuner)
        taken.append(TuneViews.of(grid))
        return grid

    monkeypatch.setattr(tune.Tuner, "fit", fit_and_look)
    return taken


@dataclass(frozen=True, kw_only=True)
class TuneViews:
    """The views of a run."""

    last: list[dict[str, object]]
    """`ResultGrid.get_dataframe()`: the last row of each trial."""
    rows: list[dict[str, object]]
    """Every row that Tune's table had, of all trials."""
    scalars: dict[str, list[float]]
    """TensorBoard: name of a curve -> its values, of all trials."""

    @classmethod
    def of(cls, grid: Any) -> TuneViews:
        rows, scalars = list[dict[str, object]](), dict[str, list[float]]()
        for result in grid:
            rows += result.metrics_dataframe.to_dict("records")
            for file in Path(result.path).glob("events.out.tfevents.*"):
                for name, value in _scalars(file):
                    scalars.setdefault(name, []).append(value)
        return cls(last=grid.get_dataframe().to_dict("records"), rows=rows, scalars=scalars)


def _scalars(file: Path) -> Iterator[tuple[str, float]]:
    """Yields the curves of a TensorBoard file; a record is length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content = file.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        yield from ((each.tag, each.simple_value) for each in event.summary.value)


FACTORS = {
    *("model", "parameters", "task", "measure", "method", "condition", "train_level", "gap"),
    *("seed", "threshold", "accuracy", "seconds"),
}
"""What a row of any run tells of its cell or its trial."""


def check_views(views: Sequence[TuneViews], kept: Sequence[Mapping[str, object]]) -> None:
    """Checks that Tune's views show the rows that the run folder keeps."""
    for view in views:
        assert view.last and all(set(row) >= FACTORS for row in (*view.last, *view.rows))
    accuracies = sorted(
        value for view in views for row in view.rows if (value := row["accuracy"]) == value
    )
    assert accuracies == sorted(v for row in kept if (v := row["accuracy"]) is not None)
    drawn = sorted(v for view in views for v in view.scalars["ray/tune/accuracy"] if v == v)
    assert drawn == pytest.approx(accuracies, abs=1e-6), "TensorBoard has 32 bits"
    last = {row["accuracy"] for view in views for row in view.last if row["accuracy"] is not None}
    assert last <= {*accuracies, *(value for value in last if value != value)}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> TuningStudy:
    return TuningStudy(folder=tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def planned(study: TuningStudy) -> tuple[Plan, Inputs]:
    return make_plan(find_space(study.space), study.data_root)


def some_cells(plan: Plan, number: int) -> list[PlannedCell]:
    return [cell for cell in plan.cells if cell.cell.recipe.method == "in-context"][:number]


def failing(id_: str, cells: Sequence[PlannedCell]) -> Callable[[CellInputs, Base], CellResult]:
    """Returns what runs cells, but raises for one of them."""
    (unable,) = [planned.cell for planned in cells if planned.id == id_]

    def run(inputs: CellInputs, base: Base) -> CellResult:
        if inputs.context.cell == unable:
            raise ValueError("cannot be run")
        return run_cell(inputs, base)

    return run


def test_a_footprint_fits(executor: Executor) -> None:
    fits = executor.fit(ONE)
    assert fits.slots >= 1
    assert (fits.workers, fits.cpus_per_worker, fits.gpus_per_worker) == (1, 1, 0)
    assert (fits.engine, fits.offload) == ("plain", False)


def test_every_cell_ends_with_a_record_or_a_failure(
    executor: Executor,
    own_folder: Path,
    planned: tuple[Plan, Inputs],
    views: list[TuneViews],
    tmp_path: Path,
) -> None:
    plan, inputs = planned
    cells = some_cells(plan, 4)
    units = [(cell,) for cell in cells]
    worker_of(inputs, tmp_path / "alone").run(units, range(4))
    expected = scores_of(tmp_path / "alone")
    out, unable = tmp_path / "runs", cells[1].id
    worker_of(inputs, out).run(units, [0])
    kept = (out / layout.record(cells[0].id)).stat().st_mtime_ns

    blocks = pack_blocks(units, executor.fit(ONE))
    run_context = run_context_of(inputs, out, run_cell=failing(unable, cells))
    assert not executor.run_blocks(blocks, run_context), "a failed cell is no error of its block"

    assert scores_of(out) == {id_: rows for id_, rows in expected.items() if id_ != unable}
    storage = open_storage(str(out))
    assert read_failure(storage, unable) == "ValueError: cannot be run"
    assert (out / layout.record(cells[0].id)).stat().st_mtime_ns == kept, "it had a record"
    assert not list(storage.list(layout.RUNNING)), "no claim is left"
    rows = kept_rows(executor, own_folder, layout.tune_results("contract"))
    if rows is not None:
        assert {row["cell"]: row["accuracy"] for row in rows} == {
            cell.id: None if cell.id == unable else read_record(storage, cell.id).accuracy
            for cell in cells
        }
        check_views(views, rows)
        assert {row["cell"] for view in views for row in view.rows} >= {cell.id for cell in cells}


def test_a_signal_ends_the_run_after_the_current_cell(
    executor: Executor, planned: tuple[Plan, Inputs], tmp_path: Path
) -> None:
    plan, inputs = planned
    cells = some_cells(plan, 4)
    storage = open_storage(str(tmp_path / "runs"))
    kill = partial(os.kill, os.getpid(), signal.SIGTERM)

    def stop_sweep(inputs: CellInputs, base: Base) -> CellResult:
        import time

        kill()
        time.sleep(3)  # a cluster's workers hear of it a second later
        return run_cell(inputs, base)

    blocks = pack_blocks([tuple(cells)], executor.fit(ONE))
    with (
        pytest.raises(KeyboardInterrupt),
        stop_signals.signals_handled(),
        held(storage),
        stop_signals.cells_stop_first(),
    ):
        run_context = run_context_of(inputs, tmp_path / "runs", run_cell=stop_sweep)
        executor.run_blocks(blocks, replace(run_context, token=token_of(storage)))
    assert list(scores_of(tmp_path / "runs")) == [cells[0].id]
    assert not list(storage.list(layout.RUNNING)), "no claim is left"


def test_a_search_continues_and_its_trials_have_the_values_of_their_recipes(
    executor: Executor, own_folder: Path, study: TuningStudy, views: list[TuneViews]
) -> None:
    ((_, search),) = make_searches(
        find_space(study.space),
        "full fine-tuning",
        study.data_root,
        open_storage(str(study.folder / "runs")),
        num_validation=24,
        seed=0,
    )
    trials, seconds = list[Trial](), list[float]()

    def on_trial(trial: Trial, duration: float) -> None:
        trials.append(trial)
        seconds.append(duration)

    one = replace(executor.fit(ONE), slots=1)
    executor.run_search(search, 1, on_trial, fits=one)
    later = replace(search, history=search.history.model_copy(update={"trials": tuple(trials)}))
    executor.run_search(later, 3, on_trial, fits=one)
    assert len(trials) == 3, "trials of earlier runs count"
    assert all(duration > 0 for duration in seconds)

    base, start = load_search_base(search, "cpu"), search.history.start
    recipes = [with_parameters(start, trial.parameters) for trial in trials]
    assert recipes[0] == start, "the space's own recipe is tried first"
    for recipe, trial in zip(recipes, trials, strict=True):
        values: list[float] = []
        run_trial(search, recipe, base, values.append)
        assert trial.state != "failed", trial.reason
        assert trial.values == tuple(values[: len(trial.values)])
        assert (len(trial.values) == num_epochs(recipe)) == (trial.state == "complete")
    rows = kept_rows(executor, own_folder, layout.search_results("contract"))
    if rows is not None:
        values = Counter(value for trial in trials for value in trial.values)
        assert Counter(row["accuracy"] for row in rows) == values, "a row for each epoch"
        rates = {trial.parameters["learning_rate"] for trial in trials}
        assert {row["learning_rate"] for row in rows} == rates
        check_views(views, rows)


@pytest.mark.ray
@pytest.mark.parametrize("executor", [None], indirect=True)
def test_one_node_that_does_not_see_the_run_folder_ends_the_run_with_one_error(
    executor: Executor, planned: tuple[Plan, Inputs], tmp_path: Path
) -> None:
    """The workers look into another folder than the driver, as on another machine."""
    plan, inputs = planned
    fits = replace(executor.fit(ONE), slots=2)
    blocks = pack_blocks([(cell,) for cell in some_cells(plan, 2)], fits)
    run_context = replace(run_context_of(inputs, tmp_path / "elsewhere"), token="of the driver")
    with pytest.raises(ClusterError, match=r"does not see the run folder .*elsewhere"):
        executor.run_blocks(blocks, run_context)
    assert not (tmp_path / "elsewhere").exists(), "the workers wrote no file"
