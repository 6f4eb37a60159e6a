"""Trends compare sources of one kind, and share one correction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search_spaces.recipes import LoRA
from search_spaces.space import TaskAxis
from search_spaces.supervision import Condition, Labels
from study.analysis.surface import Surface, compute_surface
from study.analysis.trends import TrendRow, trend_rows
from study.statistics.across_points.multiplicity import holm
from study.statistics.across_points.pooling import PointArms
from study.statistics.across_points.trend import EASY_GAIN, trend
from study.statistics.arms import ArmScores
from tests.support.fakes import EASY, HARD, ONLY_4, fake_study

RATES = (0.25, 0.5)
COUNTS = (4, 16)
CONDITIONS = (
    Condition(name="mixed", levels=("easy", "hard")),
    *(Condition(name=f"{count} easy", levels=("easy",), n_train=count) for count in COUNTS),
    *(
        Condition(name=f"{kind} {rate}", levels=("easy",), labels=Labels(kind=kind, rate=rate))
        for kind in ("noise", "paper noise")
        for rate in RATES
    ),
    Condition(name="random", levels=("easy",), labels=Labels(kind="random")),
)


@pytest.fixture(name="surface", scope="module")
def make_surface(tmp_path_factory: pytest.TempPathFactory) -> Surface:
    axis = TaskAxis(
        task="toy",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD, ONLY_4),
        conditions=CONDITIONS,
    )
    study = fake_study(
        tmp_path_factory.mktemp("trends"), tasks=(axis,), methods=(LoRA(n_train=8),), contrasts=()
    )
    return compute_surface(study.storage, study.plan)


def _of(rows: tuple[TrendRow, ...], axis: str) -> dict[str, int]:
    return {row.sources: row.result.num_points for row in rows if row.axis == axis}


def test_a_slope_over_size_or_gap_has_clean_labels_of_one_level_and_number(
    surface: Surface,
) -> None:
    rows = trend_rows(surface)
    # One source on two test levels by two models; no noise, no mix, no other number of labels.
    wanted = {f"{count} clean labels of one level": 4 for count in (4, 8, 16)}
    assert _of(rows, "log10 of model size") == wanted
    assert _of(rows, "difficulty gap") == wanted


def test_noise_and_number_of_labels_have_trends_of_their_own(surface: Surface) -> None:
    rows = trend_rows(surface)
    # Three rates (0 included) of each kind, two test levels, two models.
    assert _of(rows, "noise rate") == {
        "8 labels of easy, noise": 12,
        "8 labels of easy, paper noise": 12,
    }
    assert _of(rows, "log2 of labels") == {"clean labels of easy": 12}
    assert {row.quantity for row in rows if row.axis == "noise rate"} == {"gain over zero-shot"}


def test_all_trends_of_a_report_share_one_correction(surface: Surface) -> None:
    rows = trend_rows(surface)
    p_values = [row.result.slope and row.result.slope.p_value for row in rows]
    assert len({row.axis for row in rows}) == 4
    assert [row.holm_p for row in rows] == holm(p_values)
    smallest = min(p for p in p_values if p is not None)
    tested = sum(p is not None for p in p_values)
    assert min(r.holm_p for r in rows if r.holm_p is not None) == pytest.approx(
        min(1.0, tested * smallest)
    )


def test_a_stratum_with_one_place_says_nothing_of_a_slope(surface: Surface) -> None:
    """A source that one model lacks must not tilt the slope over model size."""
    rows = trend_rows(surface)
    fewer = replace(
        surface,
        rows=tuple(
            row
            for row in surface.rows
            if (row.point.model, row.point.test_level.name) != ("large", "steps 4")
        ),
    )
    kept = _of(trend_rows(fewer), "log10 of model size")
    assert set(kept.values()) == {2}
    assert set(_of(rows, "log10 of model size").values()) == {4}


def test_a_slope_is_that_within_strata() -> None:
    rng = np.random.default_rng(3)

    def point(place: float, gain: float, stratum: str) -> PointArms:
        items = tuple(f"{stratum}/{i}" for i in range(50))
        noise = rng.normal(0, 0.01, (50, 2))
        return PointArms(
            arms={
                "zero_shot": ArmScores(scores=np.full((50, 1), 0.2), draw_ids=(), item_ids=items),
                "easy": ArmScores(
                    scores=0.2 + gain + noise - noise.mean(axis=0),
                    draw_ids=(f"{stratum}{place}/0", f"{stratum}{place}/1"),
                    item_ids=items,
                ),
            },
            covariate=place,
            stratum=stratum,
        )

    # Within each stratum the slope is 0.1; between them the higher places gain less.
    points = [point(0, 0.5, "a"), point(1, 0.6, "a"), point(2, 0.1, "b"), point(3, 0.2, "b")]
    found = trend(points, EASY_GAIN)
    assert found.slope is not None
    assert found.slope.estimate == pytest.approx(0.1)
    apart = trend([points[0], points[2]], EASY_GAIN)
    assert apart.slope is None and "in one stratum" in apart.reason
