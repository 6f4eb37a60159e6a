"""Model-based measures: planned, computed from unseen items only, kept, and cut by."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import spearmanr

import study.measure
import study.planning.hardness_cells
from search_spaces.base_models import BaseModelRef, Footprint
from search_spaces.frozen import digest
from search_spaces.hardness import ModelHardness
from search_spaces.levels import Level
from search_spaces.recipes import FullFineTuning, LinearProbe, LoRA, Reasoning
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.published.mdl import mdl
from study.cli.command import BAD_INPUT, FAILED, OK
from study.cli.pricing import load_pricing
from study.data import main as data_main
from study.planning.hardness.files import read_hardness, write_hardness
from study.planning.hardness.values import HardnessValues, NotMeasuredError, hardness_values
from study.planning.hardness_cells import HardnessPlan, plan_hardness
from study.planning.planner import make_plan
from study.sweep import main as sweep_main
from tests.support.tiny_models import make_model, save_folder
from trainables.cells.planned import PlannedCell
from trainables.cluster.capacity import IN_PROCESS
from trainables.data.draws import Draw
from trainables.data.prompts.formats import get_prompt
from trainables.errors import UnavailableError
from trainables.storage import layout
from trainables.storage.failures import write_failure
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import scores_table, write_record

HALVES = (Level(name="easy", low=0.0, high=0.5), Level(name="hard", low=0.5, high=1.0))
STEPS = (Level(name="easy", low=1, high=1), Level(name="hard", low=2, high=2))
TASK = "jsonl:own"
SIZES = (3, 12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    kinds = ("llama", "gpt2")
    return tuple(str(save_folder(folder / kind, kind, "bytes")) for kind in kinds)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty questions, two of them the same and four in one group."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "jsonl").mkdir()
    rows: list[dict[str, object]] = [
        {
            "id": f"q{number:03}",
            "question": f"ab {number} cd?",
            "choices": [f"{chr(97 + number % 7)}{c} {chr(98 + c)}" for c in range(4)],
            "answer": number % 4,
            "steps": number % 2 + 1,
        }
        for number in range(60)
    ]
    rows[1] |= {name: rows[0][name] for name in ("question", "choices", "answer")}
    for row in rows[2:6]:
        row["group"] = "together"
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "jsonl" / "own.jsonl").write_text(text)
    return folder


def space_of(models: Iterable[str], measure: str = "mdl:prequential", seeds: int = 2) -> Space:
    is_cut_by_models = measure.startswith("mdl")
    return Space(
        name="cut",
        models=tuple(BaseModelRef(name=name) for name in models),
        tasks=(
            TaskAxis(
                task=TASK,
                measure=measure,
                train_levels=HALVES if is_cut_by_models else STEPS,
                test_levels=(HALVES if is_cut_by_models else STEPS)[1:],
                train_on_all=False,
                scale="quantiles" if is_cut_by_models else "ordinal",
                bounds="quantiles" if is_cut_by_models else "values",
            ),
        ),
        methods=(LinearProbe(n_train=4),),
        seeds=2,
        hardness=(ModelHardness(method=LinearProbe(), sizes=SIZES, seeds=seeds),),
    )


def logits(cell: PlannedCell, id_: str) -> list[float]:
    rng = random.Random(f"{cell.id} {id_}")
    return [rng.uniform(-3.0, 3.0) for _ in range(4)]


def finish(planned: HardnessPlan, storage: Storage, cells: Iterable[PlannedCell]) -> None:
    """Writes made-up records of cells."""
    task = planned.inputs.tasks[TASK]
    for cell in cells:
        trained = trained_on(planned, cell)
        items = [item for item in task.data.items if item.id not in trained]
        table = scores_table(
            [item.id for item in items],
            [item.answer for item in items],
            [np.array(logits(cell, item.id)) for item in items],
        )
        write_record(storage, cell.cell, table, seconds={"total": 1.0}, execution={"class": "A"})


def trained_on(planned: HardnessPlan, cell: PlannedCell) -> set[str]:
    task = planned.inputs.tasks[TASK]
    return set() if cell.draws is None else set(task.drawn_ids(cell.draws).labelled)


def values_of(planned: HardnessPlan, storage: Storage) -> HardnessValues:
    (source,) = planned.sources
    return hardness_values(storage, planned.inputs.tasks[TASK], source)


@pytest.fixture
def planned(models: tuple[str, str], data: Path) -> HardnessPlan:
    return plan_hardness(space_of(models), data)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "runs"))


def test_every_model_and_size_has_its_cells_and_draws_are_nested(planned: HardnessPlan) -> None:
    (source,) = planned.sources
    assert len(planned.plan.cells) == 2 * (1 + 2 * 2)
    assert all(cell.cell.parent is None for cell in planned.plan.cells)
    for by_size in source.cells.values():
        assert [len(cells) for cells in by_size.values()] == [1, 2, 2]
        assert list(by_size) == [0, 3, 12]
        drawn = {n: [trained_on(planned, c) for c in cells] for n, cells in by_size.items()}
        for smaller, larger in zip(drawn[3], drawn[12], strict=True):
            assert len(smaller) == 3 and len(larger) == 12 and smaller < larger
        assert drawn[12][0] != drawn[12][1]
    one, other = source.cells.values()
    assert [c.draws for c in one[12]] == [c.draws for c in other[12]]


def test_values_are_means_over_what_was_not_trained_on(
    planned: HardnessPlan, storage: Storage
) -> None:
    """Against plain loops: each item, each size, each draw that saw none of its relatives."""
    finish(planned, storage, planned.plan.cells)
    found = values_of(planned, storage)
    (source,) = planned.sources
    relatives = [{"q000", "q001"}, {"q002", "q003", "q004", "q005"}]
    no_value = 0
    weights = {0: 3 / 60, 3: 9 / 60, 12: 48 / 60}
    for item in planned.inputs.tasks[TASK].data.items:
        alike = next((ids for ids in relatives if item.id in ids), {item.id})
        scores: dict[str, list[tuple[int, float, float]]] = {}
        for model, by_size in source.cells.items():
            for size, cells in by_size.items():
                unseen = [logits(c, item.id) for c in cells if not trained_on(planned, c) & alike]
                gold = [exp(s[item.answer]) / sum(map(exp, s)) for s in unseen]
                if gold:
                    bits = sum(-log(p, 2) for p in gold) / len(gold)
                    scores.setdefault(model, []).append((size, sum(gold) / len(gold), bits))
        if any(len(by_size) < 3 for by_size in scores.values()):
            no_value += 1
            assert all(item.id not in by_id for by_id in found.values.values())
            continue
        papers = {m: 1 - sum(p for n, p, _ in s if n) / 2 for m, s in scores.items()}
        codes = {m: sum(weights[n] * bits for n, _, bits in s) for m, s in scores.items()}
        for name, expected in (("label_probability", papers), ("prequential", codes)):
            mean = sum(expected.values()) / 2
            assert found.values[f"mdl:{name}"][item.id] == pytest.approx(mean)
            for model, value in expected.items():
                assert found.values[f"mdl:{name}:{model}"][item.id] == pytest.approx(value)
    assert found.num_without == no_value > 0


def test_a_test_of_the_datas_own_is_scored_but_never_trained_on(
    models: tuple[str, str], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = frozenset(f"q{number:03}" for number in range(20, 60))
    load = study.planning.hardness_cells.load_task
    monkeypatch.setattr(
        study.planning.hardness_cells, "load_task", lambda *given: replace(load(*given), test=own)
    )
    planned = plan_hardness(space_of(models), data)
    task = planned.inputs.tasks[TASK]
    assert len(task.split.test) == 60
    for cell in planned.plan.cells:
        assert not trained_on(planned, cell) & own


def test_the_methods_prompt_is_that_of_every_size(models: tuple[str, str], data: Path) -> None:
    space = space_of(models)
    letters = space.hardness[0].model_copy(update={"method": LinearProbe(prompt="letter")})
    other = plan_hardness(space.model_copy(update={"hardness": (letters,)}), data)
    prompts = {cell.cell.prompt for cell in other.plan.cells}
    assert prompts == {get_prompt(TASK, "letter").hash}
    default = {cell.cell.prompt for cell in plan_hardness(space, data).plan.cells}
    assert default == {get_prompt(TASK).hash} != prompts


def test_without_training_the_code_is_that_of_the_base_alone(
    models: tuple[str, str], data: Path, storage: Storage
) -> None:
    space = space_of(models).model_copy(update={"hardness": (ModelHardness(),)})
    planned = plan_hardness(space, data)
    assert [cell.cell.recipe.method for cell in planned.plan.cells] == ["zero-shot"] * 2
    finish(planned, storage, planned.plan.cells)
    values = values_of(planned, storage).values
    for item in planned.inputs.tasks[TASK].data.items:
        scores = logits(planned.plan.cells[0], item.id)
        gold = exp(scores[item.answer]) / sum(map(exp, scores))
        assert values[f"mdl:prequential:{models[0]}"][item.id] == pytest.approx(-log(gold, 2))
        assert values[f"mdl:label_probability:{models[0]}"][item.id] == pytest.approx(1 - gold)


def test_models_of_its_own_have_a_footprint_and_it_is_no_part_of_the_measure(
    models: tuple[str, str], data: Path, storage: Storage
) -> None:
    """A sweep of one model, by the hardness that another one says."""

    def judged(workers: int) -> Space:
        judge = BaseModelRef(name=models[1], footprint=Footprint(workers=workers))
        own = ModelHardness(models=(judge,), method=LinearProbe(), sizes=SIZES, seeds=2)
        return space_of(models[:1]).model_copy(update={"hardness": (own,)})

    planned = plan_hardness(judged(1), data)
    assert {cell.model_name for cell in planned.plan.cells} == {models[1]}
    by_name = {model.name: model for model in planned.plan.space.models}
    assert planned.plan.space.footprint_of(by_name[models[1]]).workers == 1
    written(planned, storage)
    plan, _ = make_plan(judged(2), data, storage)
    assert {cell.model_name for cell in plan.cells} == {models[0]}


@pytest.mark.parametrize(
    ("stored", "engine"), [("bfloat16", "zero-2"), ("bfloat16", "plain"), ("float32", "zero-2")]
)
def test_a_judge_with_the_checkpoints_16_bits_is_refused_in_the_plan(
    stored: str, engine: Any, data: Path, tmp_path: Path
) -> None:
    """`auto` is the checkpoint's dtype, which is known once the model is resolved."""
    folder = save_folder(tmp_path / "judge", kind="bytes")
    make_model("llama").to(getattr(torch, stored)).save_pretrained(folder)
    judge = BaseModelRef(name=str(folder), dtype="auto", footprint=Footprint(engine=engine))
    hardness = ModelHardness(models=(judge,), method=FullFineTuning(), sizes=SIZES, seeds=2)
    space = space_of([str(folder)]).model_copy(update={"hardness": (hardness,)})
    if (stored, engine) != ("bfloat16", "zero-2"):
        plan_hardness(space, data)
        return
    with pytest.raises(ValueError, match=r"zero-2, and .*trains weights in bfloat16"):
        plan_hardness(space, data)


def test_a_cell_without_scores_leaves_no_measure_and_says_why(
    planned: HardnessPlan,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finish(planned, storage, planned.plan.cells)
    monkeypatch.setattr(study.measure, "run_cells", lambda *_, **__: None)
    facts = storage.path(layout.measure_facts(TASK, "mdl"))
    assert (
        study.measure.make_measures(planned, storage, load_pricing(None, None)) == OK
        and Path(facts).exists()
    )
    lost = planned.plan.cells[3]
    storage.delete(layout.record(lost.id))
    write_failure(storage, lost.id, reason="it was too much", details="")
    with pytest.raises(NotMeasuredError, match=r"1 cell has no scores: .*it was too much"):
        values_of(planned, storage)
    capsys.readouterr()
    assert study.measure.make_measures(planned, storage, load_pricing(None, None)) == FAILED
    assert "NOT MADE mdl of jsonl:own: 1 cell has no scores" in capsys.readouterr().err
    assert not Path(facts).exists()


def test_a_record_of_other_items_is_not_averaged(planned: HardnessPlan, storage: Storage) -> None:
    finish(planned, storage, planned.plan.cells)
    cell = next(cell for cell in planned.plan.cells if cell.draws is not None)
    items = planned.inputs.tasks[TASK].data.items
    table = scores_table(
        [item.id for item in items],
        [item.answer for item in items],
        [np.array(logits(cell, item.id)) for item in items],
    )
    write_record(storage, cell.cell, table, seconds={"total": 1.0}, execution={"class": "A"})
    with pytest.raises(NotMeasuredError, match="its 60 scored items are not the 57"):
        values_of(planned, storage)


def test_where_all_draws_train_on_an_item_it_has_no_value_and_none_left_is_said(
    models: tuple[str, str], data: Path, storage: Storage
) -> None:
    planned = plan_hardness(space_of(models[:1], seeds=1), data)
    finish(planned, storage, planned.plan.cells)
    found = values_of(planned, storage)
    seen = trained_on(planned, planned.plan.cells[-1])
    assert not seen & found.values["mdl:prequential"].keys()
    assert found.num_without >= len(seen) == 12


def written(planned: HardnessPlan, storage: Storage) -> None:
    finish(planned, storage, planned.plan.cells)
    (source,) = planned.sources
    data_hash = planned.inputs.tasks[TASK].data.data_hash
    write_hardness(storage, source, values_of(planned, storage), data_hash=data_hash, seed=0)


def test_what_is_kept_says_where_it_comes_from_and_vouches_for_the_values(
    planned: HardnessPlan, storage: Storage
) -> None:
    written(planned, storage)
    facts, values = read_hardness(storage, TASK, "mdl")
    assert values == values_of(planned, storage).values
    kept = {id_ for by_size in facts.cells.values() for ids in by_size.values() for id_ in ids}
    assert kept == {cell.id for cell in planned.plan.cells}
    path = Path(storage.path(layout.measure_values(TASK, "mdl")))
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(ValueError, match="does not match the hash in its JSON"):
        read_hardness(storage, TASK, "mdl")


def test_the_split_is_that_of_a_study_without_models(
    planned: HardnessPlan, models: tuple[str, str], data: Path, storage: Storage
) -> None:
    written(planned, storage)
    by_models, inputs = make_plan(space_of(models), data, storage)
    by_steps, _ = make_plan(space_of(models, "steps"), data, storage)
    assert by_models.tasks[0].split_hash == by_steps.tasks[0].split_hash
    values = read_hardness(storage, TASK, "mdl")[1]["mdl:prequential"]
    easy, hard = by_models.space.tasks[0].train_levels
    # Each level is a half, and reaches from the lowest or to the highest value.
    assert easy.low == min(values.values()) and hard.high == max(values.values())
    for cell in by_models.cells:
        if cell.draws is not None:
            level = cell.train_level
            assert level is not None
            drawn = inputs.tasks[TASK].drawn_ids(cell.draws).labelled
            assert all(level.low <= values[id_] <= level.high for id_ in drawn)


def test_children_hold_the_ids_of_the_cells_that_cut_their_levels(
    planned: HardnessPlan, models: tuple[str, str], data: Path, storage: Storage
) -> None:
    written(planned, storage)
    parents = digest(sorted(cell.id for cell in planned.plan.cells))
    by_models, _ = make_plan(space_of(models), data, storage)
    by_steps, _ = make_plan(space_of(models, "steps"), data, storage)
    for cell in by_models.cells:
        is_cut = cell.draws is not None and cell.train_level is not None
        assert cell.cell.measured_by == (parents if is_cut else None)
    assert {cell.cell.measured_by for cell in by_steps.cells} == {None}
    assert any(cell.draws is None for cell in by_models.cells)


def test_a_measure_is_identified_by_the_cells_that_its_score_uses(
    planned: HardnessPlan, models: tuple[str, str], data: Path, storage: Storage
) -> None:
    """The paper's score of a trained model does not use the untrained base."""
    written(planned, storage)
    trained = digest(sorted(cell.id for cell in planned.plan.cells if cell.draws is not None))
    by_models, _ = make_plan(space_of(models, "mdl:label_probability"), data, storage)
    assert {cell.cell.measured_by for cell in by_models.cells} == {None, trained}


def test_values_of_an_older_score_are_made_anew(planned: HardnessPlan, storage: Storage) -> None:
    written(planned, storage)
    path = Path(storage.path(layout.measure_facts(TASK, "mdl")))
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "version": 1}))
    with pytest.raises(ValueError, match=r"another version.*run `python -m study.measure` again"):
        read_hardness(storage, TASK, "mdl")


def test_the_last_digits_of_models_answers_name_no_draw() -> None:
    """Rounding that differs from host to host would draw other items, of the same level."""
    low, high = 0.12345678901, 1.5
    for factor, is_same in ((1 + 1e-9, True), (1.01, False)):
        first, second = (
            Draw(
                task=TASK,
                measure="mdl:prequential",
                level=Level(name="easy", low=value, high=high),
                n=3,
                study_seed=0,
                seed=0,
            )
            for value in (low, low * factor)
        )
        assert (first.id == second.id) == is_same


def test_other_values_are_other_cells(models: tuple[str, str], data: Path, tmp_path: Path) -> None:
    """Values are in no cell, but what a level holds is: by its bounds and by the drawn ids."""
    found = []
    for seeds in (2, 3):
        space = space_of(models, seeds=seeds)
        storage = open_storage(str(tmp_path / str(seeds)))
        written(plan_hardness(space, data), storage)
        plan, _ = make_plan(space, data, storage)
        found.append({cell.id for cell in plan.cells if cell.draws is not None})
    assert len(found[0]) == len(found[1]) and not found[0] & found[1]


def test_measures_that_are_not_there_or_of_another_kind_are_refused(
    planned: HardnessPlan, models: tuple[str, str], data: Path, storage: Storage
) -> None:
    with pytest.raises(UnavailableError, match=r"does not exist .*study\.measure"):
        make_plan(space_of(models), data, storage)
    with pytest.raises(UnavailableError, match="no run folder"):
        make_plan(space_of(models), data)
    written(planned, storage)
    with pytest.raises(ValueError, match="made from other data or draws, or by other models"):
        make_plan(space_of(models, seeds=3), data, storage)
    with pytest.raises(ValueError, match="made from other data or draws, or by other models"):
        make_plan(space_of(models[:1]), data, storage)


@pytest.mark.parametrize(
    ("hardness", "message"),
    [
        ({"sizes": (5,)}, "zero-shot has no training sizes"),
        ({"method": LinearProbe()}, "every other method has at least one"),
        ({"method": LinearProbe(), "sizes": (5, 5)}, "sizes must rise"),
        (
            {"method": LoRA(loss="text", reasoning=Reasoning()), "sizes": (5,)},
            "a generated answer has no probability",
        ),
        ({"models": (BaseModelRef(name="a"), BaseModelRef(name="a"))}, "given twice"),
    ],
)
def test_hardness_that_cannot_be_is_refused(hardness: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelHardness.model_validate(hardness)


def test_an_axis_names_a_measure_that_is_made() -> None:
    axis = mdl().tasks[0].model_copy(update={"measure": "mdl:perplexity"})
    with pytest.raises(ValidationError, match="'mdl:label_probability', 'mdl:prequential'"):
        Space.model_validate({**dict(mdl()), "tasks": (axis,)})


def test_sizes_leave_items_to_score_and_spaces_without_models_have_nothing_to_measure(
    models: tuple[str, str], data: Path
) -> None:
    space = space_of(models)
    too_large = space.hardness[0].model_copy(update={"sizes": (60,)})
    with pytest.raises(ValueError, match=r"has 60 items to train on, .* uses 60"):
        plan_hardness(space.model_copy(update={"hardness": (too_large,)}), data)
    with pytest.raises(ValueError, match="no axis that is cut by a model-based measure"):
        plan_hardness(space_of(models, "steps"), data)


def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes as if no task could be had."""

    def unavailable(*_: object) -> None:
        raise UnavailableError("no network")

    monkeypatch.setattr(study.planning.hardness_cells, "load_task", unavailable)


def test_a_dry_run_counts_the_cells_of_data_and_models_that_are_not_here(
    planned: HardnessPlan,
    models: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut_off(monkeypatch)
    (tmp_path / "space.py").write_text(SPACE.format(text=space_of(models).model_dump_json()))
    nowhere = ["--dry-run", "--data-root", str(tmp_path / "nowhere")]
    assert study.measure.main([f"{tmp_path / 'space.py'}:cut", *nowhere]) == OK
    text = capsys.readouterr().out
    assert "NOT CHECKED" in text and "no network" in text
    assert f"cells     {len(planned.plan.cells)} distinct" in text
    assert study.measure.main(["hase2024_mdl", *nowhere]) == OK
    # Four models: 25 probes, 25 adapters and the base itself on ARC, the base on two more tasks.
    assert "cells     212 distinct" in capsys.readouterr().out


SPACE = """
from search_spaces.space import Space

def cut() -> Space:
    return Space.model_validate_json({text!r})
"""


def test_measures_have_a_price_and_a_budget(
    models: tuple[str, str],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "space.py").write_text(SPACE.format(text=space_of(models).model_dump_json()))
    common = [f"{tmp_path / 'space.py'}:cut", "--data-root", str(data), "--address", IN_PROCESS]
    on_l4 = ["--instance", "g6.xlarge", "--max-cost"]
    assert study.measure.main([*common, "--dry-run", *on_l4, "1"]) == OK
    assert "about $0.13 on-demand" in capsys.readouterr().out
    assert study.measure.main([*common, "--dry-run", *on_l4, "0.01"]) == BAD_INPUT
    assert "more than --max-cost 0.01" in capsys.readouterr().err
    out = tmp_path / "runs"
    assert study.measure.main([*common, "--out", str(out), *on_l4, "0.01"]) == BAD_INPUT
    assert "more than --max-cost 0.01" in capsys.readouterr().err
    assert not list(out.rglob("plan.json")) and not list(out.rglob("record.json"))


def test_measures_that_nobody_can_price_are_within_no_budget(
    models: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut_off(monkeypatch)
    (tmp_path / "space.py").write_text(SPACE.format(text=space_of(models).model_dump_json()))
    asked = [f"{tmp_path / 'space.py'}:cut", "--dry-run", "--address", IN_PROCESS]
    assert study.measure.main([*asked, "--max-cost", "1e9"]) == BAD_INPUT
    assert "the cost is unknown" in capsys.readouterr().err


def test_two_commands_from_nothing_to_a_surface(
    models: tuple[str, str],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "space.py").write_text(SPACE.format(text=space_of(models).model_dump_json()))
    out = tmp_path / "runs"
    common = [f"{tmp_path / 'space.py'}:cut", "--data-root", str(data), "--out", str(out)]
    here = ["--address", IN_PROCESS]
    assert sweep_main([*common, *here]) == BAD_INPUT
    assert "python -m study.measure" in capsys.readouterr().err
    assert not out.exists()
    assert study.measure.main([*common, *here]) == OK
    assert "10 distinct: 2 zero-shot, 8 linear probe" in capsys.readouterr().out
    first = (out / layout.measure_values(TASK, "mdl")).read_bytes()
    assert study.measure.main([*common, *here]) == OK
    assert "All 10 cells have valid records: no cell to run." in capsys.readouterr().out
    assert (out / layout.measure_values(TASK, "mdl")).read_bytes() == first
    assert sweep_main([*common, *here]) == OK
    items = pq.read_table(out / "cut" / "items.parquet")
    values = read_hardness(open_storage(str(out)), TASK, "mdl")[1]["mdl:prequential"]
    column = items["measure.mdl:prequential"].to_pylist()
    assert column == [values.get(id_) for id_ in items["id"].to_pylist()]
    assert "model-based hardness from 10 cells" in capsys.readouterr().out
    assert data_main([TASK, "--data-root", str(data), "--json", "--out", str(out)]) == OK
    report = json.loads(capsys.readouterr().out)
    pair = next(
        pair
        for pair in report["correlations"]
        if {pair["first"], pair["second"]} == {"steps", "mdl:prequential"}
    )
    ids = sorted(values)
    steps = [int(id_[1:]) % 2 + 1 for id_ in ids]
    expected = spearmanr(steps, [values[id_] for id_ in ids]).statistic
    assert pair["spearman"] == pytest.approx(expected)
