"""Bootstrap over items and seeds: the variance of a mean, clusters, missing answers, bad input."""

import numpy as np
import pytest

from study.statistics.arms import ArmScores
from study.statistics.differences import critical_value, estimate_contrast
from study.statistics.marginal_means import FloatArray
from study.statistics.moments import satterthwaite
from study.statistics.resampling.bootstrap import Resampled, resample


def resampled_mean(
    scores: FloatArray, *, num_resamples: int = 2000, clusters: tuple[str, ...] | None = None
) -> Resampled:
    seen = ~np.isnan(scores)
    return resample(
        scores[seen][:, None],
        seen,
        clusters=clusters,
        num_resamples=num_resamples,
        rng=np.random.default_rng(0),
    )


@pytest.mark.parametrize("seeds", ["a", "abc"])
@pytest.mark.parametrize("clusters", [None, tuple(str(i // 4) for i in range(200))])
def test_the_variance_of_a_mean_is_that_of_its_components(
    seeds: str, clusters: tuple[str, ...] | None
) -> None:
    rng = np.random.default_rng(0)
    by_group = np.repeat(0.1 * rng.normal(size=(50, 1)), 4, axis=0)
    scores = 0.5 + by_group + 0.15 * rng.normal(size=(200, 1)) + 0.02 * rng.normal(size=len(seeds))
    arm = ArmScores(scores=scores, draw_ids=tuple(seeds))
    exact = estimate_contrast({"arm": arm}, {"arm": 1.0}, clusters=clusters)
    found = resampled_mean(scores, clusters=clusters)
    variances = [(float(part.means.var(ddof=1)), part.df) for part in found.parts]
    assert found.means[0] == pytest.approx(exact.estimate)
    assert len(found.parts) == min(len(seeds), 2)
    assert exact.low is not None and exact.nu is not None
    error = (exact.estimate - exact.low) / critical_value(exact.nu, 0.95)
    assert sum(variance for variance, _ in variances) ** 0.5 == pytest.approx(error, rel=0.05)
    assert satterthwaite(variances) == pytest.approx(exact.nu, rel=0.3)


def test_missing_answers_do_not_count() -> None:
    scores = np.random.default_rng(1).random((50, 3))
    scores[:10, 0] = np.nan
    found = resampled_mean(scores, num_resamples=10)
    assert found.means[0] == pytest.approx(np.nanmean(scores))
    assert all(np.isfinite(part.means).all() for part in found.parts)
    assert [part.df for part in found.parts] == [49, 2]


def test_one_item_has_no_variance_and_clusters_name_every_item() -> None:
    assert resampled_mean(np.array([[0.1, 0.9]])).parts == ()
    with pytest.raises(ValueError, match="name every item, got 1 for 2"):
        resampled_mean(np.ones((2, 1)), clusters=("a",))
