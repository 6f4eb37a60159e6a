"""The plan: points, distinct cells, shared draws, identity, and what it foresees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.base_models import Footprint
from search_spaces.levels import Level
from search_spaces.recipes import InContext, QLoRA
from search_spaces.registry import find_space
from search_spaces.space import Space
from study.analysis.power_analysis import estimate_power, power_parts
from study.artifacts.plan import Plan, read_plan, write_plan
from study.formatting import text_of
from study.plan import main
from study.planning import axes
from study.planning.planner import make_plan
from tests.support.small_study import SmallStudy
from trainables.storage.filesystem import open_storage


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return SmallStudy(folder=tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def space(study: SmallStudy) -> Space:
    return find_space(study.arguments[0])


@pytest.fixture(scope="module")
def plan(study: SmallStudy, space: Space) -> Plan:
    return plan_of(study, space)


def plan_of(study: SmallStudy, space: Space, **changes: object) -> Plan:
    changed = Space.model_validate(space.model_dump() | changes)
    return make_plan(changed, study.folder / "data")[0]


def ids(plan: Plan) -> set[str]:
    return {cell.id for cell in plan.cells}


def test_cells_are_distinct_and_serve_many_points(plan: Plan) -> None:
    assert len(ids(plan)) == len(plan.cells) == 1 + 3 * 3 * 2
    used = {id_ for p in plan.points for arm in (p.zero_shot, p.easy, p.hard) for id_ in arm.cells}  # type: ignore[union-attr]
    assert used == ids(plan), "every cell is used and every arm's cells are planned"


def test_zero_shot_and_hard_are_never_a_source(plan: Plan) -> None:
    assert {point.condition for point in plan.points} == {"easy", "all"}
    assert all(point.hard_level and point.hard_level.name == "hard" for point in plan.points)


def test_difficulty_gap_is_the_difference_of_mean_hardness(plan: Plan) -> None:
    gaps = {(p.condition, p.test_level.name): p.difficulty_gap for p in plan.points}
    assert gaps["easy", "steps 4"] == pytest.approx(2.5, abs=0.2)  # 4 - mean of 1s and 2s
    assert gaps["easy", "hard"] == pytest.approx(2.0, abs=0.2)


def test_arms_of_one_level_share_draws_across_methods_and_easy_never_with_hard(plan: Plan) -> None:
    easy = {point.easy.draws for point in plan.points if point.condition == "easy"}
    hard = {point.hard.draws for point in plan.points if point.hard is not None}
    assert len(easy) == len(hard) == 1
    assert not set(*easy) & set(*hard)


@pytest.mark.parametrize(
    "execution",
    [
        {"footprint": Footprint(workers=7, cpus_per_worker=3)},
        {"name": "renamed"},
        {"level": 0.9},
        {"contrasts": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_no_number_changes_no_id(
    study: SmallStudy, space: Space, plan: Plan, execution: dict[str, object]
) -> None:
    assert ids(plan_of(study, space, **execution)) == ids(plan)


def test_auto_is_the_checkpoints_dtype_in_the_cells(
    study: SmallStudy, space: Space, plan: Plan
) -> None:
    def of(dtype: str) -> set[str]:
        (model,) = space.models
        return ids(plan_of(study, space, models=(model.model_copy(update={"dtype": dtype}),)))

    assert {cell.cell.dtype for cell in plan.cells} == {"float32"}
    assert of("auto") == of("float32") == ids(plan)
    assert not of("bfloat16") & ids(plan)


def test_renamed_levels_are_the_same_cells(study: SmallStudy, space: Space, plan: Plan) -> None:
    axis = space.tasks[0].model_copy(
        update={
            "train_levels": (
                Level(name="simple", low=1, high=2),
                Level(name="tough", low=3, high=4),
            ),
            "test_levels": (Level(name="tough", low=3, high=4),),
        }
    )
    assert ids(plan_of(study, space, tasks=(axis,))) == ids(plan)


def test_data_and_model_are_known_by_content_not_by_path(
    study: SmallStudy, space: Space, plan: Plan, tmp_path: Path
) -> None:
    moved = SmallStudy(folder=tmp_path / "elsewhere")
    lines = moved.data_file.read_text().splitlines()
    moved.data_file.write_text("\n".join(reversed(lines)) + "\n")
    assert ids(plan_of(moved, space)) == ids(plan), "another folder, another row order"
    moved.data_file.write_text(moved.data_file.read_text().replace("coins", "notes"))
    assert not ids(plan_of(moved, space)) & ids(plan), "other items"


def test_one_more_seed_or_test_level_adds_cells_and_changes_none(
    study: SmallStudy, space: Space, plan: Plan
) -> None:
    more_seeds = plan_of(study, space, seeds=3)
    assert ids(plan) < ids(more_seeds) and len(more_seeds.cells) == 1 + 3 * 3 * 3
    axis = space.tasks[0]
    more_levels = axis.model_copy(
        update={"test_levels": (*axis.test_levels, Level(name="steps 3", low=3, high=3))}
    )
    assert ids(plan_of(study, space, tasks=(more_levels,))) == ids(plan)


def test_level_that_no_training_level_contains_has_a_reason(
    study: SmallStudy, space: Space
) -> None:
    wide = space.tasks[0].model_copy(update={"test_levels": (Level(name="mid", low=2, high=3),)})
    points = plan_of(study, space, tasks=(wide,)).points
    assert points and all(point.hard is None and point.reason for point in points)


def test_quantized_rows_have_a_zero_shot_cell_of_their_own(study: SmallStudy, space: Space) -> None:
    methods = (InContext(k=2), QLoRA(n_train=6))
    plan = plan_of(study, space, methods=methods)
    arms = {(p.recipe.method, p.recipe.quantization): p.zero_shot.cells for p in plan.points}
    assert len(set(arms.values())) == 2


def test_plan_survives_the_disk(plan: Plan, tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    write_plan(storage, plan)
    assert read_plan(storage, plan.space.name) == plan
    storage.write_bytes("small/plan.json", b"{}")
    with pytest.raises(ValueError, match="damaged"):
        read_plan(storage, "small")


def test_pool_overlap_is_what_two_draws_share_on_average(plan: Plan) -> None:
    point = next(p for p in plan.points if p.recipe.method == "lora" and p.condition == "easy")
    level = next(size for size in plan.tasks[0].levels if size.level == "easy")
    assert point.pool_overlap == pytest.approx(6 / level.pool)


def test_free_answers_are_refused(
    study: SmallStudy, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = axes.load_task
    monkeypatch.setattr(axes, "load_task", lambda *given: replace(load(*given), free_form=True))
    with pytest.raises(ValueError, match="free answers"):
        plan_of(study, space)


def test_foresight_without_a_pilot_states_its_assumptions(plan: Plan) -> None:
    points = estimate_power(plan, target_width=0.4)
    assert len(points) == len(plan.points)
    small = min(points, key=lambda planned_power: planned_power.num_items)
    large = max(points, key=lambda planned_power: planned_power.num_items)
    assert small.power is not None and large.power is not None
    assert small.power.smallest_gap > large.power.smallest_gap
    assert small.reason, "34 items never resolve 10 points"
    text = text_of(power_parts(points, target_width=0.4))
    assert "assumed: logit model" in text and "items needed" in text


def test_plan_command_prints_plan_and_foresight(
    study: SmallStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*study.arguments, "--target-width", "0.4"]) == 0
    said = capsys.readouterr().out
    assert "19 distinct" in said and "seeds needed" in said
    assert main([*study.arguments, "--target-width", "-1"]) == 2
    assert main([*study.arguments, "--pilot", str(study.folder / "none")]) == 2
    assert "has no study small" in capsys.readouterr().err
