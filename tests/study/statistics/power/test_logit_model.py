"""The simulated population has the means and spreads it was asked for."""

import numpy as np
import pytest

from benchmarks.simulated_points import draw_points
from study.statistics.power.logit_model import Population, arm_law


@pytest.mark.parametrize("item_sd", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("seed_sd", [0.0, 0.005, 0.02, 0.05])
@pytest.mark.parametrize("mean", [0.5, 0.52, 0.55, 0.66, 0.7])
def test_arm_law_meets_its_targets(mean: float, item_sd: float, seed_sd: float) -> None:
    law = arm_law(mean=mean, item_sd=item_sd, seed_sd=seed_sd)
    # Integrated on a plain grid, not with the quadrature that found it.
    grid = np.linspace(-6, 6, 801)
    weights = np.exp(-0.5 * grid**2)
    weights /= weights.sum()
    logits = law.shift + item_sd * grid[:, None] + law.seed_sd * grid
    by_seed = weights @ (1 / (1 + np.exp(-logits)))
    assert weights @ by_seed == pytest.approx(mean, abs=1e-5)
    assert np.sqrt(weights @ (by_seed - mean) ** 2) == pytest.approx(seed_sd, abs=1e-5)


def test_drawn_points_have_the_population_means() -> None:
    population = Population(gap=0.2, seed_sd=0.05, item_sd=1.0)
    drawn = draw_points(
        population, num_items=100, num_seeds=4, num_draws=2000, rng=np.random.default_rng(0)
    )
    assert drawn.zero_shot.mean() == pytest.approx(0.5, abs=0.005)
    assert drawn.easy.mean() == pytest.approx(0.66, abs=0.005)
    assert drawn.hard.mean() == pytest.approx(0.7, abs=0.005)
    # Over seeds of one point: seed variance plus that of 100 answers.
    p = 0.7 * 0.3
    for arm, answers in ((drawn.easy, 0.66 * 0.34), (drawn.hard, p)):
        within = arm.mean(axis=1).var(axis=1, ddof=1).mean()
        assert 0.05**2 < within < 0.05**2 + answers / 100


def test_impossible_populations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hard=1\.1"):
        Population(gap=0.6)
    with pytest.raises(ValueError, match="item_sd=-1"):
        Population(gap=0.1, item_sd=-1)
