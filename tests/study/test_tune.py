"""The command on its in-process twin: what it reads, what it keeps, what it says."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.cell import Cell, cell_id
from search_spaces.frozen import digest
from search_spaces.registry import find_space
from search_spaces.tuning import FoundRecipe, ranges_of, tuned, with_parameters
from study.analysis.surface_columns import surface_table
from study.analysis.surface_rows import SurfaceRow
from study.cli.command import BAD_INPUT, FAILED, OK
from study.cost.flops import CHARS_PER_TOKEN
from study.planning.axes import load_tasks
from study.planning.planner import make_plan
from study.planning.preview.summary import format_plan
from study.reporting.figures.sensitivity import draw_sensitivity
from study.tune import main
from study.tuning.budget import largest_recipe, trial_flop
from study.tuning.searches import easy_items, make_searches
from tests.support.tuning_study import TuningStudy, questions
from trainables.cluster import in_process
from trainables.data.task import Split, SplitTask
from trainables.inference.hidden_states import StateCache
from trainables.storage.filesystem import open_storage
from trainables.tuning.search import Search

HERE = ("--address", "in-process", "--validation", "24")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> TuningStudy:
    study = TuningStudy(folder=tmp_path_factory.mktemp("tuning"))
    assert main(study.arguments("done", "full-fine-tuning", 5, *HERE)) == OK
    return study


def the_search(study: TuningStudy, method: str = "full fine-tuning") -> Search:
    storage = open_storage(str(study.folder / "none"))
    ((_, search),) = make_searches(
        find_space(study.space), method, study.data_root, storage, num_validation=24, seed=0
    )
    return search


def read(study: TuningStudy, out: str, method: str = "full_fine-tuning") -> FoundRecipe:
    return FoundRecipe.model_validate_json(study.file(out, method).read_bytes())


def test_a_search_holds_easy_labelled_and_validation_items_and_no_other(
    study: TuningStudy,
) -> None:
    search = the_search(study)
    inside = {item.id for item in (*search.items.labelled, *search.items.validation)}
    assert len(inside) == 48
    assert all(row["steps"] in (1, 2) for row in questions() if row["id"] in inside)
    _, tasks = load_tasks(find_space(study.space), study.data_root)
    split = tasks["jsonl:sums"].split
    assert inside <= set(split.pool) and not inside & set(split.test)
    sent = pickle.dumps(search)
    for row in questions():
        assert (str(row["question"]).encode() in sent) == (row["id"] in inside)


def test_gold_outside_of_the_search_changes_no_byte(
    study: TuningStudy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    items = the_search(study).items
    inside = {item.id for item in (*items.labelled, *items.validation)}
    flipped = TuningStudy(folder=tmp_path_factory.mktemp("flipped"))
    flipped.write(
        [
            row if row["id"] in inside else {**row, "answer": (int(str(row["answer"])) + 1) % 4}
            for row in questions()
        ]
    )
    assert main(flipped.arguments("done", "full-fine-tuning", 5, *HERE)) == OK
    assert read(flipped, "done").history.model_dump_json() == (
        read(study, "done").history.model_dump_json()
    )


def test_gold_inside_changes_the_search(study: TuningStudy) -> None:
    """The canary: labels that a search does read are seen in its history."""
    items = the_search(study).items
    changed = replace(items.validation[0], answer=(items.validation[0].answer + 1) % 4)
    other = replace(items, validation=(changed, *items.validation[1:]))
    assert other.hash != items.hash


def test_items_of_other_levels_need_not_exist(study: TuningStudy) -> None:
    space, tasks = load_tasks(find_space(study.space), study.data_root)
    axis, task = space.tasks[0], tasks["jsonl:sums"]
    easy = set(task.pool_ids("steps", axis.train_levels[0]))
    alone = SplitTask(
        data=replace(
            task.data,
            items=tuple(item for item in task.data.items if item.id in easy),
            measures={
                name: {id_: value for id_, value in values.items() if id_ in easy}
                for name, values in task.data.measures.items()
            },
        ),
        split=Split(test=(), pool=tuple(sorted(easy)), split_hash="alone"),
    )
    start = the_search(study).history.start
    assert easy_items(axis, alone, start, 24, (0, 0)) == easy_items(axis, task, start, 24, (0, 0))


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(
    study: TuningStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(study, "done")
    run = in_process._run_trial
    left = [0, 0]

    def stops(search: Search, base: object, states: StateCache) -> object:
        if len(left) == 0:
            raise KeyboardInterrupt
        left.pop()
        return run(search, base, states)  # type: ignore[arg-type]

    monkeypatch.setattr(in_process, "_run_trial", stops)
    arguments = study.arguments("parts", "full-fine-tuning", 5, *HERE)
    assert main(arguments) == 130
    part = read(study, "parts")
    assert part.recipe is None and part.history.trials == whole.history.trials[:2]
    with pytest.raises(ValueError, match="is unfinished"):
        tuned(study.file("parts", "full_fine-tuning"))
    monkeypatch.setattr(in_process, "_run_trial", run)
    assert main(arguments) == OK
    parts = read(study, "parts")
    assert (parts.history, parts.recipe) == (whole.history, whole.recipe)
    monkeypatch.setattr(in_process, "_run_trial", None)
    before = study.file("parts", "full_fine-tuning").read_bytes()
    capsys.readouterr()
    assert main(arguments) == OK
    assert "5 of 5 trials done" in capsys.readouterr().out
    assert study.file("parts", "full_fine-tuning").read_bytes() == before


def test_a_stopped_search_can_be_ended_with_fewer_trials(
    study: TuningStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study.file("done", "full_fine-tuning")
    out = study.folder / "fewer" / "small" / "tune" / path.name
    out.parent.mkdir(parents=True)
    plain = json.loads(path.read_text()) | {"recipe": None}
    out.write_text(json.dumps(plain))
    monkeypatch.setattr(in_process, "_run_trial", None)
    assert main(study.arguments("fewer", "full-fine-tuning", 4, *HERE)) == OK
    assert tuned(out) == tuned(path)


def test_the_winner_is_pinned_with_its_history(study: TuningStudy) -> None:
    found = read(study, "done")
    history = found.history
    best = max(
        (trial for trial in history.trials if trial.state == "complete"),
        key=lambda trial: trial.values[-1],
    )
    recipe = tuned(study.file("done", "full_fine-tuning"))
    pinned = {"search": history.hash, "search_labels": 48}
    assert recipe == with_parameters(history.start, {**best.parameters, **pinned})
    plain = json.loads(study.file("done", "full_fine-tuning").read_text())
    assert plain["history"]["start"].pop("search_labels") is None
    assert history.hash == digest(plain["history"], length=16)
    assert found.num_labels == recipe.search_labels == 48
    assert len(found.seconds) == len(history.trials) == 5
    assert found.num_pruned == sum(trial.state == "pruned" for trial in history.trials)
    assert {"optuna", "torch", "ray"} <= found.packages.keys()
    # The first trial is the space's own recipe, for each epoch there is a value.
    assert with_parameters(history.start, history.trials[0].parameters) == history.start
    for trial in history.trials:
        epochs = trial.parameters["epochs"]
        assert len(trial.values) == epochs or (trial.state, epochs > 2) == ("pruned", True)


def test_found_cells_have_ids_of_their_own(study: TuningStudy) -> None:
    recipe = tuned(study.file("done", "full_fine-tuning"))
    by_hand = recipe.model_copy(update={"search": None, "search_labels": None})
    fixed = {"model": "files:0", "dtype": "float32", "task": "t", "data_hash": "d", "version": 1}
    drawn = {"split_hash": "s", "prompt": "p", "training_hash": "h", "seed": 0}
    recipes = (recipe, by_hand, recipe.model_copy(update={"search": "0" * 16}))
    ids = {cell_id(Cell.model_validate(fixed | drawn | {"recipe": each})) for each in recipes}
    assert len(ids) == 3


def test_labels_of_the_search_stand_in_plan_and_surface(study: TuningStudy) -> None:
    """24 to train on and 24 to judge by; the cells' own are counted as before."""
    space = find_space(study.space)
    found = tuned(study.file("done", "full_fine-tuning"))
    probe = next(r for r in space.methods if r.method == "linear probe")
    plan, _ = make_plan(space.model_copy(update={"methods": (found, probe)}), study.data_root)
    by_method = {(p.recipe.method, p.num_labels, p.search_labels) for p in plan.points}
    assert by_method == {("full fine-tuning", 24, 48), ("linear probe", 24, None)}
    assert "48 labels chose the full fine-tuning recipe of" in format_plan(plan)
    table = surface_table([SurfaceRow(point=point, num_cells=1) for point in plan.points])
    columns = table.select(["method", "search_labels", "num_labels"]).to_pylist()
    assert {tuple(row.values()) for row in columns} == {
        ("full fine-tuning", 48, 24),
        ("linear probe", None, 24),
    }
    assert "recipe_search_labels" not in table.column_names


def test_the_price_of_a_search_is_an_upper_bound_by_hand(study: TuningStudy) -> None:
    """Every trial of 8 epochs: 24 items trained, 24 answered after each."""
    search = the_search(study)
    items = (*search.items.labelled, *search.items.validation)
    characters = sum(len(item.question) + sum(map(len, item.choices)) for item in items)
    forward = 2 * (search.source.num_params or 0) * characters / 48 / CHARS_PER_TOKEN
    assert largest_recipe(search).epochs == 8  # type: ignore[union-attr]
    assert trial_flop(search) == pytest.approx(8 * (4 * 24 + 24) * forward)
    probe = the_search(study, "linear probe")
    assert trial_flop(probe) == pytest.approx(48 * forward)
    assert largest_recipe(the_search(study, "lora")).rank == 64  # type: ignore[union-attr]


def test_a_search_over_its_budget_starts_nothing(
    study: TuningStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_process, "_run_trial", None)
    priced = ("--instance", "g6.xlarge", "--max-cost")
    arguments = study.arguments("priced", "full-fine-tuning", 3, *HERE, *priced, "0.1")
    assert main(arguments) == BAD_INPUT
    said = capsys.readouterr()
    assert "an upper bound" in said.out and "more than --max-cost 0.1" in said.err
    assert not list((study.folder / "priced").rglob("*.json"))


def test_a_search_within_its_budget_runs(
    study: TuningStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(study.arguments("free", "linear-probe", 1, *HERE, "--max-cost", "0")) == OK
    assert "of the cells left to run: $0, no GPUs are used" in capsys.readouterr().out


def test_a_file_changed_by_hand_is_refused(study: TuningStudy, tmp_path: Path) -> None:
    plain = json.loads(study.file("done", "full_fine-tuning").read_text())
    plain["history"]["trials"][0]["values"][0] += 0.25
    (tmp_path / "changed.json").write_text(json.dumps(plain))
    with pytest.raises(ValueError, match="the file was edited"):
        tuned(tmp_path / "changed.json")
    with pytest.raises(ValueError, match="no tuned recipe"):
        tuned(tmp_path / "absent.json")


def test_another_search_of_the_same_name_is_refused(
    study: TuningStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = study.arguments("done", "full-fine-tuning", 5, *HERE[:2], "--validation", "20")
    assert main(arguments) == BAD_INPUT
    said = capsys.readouterr().err
    assert "other items_hash, num_validation" in said and "another --out" in said


@pytest.mark.parametrize(("method", "trials"), [("linear-probe", 3), ("in-context", 2)])
def test_methods_without_epochs_have_one_value(
    method: str, trials: int, study: TuningStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(study.arguments("others", method, trials, *HERE)) == OK
    said = capsys.readouterr().out
    found = read(study, "others", method.replace("linear-probe", "linear_probe"))
    labelled = {"linear-probe": 24, "in-context": 16}[method]
    assert f"{labelled} to train on + 24 to validate with = {labelled + 24}" in said
    assert all(len(trial.values) == 1 for trial in found.history.trials)
    assert found.recipe is not None
    assert set(found.history.trials[0].parameters) == set(ranges_of(found.recipe))


def test_a_recipe_that_fails_is_a_finding_and_no_winner(
    study: TuningStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("the loss is nan")

    monkeypatch.setattr(in_process, "run_trial", fails)
    assert main(study.arguments("failed", "full-fine-tuning", 2, *HERE)) == FAILED
    captured = capsys.readouterr()
    assert "FAILED: RuntimeError: the loss is nan" in captured.out
    assert "no trial was completed" in captured.err
    found = read(study, "failed")
    assert found.recipe is None and [t.state for t in found.history.trials] == ["failed"] * 2


def test_bad_input_is_refused_before_anything_starts(
    study: TuningStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = TuningStudy(folder=tmp_path / "paper", split="paper")
    assert main(paper.arguments("runs", "lora", 2, *HERE)) == BAD_INPUT
    assert "split 'paper'" in capsys.readouterr().err
    few = study.arguments("bad", "lora", 2, "--validation", "5")
    assert main(few) == BAD_INPUT
    assert "at least 20 others" in capsys.readouterr().err
    assert main(["micro", "--method", "full-fine-tuning", "--out", str(tmp_path)]) == BAD_INPUT
    assert "no recipe of full fine-tuning" in capsys.readouterr().err
    assert not (study.folder / "bad").exists() and not (paper.folder / "runs").exists()


def test_the_search_is_drawn_beside_its_file(study: TuningStudy) -> None:
    path = study.file("done", "full_fine-tuning")
    svg = path.with_suffix(".svg").read_text()
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert svg.startswith("<?xml")
    drawing = draw_sensitivity(read(study, "done"))
    assert drawing is not None and drawing.svg.decode() == svg and "5 trials" in drawing.alt
