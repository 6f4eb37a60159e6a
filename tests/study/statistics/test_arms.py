"""Joining arms by id and the additive model of ragged scores."""

import numpy as np
import pytest

from study.statistics.arms import ArmScores, join_arms
from study.statistics.differences import paired_difference
from study.statistics.marginal_means import arm_means
from study.statistics.sgr import estimate_sgr


def _holes(rng: np.random.Generator, shape: tuple[int, int], share: float) -> np.ndarray:
    return rng.random(shape) < share


def test_additive_scores_are_recovered_exactly_whatever_is_missing() -> None:
    rng = np.random.default_rng(0)
    items, seeds = rng.random(40), rng.random(4)
    full = items[:, None] + seeds
    full[_holes(rng, full.shape, 0.4)] = np.nan
    seen = ~np.isnan(full).all(axis=1)
    means = arm_means(full[seen], draw_ids=("a", "b", "c", "d"), name="easy")
    assert means.item_means == pytest.approx(items[seen] + seeds.mean())
    assert means.seed_means == pytest.approx(items[seen].mean() + seeds)
    assert means.mean == pytest.approx(items[seen].mean() + seeds.mean())


def test_marginal_means_are_the_least_squares_fit() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((9, 3))
    scores[_holes(rng, scores.shape, 0.3)] = np.nan
    scores = scores[~np.isnan(scores).all(axis=1)]
    num_items = len(scores)
    # The design matrix in full: one column an item, one a seed after the first.
    rows = [(i, s) for i in range(num_items) for s in range(3) if not np.isnan(scores[i, s])]
    design = np.zeros((len(rows), num_items + 2))
    for r, (i, s) in enumerate(rows):
        design[r, i] = 1
        if s:
            design[r, num_items + s - 1] = 1
    fit = np.linalg.lstsq(design, np.array([scores[i, s] for i, s in rows]), rcond=None)[0]
    items, seeds = fit[:num_items], np.array([0, *fit[num_items:]])
    means = arm_means(scores, draw_ids=("a", "b", "c"), name="easy")
    assert means.item_means == pytest.approx(items + seeds.mean())
    assert means.seed_means == pytest.approx(items.mean() + seeds)


def test_weak_seed_does_not_make_its_items_hard() -> None:
    # Items 0-49 are seen by the good seed alone, 50-99 by the bad seed alone, the rest by both.
    # The plain mean of what was observed would blame the items.
    scores = np.full((150, 2), np.nan)
    scores[:50, 0], scores[50:100, 1] = 0.8, 0.2
    scores[100:] = (0.8, 0.2)
    means = arm_means(scores, draw_ids=("good", "bad"), name="easy")
    assert means.item_means == pytest.approx(np.full(150, 0.5))


def test_missing_share_and_common_items() -> None:
    rng = np.random.default_rng(2)
    zero_shot, easy, hard = rng.random(50), rng.random((50, 3)), rng.random((50, 2)) / 4
    easy[0] = np.nan
    hard[1, 0] = np.nan
    found = estimate_sgr(zero_shot, easy, hard)
    assert found.num_items == 49
    assert found.missing_share == pytest.approx(4 / (50 * 6))


def test_clusters_by_row_stay_with_their_items() -> None:
    rng = np.random.default_rng(4)
    zero_shot, easy, hard = rng.random(30), rng.random((30, 2)), rng.random((30, 2))
    labels = [str(i // 5) for i in range(30)]
    holed = easy.copy()
    holed[:3] = np.nan
    found = estimate_sgr(zero_shot, holed, hard, clusters=labels)
    wanted = estimate_sgr(zero_shot[3:], easy[3:], hard[3:], clusters=labels[3:])
    assert found.num_items == 27
    assert found.ratio.covariance.xx == pytest.approx(wanted.ratio.covariance.xx)
    assert found.ratio.covariance.yy == pytest.approx(wanted.ratio.covariance.yy)


def test_seeds_without_a_common_item_cannot_be_compared() -> None:
    scores = np.full((6, 2), np.nan)
    scores[:3, 0], scores[3:, 1] = 1.0, 0.5
    with pytest.raises(ValueError, match="hard: the observed scores do not link"):
        estimate_sgr(np.zeros(6), np.ones((6, 1)), scores)


def test_arms_without_common_items() -> None:
    one = ArmScores(scores=np.zeros((2, 1)), draw_ids=(), item_ids=("a", "b"))
    other = ArmScores(scores=np.zeros((2, 1)), draw_ids=(), item_ids=("c", "d"))
    with pytest.raises(ValueError, match="no item id in common"):
        join_arms({"one": one, "other": other})
    unnamed = ArmScores(scores=np.zeros((2, 1)), draw_ids=())
    with pytest.raises(ValueError, match="all arms or none"):
        join_arms({"one": one, "unnamed": unnamed})
    with pytest.raises(ValueError, match="same items"):
        join_arms({"unnamed": unnamed, "longer": ArmScores(scores=np.zeros((3, 1)), draw_ids=())})
    half = ArmScores(scores=np.array([[np.nan], [1.0]]), draw_ids=("x",))
    with pytest.raises(ValueError, match="no item has a score in all"):
        join_arms({"half": half, "rest": ArmScores(scores=half.scores[::-1], draw_ids=("y",))})


def test_bad_arms_are_refused() -> None:
    for bad, message in [
        ({"scores": np.zeros(3), "draw_ids": ()}, "items, seeds"),
        ({"scores": np.zeros((3, 2)), "draw_ids": ()}, "one column"),
        ({"scores": np.zeros((3, 2)), "draw_ids": ("a", "a")}, "'a' twice"),
        ({"scores": np.full((3, 1), np.inf), "draw_ids": ("a",)}, "infinite"),
        ({"scores": np.zeros((2, 1)), "draw_ids": (), "item_ids": ("i", "i")}, "'i' twice"),
        ({"scores": np.zeros((2, 1)), "draw_ids": (), "item_ids": ("i",)}, "every row"),
    ]:
        with pytest.raises(ValueError, match=message):
            ArmScores(**bad)  # type: ignore[arg-type]


def test_scores_of_an_arm_do_not_change() -> None:
    arm = ArmScores(scores=np.zeros((3, 2)), draw_ids=("a", "b"))
    with pytest.raises(ValueError, match="read-only"):
        arm.scores[0, 0] = 1.0


def test_partly_shared_draws_count_where_they_are_shared() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(scale=0.5, size=6)
    noise = rng.normal(scale=0.01, size=(2, 40, 1))
    first = ArmScores(scores=noise[0] + common[:5], draw_ids=tuple("abcde"))
    second = ArmScores(scores=noise[1] + common[1:], draw_ids=tuple("bcdef"))
    apart = ArmScores(scores=second.scores, draw_ids=tuple("vwxyz"))
    shared, separate = paired_difference(first, second), paired_difference(first, apart)
    width = {k: d.high - d.low for k, d in (("shared", shared), ("separate", separate))}  # type: ignore[operator]
    assert shared.estimate == separate.estimate
    assert width["shared"] < 0.8 * width["separate"]
