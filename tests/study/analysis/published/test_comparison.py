"""A study beside the paper: what matches, what ours and theirs are, and what is left alone."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import (
    PAPER_LORA,
    FullFineTuning,
    InContext,
    LinearProbe,
    LoRA,
    QLoRA,
    TrainedRecipe,
    num_labels,
)
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.published.cost import cost
from search_spaces.studies.published.gap import gap
from search_spaces.studies.published.hase2024 import hase2024
from search_spaces.studies.published.mdl import hase2024_mdl
from search_spaces.studies.published.noise import noise
from search_spaces.supervision import Labels
from study import report
from study.analysis.published.comparison import Comparison, compare, comparison_parts
from study.analysis.published.matching import is_of_method
from study.analysis.published.papers import PAPERS, PublishedResult
from study.analysis.surface import Surface, compute_surface
from study.formatting import text_of
from tests.support.fakes import FakeStudy, fake_space, fake_study
from tests.support.paper_study import PaperStudy, paper_study
from trainables.storage.filesystem import open_storage

RESULTS = PAPERS["hase2024"].results
LLAMA = "meta-llama/Llama-2-70b-hf"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PaperStudy:
    """The space `noise`, finished; tests do not write to it."""
    folder = tmp_path_factory.mktemp("noise")
    return paper_study(noise(), open_storage(str(folder / "runs")), folder).finish()


@pytest.fixture(scope="module")
def surface(study: PaperStudy) -> Surface:
    return compute_surface(study.storage, study.plan)


@pytest.fixture(scope="module")
def comparison(study: PaperStudy, surface: Surface) -> Comparison:
    return compare(study.plan, surface, "hase2024")


def strategyqa(root: Path, model: str = LLAMA, **changes: object) -> FakeStudy:
    """A finished study of StrategyQA's steps under the paper's names."""
    levels = (
        Level(name="simple", low=1, high=2),
        Level(name="middling", low=3, high=3),
        Level(name="tough", low=4, high=5),
    )
    axis = TaskAxis(task="strategyqa", measure="steps", train_levels=levels, test_levels=levels[2:])
    space = fake_space(
        **{
            "models": (BaseModelRef(name=model),),
            "tasks": (axis,),
            "methods": (InContext(k=4), LinearProbe(n_train=160)),
            "seeds": 2,
            "contrasts": (),
            **changes,
        }
    )
    made = FakeStudy(storage=open_storage(str(root)), space=space, items_per_level=400, num_steps=5)
    return made.write().finish()


def pairs(comparison: Comparison, source: str) -> dict[tuple[object, ...], float | None]:
    """Condition, noise, labels and test level -> ours, of one figure."""
    return {
        (p.published.condition, p.published.noise, p.published.num_labels, p.published.test):
        p.ours.value
        for p in comparison.compared
        if p.published.source.startswith(source)
    }  # fmt: skip


def test_noise_finds_the_curves_of_figure_7(study: PaperStudy, comparison: Comparison) -> None:
    found = pairs(comparison, "Figure 7")
    assert len(found) == 10
    assert len([p for p in comparison.compared if p.published.source == "Figure 7"]) == 10
    cells = [
        cell
        for cell in study.plan.cells
        if cell.cell.labels.kind == "paper noise" and cell.cell.labels.rate == 0.4
    ]
    assert {cell.condition for cell in cells} == {"hard, 40 % redrawn"} and len(cells) == 5
    ours = found["hard", 0.4, 160, "hard"]
    assert ours == pytest.approx(study.accuracy(cells, "education", 1.0), abs=0.02)
    assert pairs(comparison, "Figure 6") == {
        # 160 easy labels, and 160 hard ones for the price of 320.
        ("easy", None, 160, "hard"): found["easy", None, 160, "hard"],
        ("hard", None, 160, "hard"): found["hard", None, 160, "hard"],
    }


def test_sgr_is_that_of_the_surface(comparison: Comparison, surface: Surface) -> None:
    row = next(row for row in surface.rows if row.point.condition == "easy")
    (pair,) = [p for p in comparison.compared if p.published.source == "Figure 15"]
    assert pair.published.value == 0.69
    assert pair.ours.value == row.sgr.estimate and pair.ours.low == row.sgr.low
    assert pair.difference == pytest.approx((row.sgr.estimate or 0) - 0.69)


def test_the_order_of_cells_does_not_matter(
    study: PaperStudy, surface: Surface, comparison: Comparison
) -> None:
    reverse = study.plan.model_copy(update={"cells": study.plan.cells[::-1]})
    again = compare(reverse, surface, "hase2024")
    assert [pair.ours.value for pair in again.compared] == pytest.approx(
        [pair.ours.value for pair in comparison.compared]
    )


def test_what_does_not_match_is_counted_by_what_is_missing(comparison: Comparison) -> None:
    matched = {id(pair.published) for pair in comparison.compared}
    assert sum(comparison.unmatched.values()) == len(RESULTS) - len(matched)
    other_models = [p for p in RESULTS if p.model == "Mixtral-8x7B-v0.1"]
    assert comparison.unmatched["of Mixtral-8x7B-v0.1, which is not in this study"] == len(
        other_models
    )
    assert any("arc, which is not in this study" in why for why in comparison.unmatched)
    # Realised noise (8), random labels, and nothing else has no published number.
    assert (comparison.num_arms, comparison.num_alone) == (1 + 2 + 16 + 1, 8 + 1)


def test_levels_are_known_by_their_bounds_and_models_by_their_last_name(tmp_path: Path) -> None:
    made = strategyqa(tmp_path, model="/models/llama-2-70B-HF")
    found = compare(made.plan, compute_surface(made.storage, made.plan), "hase2024")
    talk = pairs(found, "the first author's talk")
    assert set(talk) == {
        (condition, None, labels, test)
        for condition, labels in (("zero-shot", None), ("easy", 4), ("hard", 4))
        for test in ("hard", "all")
    }
    accuracy = {
        test: _accuracy(made, "simple", "in-context", steps)
        for test, steps in (("hard", {4, 5}), ("all", {1, 2, 3, 4, 5}))
    }
    assert talk["easy", None, 4, "hard"] == pytest.approx(accuracy["hard"])
    assert talk["easy", None, 4, "all"] == pytest.approx(accuracy["all"])
    assert pairs(found, "Table 4")["all", None, 4, "all"] is not None
    assert pairs(found, "Figure 5").keys() == {("zero-shot", None, None, "hard")}, "no reasoning"
    assert any("split is frozen" in note for note in found.notes)
    assert pairs(found, "Figure 16").keys() == {("zero-shot", None, None, "hard")}


def test_other_labels_or_methods_do_not_match(tmp_path: Path) -> None:
    made = strategyqa(tmp_path, methods=(InContext(k=5),))
    found = compare(made.plan, compute_surface(made.storage, made.plan), "hase2024")
    assert {pair.published.condition for pair in found.compared} == {"zero-shot"}
    assert any("number of labels that this study does not have" in w for w in found.unmatched)


def test_unfinished_cells_are_said(tmp_path: Path) -> None:
    made = strategyqa(tmp_path, methods=(LinearProbe(n_train=160),))
    made.fail_cell(next(cell for cell in made.plan.cells if cell.condition == "tough"))
    found = compare(made.plan, compute_surface(made.storage, made.plan), "hase2024")
    assert not [p for p in found.compared if p.published.condition == "hard"]
    assert not [p for p in found.compared if p.published.quantity == "sgr"]
    assert any("unfinished cells" in why for why in found.unmatched)


def test_the_report_prints_and_shows_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strategyqa(tmp_path)
    run = str(tmp_path / "fake")
    assert report.main([run]) == 0
    page = tmp_path / "fake" / "report" / "index.html"
    assert "Comparison with the paper" not in page.read_text()
    assert "Comparison" not in capsys.readouterr().out
    assert report.main([run, "--against", "hase2024"]) == 0
    said = capsys.readouterr().out
    assert "Comparison with Hase et al. 2024" in said
    (line,) = [line for line in said.splitlines() if "linear probe, SGR" in line]
    assert re.search(r"easy -> hard\s.*0\.61\s+[+-]\d\.\d\d\s+Figure 15$", line)
    assert "<h2>Comparison with the paper</h2>" in page.read_text()
    assert report.main([run, "--against", "hase2023"]) == 2
    assert "no published results 'hase2023'; known are hase2024" in capsys.readouterr().err


def test_no_match_is_said_plainly(tmp_path: Path) -> None:
    made = fake_study(tmp_path, seeds=2)
    found = compare(made.plan, compute_surface(made.storage, made.plan), "hase2024")
    text = text_of(comparison_parts(found))
    assert not found.compared
    assert "No published number has the coordinates of this study." in text
    assert f"{len(RESULTS)} published numbers have no match in this study" in text


def one(**wanted: object) -> PublishedResult:
    (found,) = [p for p in RESULTS if all(getattr(p, k) == v for k, v in wanted.items())]
    return found


def test_facts_agree_with_each_other() -> None:
    assert one(source="Figure 8", quantity="sgr", model="Llama-2-7b-hf").value == 1.09
    gaps = {p.condition: p.value for p in RESULTS if p.quantity == "sgr" and p.task == "science"
            and (p.model, p.method) == ("Llama-2-70b-hf", "in-context")}  # fmt: skip
    assert gaps == {"3rd grade": 0.57, "8th grade": 0.74, "high school": 0.98}
    assert all(0 < p.value < 1 for p in RESULTS if p.quantity == "accuracy")
    assert Counter(p.noise for p in RESULTS if p.source == "Figure 7") == {
        None: 2, 0.05: 1, 0.1: 2, 0.2: 2, 0.3: 1, 0.4: 1, 0.6: 1
    }  # fmt: skip


def test_the_effect_of_a_chain_of_thought_is_among_the_facts() -> None:
    found = {
        (p.method, p.reasoning, p.condition): p.value
        for p in RESULTS
        if (p.task, p.test, p.model) == ("strategyqa", "hard", "Llama-2-70b-hf")
        and (p.source.endswith("effect of a chain of thought") or p.source == "Figure 5")
    }
    for method, reasoning, easy, hard in (
        ("in-context", False, 0.677, 0.609),
        ("in-context", True, 0.662, 0.683),
        ("qlora", False, 0.601, 0.619),
        ("qlora", True, 0.693, 0.731),
    ):
        assert found[method, reasoning, "easy"] == easy
        assert found[method, reasoning, "hard"] == hard


@pytest.mark.parametrize(
    ("recipe", "is_meant"),
    [
        (PAPER_LORA, True),
        (LoRA(quantization="int8"), True),
        (QLoRA(), True),
        (LoRA(), False),
        (FullFineTuning(), False),
    ],
)
def test_the_paper_means_adapters_on_a_quantized_base_by_qlora(
    recipe: TrainedRecipe, is_meant: bool
) -> None:
    assert is_of_method(recipe, "qlora") == is_meant


PAPERS_SPACES = (hase2024(), hase2024_mdl(), gap(), noise(), cost())


def is_planned(published: PublishedResult, space: Space) -> bool:
    """Says whether a space has the arm that a published number is of."""
    models = {model.name.rpartition("/")[2] for model in space.models}
    return published.model in models and any(
        (axis.task, axis.measure) == (published.task, published.measure or axis.measure)
        and any(has_recipe(published, axis, recipe) for recipe in space.recipes(axis))
        for axis in space.tasks
    )


def has_recipe(published: PublishedResult, axis: TaskAxis, recipe: TrainedRecipe) -> bool:
    if (recipe.reasoning is not None) != published.reasoning:
        return False
    if published.condition == "zero-shot":
        return True
    labels = {condition.name: condition for condition in (*axis.plain_conditions, *axis.conditions)}
    numbers = {
        condition.n_train or num_labels(recipe)
        for name, condition in labels.items()
        if published.condition in (name, *condition.levels)
        and condition.labels
        == (
            Labels(kind="trivial")
            if published.condition == "trivial"
            else Labels(kind="paper noise", rate=published.noise)
            if published.noise
            else Labels()
        )
    }
    return is_of_method(recipe, published.method) and published.num_labels in numbers


def test_every_number_of_the_paper_has_an_arm_in_a_space_that_states_it() -> None:
    away = [p for p in RESULTS if not any(is_planned(p, space) for space in PAPERS_SPACES)]
    assert {(p.model, p.source) for p in away} == {("Qwen-72B", p.source) for p in away}
    assert {p.source for p in away} == {
        "Figure 16 (k = 4: from the released notebook)",
        "Figure 18",
        "Figure 18, from rounded accuracies",
    }
    by_models = [p for p in RESULTS if ":" in (p.measure or "")]
    assert Counter(p.quantity for p in by_models) == {"accuracy": 15, "sgr": 5}


def _accuracy(made: FakeStudy, condition: str, method: str, steps: set[int]) -> float:
    right: list[bool] = []
    for cell in made.cells(condition, made.plan.models[0].name, method):
        table = pq.read_table(f"{made.storage.root}/cells/{cell.id}/scores.parquet").to_pylist()
        right += [r["correct"] for r in table if int(r["item_id"].split("-")[1]) in steps]
    return sum(right) / len(right)
