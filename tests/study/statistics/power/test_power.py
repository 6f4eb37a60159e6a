"""Predicted power against what the estimator then finds in simulated points."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.simulated_points import draw_points
from study.statistics.arms import ArmScores
from study.statistics.power.logit_model import Population
from study.statistics.power.power import (
    Design,
    expected_width,
    items_for_width,
    point_power,
    seeds_for_width,
    smallest_gap,
)
from study.statistics.power.variances import (
    PointVariances,
    assumed_variances,
    variances_of_pilot,
)
from study.statistics.sgr import estimate_sgr


def _design(gap: float, *, num_items: int, num_seeds: int, item_sd: float = 1.0) -> Design:
    variances = assumed_variances(Population(gap=gap, item_sd=item_sd))
    return Design(variances=variances, num_items=num_items, num_seeds=num_seeds)


@pytest.mark.parametrize(
    ("gap", "num_items", "num_seeds"), [(0.2, 400, 5), (0.15, 800, 3), (0.3, 200, 10)]
)
def test_width_is_what_the_estimator_finds(gap: float, num_items: int, num_seeds: int) -> None:
    drawn = draw_points(
        Population(gap=gap),
        num_items=num_items,
        num_seeds=num_seeds,
        num_draws=120,
        rng=np.random.default_rng(0),
    )
    points = [
        estimate_sgr(z, e, h)
        for z, e, h in zip(drawn.zero_shot, drawn.easy, drawn.hard, strict=True)
    ]
    widths = [p.high - p.low for p in points if p.high is not None and p.low is not None]
    assert len(widths) > 60
    predicted = expected_width(_design(gap, num_items=num_items, num_seeds=num_seeds), gap=gap)
    assert predicted == pytest.approx(np.median(widths), rel=0.15)


def test_smallest_gap_is_resolved_as_often_as_it_says() -> None:
    gap = smallest_gap(_design(0.08, num_items=500, num_seeds=5), power=0.8)
    drawn = draw_points(
        Population(gap=gap),
        num_items=500,
        num_seeds=5,
        num_draws=300,
        rng=np.random.default_rng(1),
    )
    verdicts = [
        estimate_sgr(z, e, h).verdict
        for z, e, h in zip(drawn.zero_shot, drawn.easy, drawn.hard, strict=True)
    ]
    assert sum(v.startswith("resolved") for v in verdicts) / 300 == pytest.approx(0.8, abs=0.1)


def test_pilot_finds_the_components_of_the_model() -> None:
    population = Population(gap=0.2, seed_sd=0.05)
    drawn = draw_points(
        population, num_items=1500, num_seeds=400, num_draws=1, rng=np.random.default_rng(2)
    )
    draws = {n: tuple(f"{n}/{s}" for s in range(400)) for n in ("easy", "hard")}
    pilot = variances_of_pilot(
        zero_shot=ArmScores(scores=drawn.zero_shot[0][:, None], draw_ids=()),
        easy=ArmScores(scores=drawn.easy[0], draw_ids=draws["easy"]),
        hard=ArmScores(scores=drawn.hard[0], draw_ids=draws["hard"]),
    )
    model = assumed_variances(population)
    for name in ("item_easy", "item_hard", "item_covariance", "answer_easy", "answer_hard"):
        assert getattr(pilot, name) == pytest.approx(getattr(model, name), rel=0.08), name
    for name in ("seed_easy", "seed_hard"):
        assert getattr(pilot, name) == pytest.approx(getattr(model, name), rel=0.2), name
    assert "pilot of 1500 items" in pilot.source
    assert "assumed" in model.source


def test_pilot_of_one_seed_assumes_the_seed_variance() -> None:
    rng = np.random.default_rng(3)
    arms = {
        "zero_shot": ArmScores(scores=rng.random((30, 1)), draw_ids=()),
        "easy": ArmScores(scores=rng.random((30, 1)), draw_ids=("a",)),
        "hard": ArmScores(scores=rng.random((30, 1)), draw_ids=("b",)),
    }
    found = variances_of_pilot(**arms, assumed_seed_sd=0.03)
    assert found.seed_easy == found.seed_hard == pytest.approx(0.0009)
    assert found.answer_easy == 0.0
    gain = arms["easy"].scores - arms["zero_shot"].scores
    assert found.item_easy == pytest.approx(gain.var(ddof=1))
    with pytest.raises(ValueError, match="two items"):
        variances_of_pilot(
            **{n: ArmScores(scores=a.scores[:1], draw_ids=a.draw_ids) for n, a in arms.items()}
        )


def test_needs_are_the_fewest_that_reach_the_target() -> None:
    design = _design(0.2, num_items=800, num_seeds=5)
    seeds = seeds_for_width(design, gap=0.2, target_width=0.35)
    items = items_for_width(design, gap=0.2, target_width=0.4)
    assert seeds is not None and items is not None

    def width(num_items: int, num_seeds: int) -> float:
        found = expected_width(replace(design, num_items=num_items, num_seeds=num_seeds), gap=0.2)
        assert found is not None
        return found

    assert width(800, seeds) <= 0.35 < width(800, seeds - 1)
    assert width(items, 5) <= 0.4 < width(items - 1, 5)


def test_more_items_can_widen_an_interval_and_the_fewest_are_still_found() -> None:
    # With 3 seeds the degrees of freedom fall from items' to seeds' as the items grow.
    variances = assumed_variances(Population(gap=0.3, seed_sd=0.02))
    design = Design(variances=variances, num_items=2, num_seeds=3)
    widths = {
        n: expected_width(replace(design, num_items=n), gap=0.3) or np.inf
        for n in range(2500, 6000)
    }
    best = min(widths, key=lambda n: widths[n])
    assert widths[best] < widths[5999]
    target = widths[best] + 0.0002
    first = next(n for n, width in widths.items() if width <= target)
    assert items_for_width(design, gap=0.3, target_width=target) == first


def test_noise_of_answers_is_not_seed_variance() -> None:
    drawn = draw_points(
        Population(gap=0.2, seed_sd=0.0),
        num_items=40,
        num_seeds=200,
        num_draws=1,
        rng=np.random.default_rng(4),
    )
    found = variances_of_pilot(
        zero_shot=ArmScores(scores=drawn.zero_shot[0][:, None], draw_ids=()),
        easy=ArmScores(scores=drawn.easy[0], draw_ids=tuple(f"e{s}" for s in range(200))),
        hard=ArmScores(scores=drawn.hard[0], draw_ids=tuple(f"h{s}" for s in range(200))),
    )
    # 40 answers alone give 0.22 / 40 = 0.0055.
    assert found.seed_easy < 0.0015
    assert found.seed_hard < 0.0015


def test_a_point_that_can_never_resolve_says_so() -> None:
    few_items = point_power(_design(0.02, num_items=200, num_seeds=5), gap=0.02, target_width=0.4)
    assert "however many seeds" in few_items.reason
    assert few_items.width is None and few_items.seeds_needed is None
    few_seeds = point_power(_design(0.05, num_items=500, num_seeds=2), gap=0.05, target_width=0.4)
    assert few_seeds.items_needed is None
    assert "no number of items reaches width 0.4 with 2 seeds" in few_seeds.reason
    fine = point_power(_design(0.3, num_items=3000, num_seeds=8), gap=0.3, target_width=0.4)
    assert fine.reason == ""
    assert fine.width is not None and fine.width < 0.4
    assert fine.smallest_gap_many_seeds < fine.smallest_gap < 0.3


def test_one_seed_predicts_the_item_only_interval() -> None:
    one = _design(0.2, num_items=400, num_seeds=1)
    width = expected_width(one, gap=0.2)
    assert width is not None
    assert width < (expected_width(replace(one, num_seeds=2), gap=0.2) or np.inf)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_items": 1}, "num_items"),
        ({"num_seeds": 0}, "num_seeds"),
        ({"level": 1.0}, "level"),
    ],
)
def test_bad_designs_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(_design(0.1, num_items=10, num_seeds=2), **change)  # type: ignore[arg-type]


def test_bad_targets_are_refused() -> None:
    design = _design(0.1, num_items=10, num_seeds=2)
    with pytest.raises(ValueError, match="target_width"):
        point_power(design, gap=0.1, target_width=0.0)
    with pytest.raises(ValueError, match="power"):
        smallest_gap(design, power=1.0)


BY_HAND = PointVariances(
    item_easy=0.20,
    item_hard=0.30,
    item_covariance=0.15,
    answer_easy=0.16,
    answer_hard=0.12,
    seed_easy=0.0004,
    seed_hard=0.0009,
    source="by hand",
)


@pytest.mark.parametrize("seeds", [1, 3])
def test_what_can_be_resolved_is_worked_by_hand(seeds: int) -> None:
    items, gap, sgr = 50, 0.5, 0.6
    design = Design(variances=BY_HAND, num_items=items, num_seeds=seeds, sgr=sgr)
    xx, xy = (0.20 + 0.16 / seeds) / items, 0.15 / items
    yy = (0.30 + 0.12 / seeds) / items
    seed_x = (0.0004 + 0.16 / items) / seeds if seeds > 1 else 0.0
    seed_y = (0.0009 + 0.12 / items) / seeds if seeds > 1 else 0.0

    def df_of(item: float, *of_seeds: float) -> float:
        rest = sum(part**2 for part in of_seeds) / max(1, seeds - 1)
        return (item + sum(of_seeds)) ** 2 / (item**2 / (items - 1) + rest)

    residual = xx - 2 * sgr * xy + sgr**2 * yy
    df = min(df_of(yy, seed_y), df_of(residual, seed_x, sgr**2 * seed_y))
    error = np.sqrt(yy + seed_y)
    quantiles = stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df)
    assert smallest_gap(design) == pytest.approx(quantiles * error)
    # Fieller: the roots of (x - theta y)^2 = t^2 Var(x - theta y).
    squared, x, y = stats.t.ppf(0.975, df) ** 2, sgr * gap, gap
    roots = np.roots(
        [
            y * y - squared * (yy + seed_y),
            -2 * (x * y - squared * xy),
            x * x - squared * (xx + seed_x),
        ]
    )
    assert expected_width(design, gap=gap) == pytest.approx(abs(roots[0] - roots[1]))


def test_without_any_variance_every_gap_is_resolved_exactly() -> None:
    constant = PointVariances(
        item_easy=0.0,
        item_hard=0.0,
        item_covariance=0.0,
        answer_easy=0.0,
        answer_hard=0.0,
        seed_easy=0.0,
        seed_hard=0.0,
        source="by hand",
    )
    design = Design(variances=constant, num_items=10, num_seeds=2)
    assert smallest_gap(design) == 0.0
    assert expected_width(design, gap=0.1) == 0.0
    assert expected_width(design, gap=-0.1) is None


def test_a_pilot_of_two_seeds_is_worked_by_hand() -> None:
    # Rows are items: means 1, 3, 5 and 2, 4 over seeds; what is left is 1/2 or 1 each.
    easy = np.array([[0.0, 2.0], [2.5, 3.5], [3.5, 6.5]])
    arms = {
        "zero_shot": ArmScores(scores=np.zeros((3, 1)), draw_ids=()),
        "easy": ArmScores(scores=easy, draw_ids=("a", "b")),
        "hard": ArmScores(scores=easy[:, ::-1] / 2, draw_ids=("c", "d")),
    }
    found = variances_of_pilot(**arms)
    # Residuals are 0, +-1/2, -+1/2: their squares sum to 1, and (3 - 1) x (2 - 1) are free.
    assert found.answer_easy == pytest.approx(0.5)
    # Seed means 2 and 4 have variance 2; items 4: an answer adds 1/3 and 1/2 of its own.
    assert found.seed_easy == pytest.approx(2.0 - 0.5 / 3)
    assert found.item_easy == pytest.approx(4.0 - 0.5 / 2)
    assert found.answer_hard == pytest.approx(0.5 / 4)
    assert found.item_covariance == pytest.approx(4.0 / 2)


def test_the_source_of_assumed_variances_is_in_points() -> None:
    source = assumed_variances(Population(gap=0.2, seed_sd=0.03, item_sd=1.5)).source
    assert source == "assumed: logit model, item SD 1.5 logits, seed SD 3 points"
