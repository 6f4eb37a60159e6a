"""What `study.plan` prints about power: every row names its points, and nothing is empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from search_spaces.levels import Level
from search_spaces.recipes import InContext, LoRA
from search_spaces.space import TaskAxis
from study.analysis.power_analysis import PlannedPower, estimate_power, power_parts
from study.formatting import text_of
from tests.support.fakes import EASY, HARD, FakeStudy, fake_space
from trainables.storage.filesystem import open_storage

SHORT, LONG = Level(name="easy", low=1, high=4), Level(name="hard", low=5, high=20)


def _text(root: Path, *axes: TaskAxis, target_width: float | None = None) -> str:
    space = fake_space(tasks=axes, methods=(InContext(k=2), InContext(k=4), LoRA(n_train=8)))
    study = FakeStudy(storage=open_storage(str(root)), space=space)
    return text_of(power_parts(estimate_power(study.plan), target_width=target_width))


def _axis(measure: str, *levels: Level) -> TaskAxis:
    return TaskAxis(task="toy", measure=measure, train_levels=levels, test_levels=levels)


def test_rows_name_the_measure_where_a_plan_has_several(tmp_path: Path) -> None:
    steps, words = _axis("steps", EASY, HARD), _axis("words", SHORT, LONG)
    assert "toy by" not in _text(tmp_path, steps)
    text = _text(tmp_path, steps, words)
    assert "hard, toy by steps" in text and "hard, toy by words" in text


def test_columns_of_a_target_name_its_width(tmp_path: Path) -> None:
    text = _text(tmp_path, _axis("steps", EASY, HARD), target_width=0.4)
    assert "seeds needed for width 0.4" in text and "items needed for width 0.4" in text


def test_recipes_of_a_method_are_told_apart(tmp_path: Path) -> None:
    space = fake_space(methods=(InContext(k=2), InContext(k=4)), contrasts=())
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space)
    few = study.plan.model_copy(update={"points": study.plan.points[:1]})
    text = text_of(power_parts(estimate_power(few), target_width=None))
    assert "small in-context easy -> hard" in text
    every = estimate_power(study.plan)
    alone = [planned for planned in every if planned.point.recipe == InContext(k=4)][:1]
    text = text_of(power_parts([alone[0], *_other(every)], target_width=None))
    assert "small in-context k=4 easy -> hard" in text


def _other(every: Sequence[PlannedPower]) -> list[PlannedPower]:
    """A point of another recipe with another gap, so that both have a row."""
    other = next(planned for planned in every if planned.point.recipe == InContext(k=2))
    return [replace(other, gap=0.2)]


def test_variances_without_a_source_are_left_out(tmp_path: Path) -> None:
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=fake_space())
    planned = [replace(p, power=None, reason="no gap") for p in estimate_power(study.plan)]
    assert "Variances:" not in text_of(power_parts(planned, target_width=None))
    assert "Variances: assumed" in text_of(
        power_parts(estimate_power(study.plan), target_width=None)
    )
