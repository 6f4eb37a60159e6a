"""Options of self-training as swept axes: conditions of one name stay apart everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import LinearProbe
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import Condition, SelfTraining
from study.analysis.accuracy_curves import difficulty_panels
from study.analysis.self_training.detectors import detector_rows, warning_lines
from study.analysis.self_training.rounds import read_rounds
from study.analysis.surface import compute_surface
from study.analysis.surface_columns import surface_table
from study.artifacts.condition_kinds import condition_label
from study.formatting import text_of
from study.planning.conditions import ResolvedCondition, resolve_conditions
from study.planning.planner import make_plan
from study.reporting.figures.audit import _panels
from study.reporting.self_training import gather_self_training
from study.reporting.tables import audit_table
from study.reporting.terminal import surface_parts
from study.tracking.rows import cell_factors
from tests.support.fake_ssrm import ssrm, ssrm_space
from tests.support.fakes import FakeStudy
from tests.support.tiny_models import save_folder
from trainables.storage.filesystem import open_storage

EASY, HARD = Level(name="easy", low=1, high=1), Level(name="hard", low=2, high=2)


def with_options(**options: object) -> Condition:
    condition = ssrm(0.6)
    assert condition.self_training is not None
    return condition.model_copy(
        update={"self_training": condition.self_training.model_copy(update=options)}
    )


def resolved(*conditions: Condition) -> list[ResolvedCondition]:
    (axis,) = ssrm_space().tasks
    axis = axis.model_copy(update={"conditions": conditions})
    by_condition = resolve_conditions(axis, LinearProbe())
    return [by_condition[condition] for condition in conditions]


SWEPT = [
    ({"rule": "quantile"}, "rule quantile"),
    ({"start": "continue"}, "start continue"),
    ({"memory": "accumulate"}, "memory accumulate"),
    ({"admission": "by-level"}, "admission by-level"),
    ({"confidence": "chance-normalised"}, "confidence chance-normalised"),
    ({"orders": "given"}, "orders given"),
    (
        {"calibration": "temperature", "n_validation": 4},
        "calibration temperature, n validation 4",
    ),
    ({"max_unlabelled": 20}, "max unlabelled 20"),
    ({"label_smoothing": 0.1}, "label smoothing 0.1"),
    ({"targets": "oracle"}, "targets oracle"),
]


@pytest.mark.parametrize(("options", "text"), SWEPT)
def test_every_option_that_differs_is_named(options: dict[str, object], text: str) -> None:
    first, second = ssrm(0.6), with_options(**options)
    one, other, control = resolved(first, second, ssrm(0.6, "random"))
    assert other.variant() == text
    assert one.variant() not in ("", text)
    assert other.variant(trains_itself=False) == ""
    assert control.variant() == ""


def test_thresholds_and_rounds_need_no_words() -> None:
    conditions = (ssrm(0.5), ssrm(0.6), ssrm(0.6, rounds=2), ssrm(0.6, "oracle"))
    assert all(not each.differing for each in resolved(*conditions))


def test_levels_of_labels_and_pool_are_named() -> None:
    wide = ssrm(0.6).model_copy(update={"levels": (), "unlabelled": ("easy", "hard")})
    _, other = resolved(ssrm(0.6), wide)
    assert other.variant() == "levels all, unlabelled easy+hard"
    assert other.variant(trains_itself=False) == "levels all"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    """One name and threshold, three ways."""
    conditions = (ssrm(0.6), with_options(start="continue"), with_options(rule="quantile"))
    root = tmp_path_factory.mktemp("study")
    space = ssrm_space(*conditions)
    return FakeStudy(storage=open_storage(str(root)), space=space).write().finish()


NAMES = [
    "easy_ssrm rule fixed, start restart tau 0.6 round 1",
    "easy_ssrm rule fixed, start continue tau 0.6 round 1",
    "easy_ssrm rule quantile, start restart tau 0.6 round 1",
]


def test_all_that_is_keyed_by_source_is_apart(study: FakeStudy) -> None:
    surface = compute_surface(study.storage, study.plan)
    rows = [row for row in surface.rows if row.point.start is not None]
    assert [row.point.source for row in rows] == NAMES
    section = gather_self_training(study.storage, study.plan, surface)
    assert section is not None
    assert {row.source for row in section.detectors} == set(NAMES)
    assert {row.num_seeds for row in section.detectors} == {3}
    lines = [line for line in section.lines if line.moment == "before" and line.items == "pool"]
    assert [line.condition for line in lines] == [name.split(" tau")[0] for name in NAMES]
    assert {line.num_seeds for line in lines} == {3}
    rounds = read_rounds(study.storage, study.plan, surface)
    assert [(panel.row, len(panel.rounds)) for panel in _panels(rounds.audited, {})] == [
        (name, 3) for name in NAMES
    ]
    (panel,) = [p for p in difficulty_panels(surface) if "self-training" in p.row]
    assert len([curve for curve in panel.curves if curve.name.startswith("easy_ssrm")]) == 3
    shown = text_of(surface_parts(surface))
    assert all(name.split(" tau")[0] in shown for name in NAMES)


def test_cells_are_named_apart_for_logs_and_messages(study: FakeStudy) -> None:
    cells = [cell for cell in study.plan.cells if cell.cell.self_training is not None]
    assert {condition_label(cell) for cell in cells} == set(NAMES)
    assert len({cell.label for cell in cells}) == len(cells) == 9
    factors = [cell_factors(cell) for cell in cells]
    assert {(f["variant"], f["ssrm_start"]) for f in factors} == {
        ("rule fixed, start restart", "restart"),
        ("rule fixed, start continue", "continue"),
        ("rule quantile, start restart", "restart"),
    }


def test_the_surface_has_a_column_for_every_option(study: FakeStudy) -> None:
    surface = compute_surface(study.storage, study.plan)
    table = surface_table(surface.rows)
    rows = table.to_pylist()
    trained = [row for row in rows if row["ssrm_round"] is not None]
    assert [(r["ssrm_rule"], r["ssrm_start"], r["ssrm_memory"]) for r in trained] == [
        ("fixed", "restart", "relabel"),
        ("fixed", "continue", "relabel"),
        ("quantile", "restart", "relabel"),
    ]
    options = SelfTraining.model_fields.keys() - {"threshold"}
    assert {f"ssrm_{name}" for name in options} <= set(table.column_names)
    plain = [row for row in rows if row["ssrm_round"] is None]
    assert all(row[f"ssrm_{name}"] is None for row in plain for name in options)


def two_tasks() -> Space:
    one = ssrm_space(ssrm(0.6))
    axis = one.tasks[0]
    return one.model_copy(update={"tasks": (axis, axis.model_copy(update={"task": "other"}))})


def test_two_tasks_are_not_averaged(tmp_path: Path) -> None:
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=two_tasks()).write().finish()
    surface = compute_surface(study.storage, study.plan)
    audit = read_rounds(study.storage, study.plan, surface)
    section = gather_self_training(study.storage, study.plan, surface)
    assert section is not None and not audit.faults
    lines = [line for line in section.lines if (line.items, line.moment) == ("pool", "before")]
    assert [(line.task, line.num_seeds) for line in lines] == [("toy", 3), ("other", 3)]
    for line in lines:
        own = [r for r in section.audit if (r.task, r.items) == (line.task, "pool")]
        means = {r.seed: r.accuracy for r in own if r.moment == "before"}
        assert line.means["accuracy"] == pytest.approx(sum(means.values()) / 3)
    assert lines[0].means != lines[1].means
    table = audit_table(section.lines)
    assert table.columns[0].name == "task"
    found = detector_rows(study.plan, surface, audit)
    assert {(row.task, row.measure, row.num_seeds) for row in found} == {
        ("toy", "steps", 3),
        ("other", "steps", 3),
    }
    assert all(line.startswith(("toy by", "other by")) for line in warning_lines(found, {}))


def test_the_planner_names_points_and_cells_alike(tmp_path: Path) -> None:
    (tmp_path / "jsonl").mkdir()
    rows = (
        {
            "id": f"q{number:03}",
            "question": f"ab {number} cd?",
            "choices": [f"{number} a", f"{number} b"],
            "answer": number % 2,
            "steps": number % 2 + 1,
        }
        for number in range(80)
    )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "jsonl" / "toy.jsonl").write_text(text)
    axis = TaskAxis(
        task="jsonl:toy",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        train_on_all=False,
        conditions=(ssrm(0.6, rounds=2), with_options(memory="accumulate")),
    )
    space = Space(
        name="swept",
        models=(BaseModelRef(name=str(save_folder(tmp_path / "model", "llama", "bytes"))),),
        tasks=(axis,),
        methods=(LinearProbe(n_train=4),),
        seeds=1,
    )
    plan, _ = make_plan(space, data_root=tmp_path)
    cells = {cell.id: cell for cell in plan.cells}
    points = [point for point in plan.points if point.ssrm_round is not None]
    assert [point.source for point in points] == [
        "easy_ssrm memory relabel tau 0.6 round 1",
        "easy_ssrm memory relabel tau 0.6 round 2",
        "easy_ssrm memory accumulate tau 0.6 round 1",
    ]
    for point in points:
        assert {condition_label(cells[id_]) for id_ in point.easy.cells} == {point.source}
        assert point.self_training == cells[point.easy.cells[0]].cell.self_training
    assert len({id_ for point in points for id_ in point.easy.cells}) == 3
