"""A recipe that a search found, in the report of the study that uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import InContext, QLoRA
from search_spaces.tuning import FoundRecipe, History, Trial, ranges_of, with_parameters
from study.analysis.names import outcome
from study.analysis.surface import compute_surface
from study.analysis.tuned_recipes import TunedRecipe, recipe_pairs, tuned_recipes
from study.reporting.figures.sensitivity import draw_search
from study.reporting.files import write_report
from study.reporting.sections.recipe_search import search_text
from tests.support.fakes import EASY, FakeStudy, fake_space
from tests.support.page_data import chart_rows, page_rows
from trainables.storage.filesystem import open_storage

START = QLoRA(n_train=8, epochs=2)


def found_recipe() -> FoundRecipe:
    """Four trials: the third is the best of those that ended; one stopped early is ahead of it."""

    def trial(rate: float, *values: float, state: str = "complete") -> Trial:
        parameters = {"learning_rate": rate, "rank": 8, "epochs": 2, "batch_size": 8}
        parameters["warm_up"] = 0.0
        return Trial.model_validate({"parameters": parameters, "values": values, "state": state})

    trials = (
        trial(1e-3, 0.5, 0.55),
        trial(2e-3, 0.9, state="pruned"),
        trial(3.1e-4, 0.6, 0.75),
        Trial(parameters={}, values=(), state="failed", reason="out of memory"),
    )
    history = History(
        model="files:small", dtype="float32", task="toy", measure="steps", level=EASY,
        prompt="toy-prompt", start=START, ranges=ranges_of(START), study_seed=0, seed=0,
        items_hash="items", num_labelled=8, num_validation=40, trials=trials,
    )  # fmt: skip
    best = {**trials[2].parameters, "search": history.hash, "search_labels": 48}
    return FoundRecipe(
        recipe=with_parameters(START, best),  # type: ignore[arg-type]
        history=history,
        model_name="small",
        num_labels=48,
        num_pruned=1,
    )


def study_with(root: Path, recipe: object) -> FakeStudy:
    space = fake_space(models=(BaseModelRef(name="small"),), methods=(recipe,), contrasts=())
    return FakeStudy(storage=open_storage(str(root)), space=space).write().finish()


def searches_of(study: FakeStudy) -> tuple[TunedRecipe, ...]:
    return tuned_recipes(study.storage, study.plan)


@pytest.mark.parametrize("space", ["fake", "tuned elsewhere"])
def test_the_search_of_a_recipe_is_found_in_the_run_folder(tmp_path: Path, space: str) -> None:
    found = found_recipe()
    study = study_with(tmp_path, found.recipe)
    # Another search, and a file that is none, lie beside it.
    other = found.model_copy(
        update={"recipe": None, "history": found.history.model_copy(update={"seed": 1})}
    )
    files = {"a": "{}", "b": other.model_dump_json(), "c": found.model_dump_json()}
    for name, content in files.items():
        study.storage.write_bytes(f"{space}/tune/{name}.json", content.encode())
    (tuned,) = searches_of(study)
    assert tuned.found == found
    drawing = draw_search(tuned)
    assert drawing is not None and drawing.png.startswith(b"\x89PNG")
    assert drawing.name == f"search-{found.history.hash}"
    text = search_text(tuned)
    assert "Found for small on toy by steps: learning_rate=0.00031, rank=8," in text
    assert "Of 40 validation items of level easy 75.0 % were right (standard error 6.8;" in text
    assert "the best of 4 trials is an optimistic estimate" in text
    assert "Stopped early: 1, failed: 1." in text
    assert "Labels that the search counted: 48 (8 to train on, 40 to validate with)" in text


def test_the_report_shows_the_search_and_its_figure(tmp_path: Path) -> None:
    found = found_recipe()
    study = study_with(tmp_path, found.recipe)
    study.storage.write_bytes("fake/tune/c.json", found.model_dump_json().encode())
    write_report(study.storage, study.plan, compute_surface(study.storage, study.plan))
    page = study.storage.read_bytes("fake/report/index.html").decode()
    assert '<section id="searches">' in page and '<a href="#searches">' in page
    assert "Labels that the search counted: 48" in page
    tried = [trial for trial in found.history.trials if trial.values]
    shown = chart_rows(page, f"search-{found.history.hash}")
    assert len(shown) == len(tried) * len(found.history.ranges)
    assert sorted({row["y"] for row in shown}) == sorted({100 * t.values[-1] for t in tried})
    assert len(page_rows(page, "trials-1")) == len(tried)


def test_a_search_whose_file_is_not_at_hand_is_named(tmp_path: Path) -> None:
    found = found_recipe()
    (tuned,) = searches_of(study_with(tmp_path, found.recipe))
    assert (tuned.found, draw_search(tuned)) == (None, None)
    assert f"The file of search {found.history.hash} is not in the run folder" in search_text(tuned)


def test_recipes_chosen_by_hand_have_none(tmp_path: Path) -> None:
    study = study_with(tmp_path, START)
    found = found_recipe()
    study.storage.write_bytes("fake/tune/c.json", found.model_dump_json().encode())
    assert searches_of(study) == ()


def test_sgr_with_the_default_stands_beside_sgr_with_the_found_recipe(tmp_path: Path) -> None:
    found = found_recipe()
    space = fake_space(
        models=(BaseModelRef(name="small"),),
        methods=(START, found.recipe, InContext(k=4)),
        contrasts=(),
    )
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    surface = compute_surface(study.storage, study.plan)
    pairs = recipe_pairs(surface.rows)
    # The default and the found recipe share sources and test levels; in-context was not searched.
    assert len(pairs) == sum(row.point.recipe == START for row in surface.rows) == 4
    for pair in pairs:
        assert pair.default.point.recipe == START and pair.searched.point.recipe == found.recipe
        same = ("condition", "test_level", "num_labels")
        assert all(getattr(pair.default.point, n) == getattr(pair.searched.point, n) for n in same)
        assert "learning_rate 0.0001 -> 0.00031" in pair.changes
        assert "search" not in pair.changes
    write_report(study.storage, study.plan, surface)
    page = study.storage.read_bytes("fake/report/index.html").decode()
    table = page_rows(page, "recipe-pairs")
    assert len(table) == 4
    assert all("learning_rate 0.0001 -> 0.00031" in row["default -> found"] for row in table)
    for pair, row in zip(pairs, table, strict=True):
        assert (row["SGR, default"], row["SGR, found"]) == (
            outcome(pair.default),
            outcome(pair.searched),
        )


def test_a_found_recipe_without_its_default_has_no_table(tmp_path: Path) -> None:
    study = study_with(tmp_path, found_recipe().recipe)
    surface = compute_surface(study.storage, study.plan)
    assert recipe_pairs(surface.rows) == ()
    write_report(study.storage, study.plan, surface)
    page = study.storage.read_bytes("fake/report/index.html").decode()
    assert '<section id="searches">' in page and "SGR with the default and" not in page
