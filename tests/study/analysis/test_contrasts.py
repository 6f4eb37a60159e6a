"""Declared contrasts: which arms they compare, and what the plan refuses."""

from pathlib import Path

import pytest

from search_spaces.contrasts import before_and_after
from search_spaces.recipes import InContext, LoRA
from search_spaces.space import Arm, Contrast
from search_spaces.studies.lab.ssrm_micro import ssrm_contrasts
from search_spaces.supervision import SelfTraining
from study.analysis.contrasts import declared_contrasts
from study.analysis.surface import ArmReader, compute_surface
from study.artifacts.contrasts import pairs_of
from study.statistics.differences import paired_difference
from tests.support.fake_ssrm import ssrm, ssrm_space
from tests.support.fakes import FakeStudy, contrast, fake_space, fake_study
from trainables.storage.filesystem import open_storage

LORA, PROMPTED = Arm(condition="easy", method="lora"), Arm(condition="easy", method="in-context")


def test_methods_are_compared_on_the_same_items(tmp_path: Path) -> None:
    declared = (
        Contrast(first=LORA, second=PROMPTED, test_level="hard"),
        Contrast(first=LORA, second=PROMPTED, test_level="hard", of="sgr"),
    )
    study = fake_study(tmp_path, contrasts=declared)
    surface = compute_surface(study.storage, study.plan)
    results = declared_contrasts(study.plan, surface)
    assert len(results) == 4  # two models each
    rows = {
        (row.point.model, row.point.recipe.method): row
        for row in surface.rows
        if (row.point.condition, row.point.test_level.name) == ("easy", "hard")
    }
    reader = ArmReader(surface.items, surface.scores)
    for result, model in zip(results, ("small", "large", "small", "large"), strict=True):
        assert result.reason is None and result.where.startswith(model)
        first, second = rows[model, "lora"], rows[model, "in-context"]
        if result.contrast.of == "sgr":
            wanted = (first.sgr.estimate or 0.0) - (second.sgr.estimate or 0.0)
        else:
            arms = [reader.arm(row.point.easy, *row.point.place) for row in (first, second)]
            wanted = paired_difference(*arms).estimate
        assert result.estimate.estimate == pytest.approx(wanted)
        low, high = result.estimate.low, result.estimate.high
        assert low is not None and high is not None and low < wanted < high


def test_a_margin_makes_the_test_one_sided(tmp_path: Path) -> None:
    declared = (contrast("hard", "easy"), contrast("hard", "easy", margin=0.02))
    study = fake_study(tmp_path, contrasts=declared)
    results = declared_contrasts(study.plan, compute_surface(study.storage, study.plan))
    for equal, inferior in zip(results[:4], results[4:], strict=True):
        assert (inferior.estimate.low, inferior.estimate.high) == (
            equal.estimate.low,
            equal.estimate.high,
        )
        assert equal.estimate.p_value is not None and inferior.estimate.p_value is not None
        # Hard labels are better here, so they are not inferior, and clearly so.
        assert inferior.estimate.p_value < equal.estimate.p_value / 2
    assert results[4].contrast.null == "worse by 2 points or more"


def test_what_neither_arm_names_is_the_same_on_both_sides() -> None:
    space = fake_space(methods=(InContext(k=4), LoRA(n_train=8), LoRA(n_train=4)))
    points = FakeStudy(storage=open_storage("."), space=space).plan.points
    recipe = LoRA(n_train=4)
    for declared, count in (
        (contrast("easy", "hard"), 2 * 3),
        (contrast("easy", "zero-shot"), 2 * 3),
        (contrast(Arm(condition="easy", model="large"), "hard"), 3),
        (contrast(Arm(condition="easy", recipe=recipe), "hard"), 2),
        (Contrast(first=LORA, second=PROMPTED, test_level="hard"), 2 * 2),
        (
            contrast(Arm(condition="easy", model="small"), Arm(condition="hard", model="large")),
            3,
        ),
    ):
        pairs = pairs_of(declared, points)
        assert len(pairs) == count, declared.name
        if declared.second.method is None:
            assert all(pair.first.point.recipe == pair.second.point.recipe for pair in pairs)
        assert all(pair.first.planned != pair.second.planned for pair in pairs)


def test_controls_are_compared_at_their_own_threshold_and_round() -> None:
    space = ssrm_space(
        ssrm(0.5, rounds=2),
        ssrm(0.8),
        ssrm(0.5, "random", rounds=2),
        contrasts=(contrast("easy_ssrm", "random"), contrast("easy_ssrm", "start")),
    )
    points = FakeStudy(storage=open_storage("."), space=space).plan.points
    control, start = (pairs_of(declared, points) for declared in space.contrasts)
    places = [(p.first.point.threshold, p.first.point.ssrm_round) for p in control]
    assert places == [(0.5, 1), (0.5, 2)]
    assert places == [(p.second.point.threshold, p.second.point.ssrm_round) for p in control]
    assert all(pair.second.planned == pair.first.point.start for pair in start)
    assert len(start) == 3


def test_every_self_trained_arm_is_compared_with_its_start_on_items_and_seeds(
    tmp_path: Path,
) -> None:
    calibrated = SelfTraining(calibration="temperature", n_validation=4)
    plain = ssrm(0.8, rounds=2)
    space = ssrm_space(
        plain,
        plain.model_copy(update={"self_training": calibrated}),
        ssrm(0.5),
        contrasts=(before_and_after("easy_ssrm", test_level="hard"),),
    )
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    surface = compute_surface(study.storage, study.plan)
    results = declared_contrasts(study.plan, surface)
    trained = [row for row in surface.rows if row.point.start is not None]
    wheres = {result.where for result in results}
    assert len(results) == len(wheres) == len(trained) == 5
    assert sum("calibration temperature" in where for where in wheres) == 2
    for result, row in zip(results, trained, strict=True):
        assert result.estimate.estimate == pytest.approx(row.ssrm_gain.estimate)
        assert result.estimate.p_value == pytest.approx(row.ssrm_gain.p_value)
        assert result.holm_p is not None and result.holm_p >= (row.ssrm_gain.p_value or 0.0)
        # Simultaneous over five tests, so wider than the interval of one.
        low, high = result.estimate.low, result.estimate.high
        assert low is not None and row.ssrm_gain.low is not None and low < row.ssrm_gain.low
        assert high is not None and row.ssrm_gain.high is not None and high > row.ssrm_gain.high


def test_shipped_comparisons_of_self_training_are_the_decisive_ones() -> None:
    names = [declared.name for declared in ssrm_contrasts(0.8)]
    assert names == [
        "easy_ssrm - start",
        "easy_ssrm, tau 0.8 - easy_same_steps",
        "easy_ssrm, tau 0.8 - random_labels",
        "oracle_selected - easy_ssrm, tau 0.8",
    ]


def test_a_contrast_without_a_pair_of_arms_is_refused_by_the_plan() -> None:
    space = fake_space(
        contrasts=(
            contrast(LORA, "all"),
            contrast(Arm(condition="hard", model="small"), "hard"),
        )
    )
    with pytest.raises(ValueError, match="contrast 'hard, small - hard' on 'hard' has no pair"):
        FakeStudy(storage=open_storage("."), space=space)


def test_arms_that_are_one_are_refused() -> None:
    with pytest.raises(ValueError, match="two different arms, got 'easy' twice"):
        contrast("easy", "easy")
    with pytest.raises(ValueError, match="'start' is the second arm"):
        contrast("start", "easy")
    with pytest.raises(ValueError, match="SGRs are compared of two sources"):
        contrast("easy", "zero-shot", of="sgr")
