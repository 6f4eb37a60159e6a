"""Self-training drawn and tabled level by level: nothing of one level in the panel of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.space import TaskAxis
from search_spaces.supervision import Condition, SelfTraining
from study.analysis.self_training.audit import AuditedRound, audit_rows
from study.analysis.self_training.rounds import read_rounds
from study.analysis.self_training.tables import STEPS, reliability_table, selective_table
from study.analysis.surface import compute_surface
from study.reporting.figures import audit
from study.reporting.figures.audit import (
    _of_level,
    _panels,
    _sets,
    draw_confidence,
    draw_reliability,
    draw_selective,
)
from study.reporting.figures.drawing import MAX_PANELS, capped, filled
from tests.support.fake_ssrm import ssrm_space
from tests.support.fakes import EASY, FakeStudy
from trainables.storage.filesystem import open_storage

MEDIUM, HARD = Level(name="medium", low=3, high=3), Level(name="hard", low=4, high=4)


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditedRound, ...]:
    """Two models with two thresholds on a pool of two levels, one seed."""
    conditions = tuple(
        Condition(
            name="easy_ssrm",
            levels=("easy",),
            unlabelled=("medium", "hard"),
            rounds=1,
            self_training=SelfTraining(threshold=tau),
        )
        for tau in (0.4, 0.6)
    )
    axis = TaskAxis(
        task="toy",
        measure="steps",
        train_levels=(EASY, MEDIUM, HARD),
        test_levels=(MEDIUM, HARD),
        train_on_all=False,
        conditions=conditions,
    )
    models = (BaseModelRef(name="small"), BaseModelRef(name="large"))
    space = ssrm_space(tasks=(axis,), models=models, seeds=1)
    folder: Path = tmp_path_factory.mktemp("study")
    study = FakeStudy(storage=open_storage(str(folder)), space=space).write().finish()
    surface = compute_surface(study.storage, study.plan)
    return read_rounds(study.storage, study.plan, surface).audited


@pytest.mark.parametrize("by_source", [True, False])
def test_each_level_has_a_panel_of_its_own_from_easy_to_hard(
    rounds: tuple[AuditedRound, ...], by_source: bool
) -> None:
    panels = _panels(rounds, {}, by_source=by_source)
    num_sources = 2 if by_source else 1
    assert [panel.level for panel in panels] == ["medium", "hard"] * 2 * num_sources
    assert len({panel.key for panel in panels}) == len(panels)
    for panel in panels:
        assert panel.column.endswith(f", {panel.level}")
        steps = {"medium": "3", "hard": "4"}[panel.level]
        for found in _sets(panel).values():
            ids = [id_ for answers in found for id_ in answers.ids]
            assert ids and {id_.split("-")[1] for id_ in ids} == {steps}


def test_a_threshold_is_marked_at_the_share_of_the_panels_level(
    rounds: tuple[AuditedRound, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marks are the only plots of a single point; their x are the shares, in percent."""
    marked = []
    plot = audit.Axes.plot

    def spy(self: object, x: list[float], *rest: object, **look: object) -> object:
        if len(x) == 1:
            marked.append(x[0])
        return plot(self, x, *rest, **look)  # type: ignore[arg-type]

    monkeypatch.setattr(audit.Axes, "plot", spy)
    assert draw_selective(rounds, {}) is not None
    shares = []
    for found in rounds:
        for level in ("medium", "hard"):
            sure = _of_level(found.pool, level).confidence
            shares.append(100 * float((sure > found.threshold).mean()))
    assert sorted(marked) == pytest.approx(sorted(shares))
    assert len(set(shares)) > 4


def test_captions_say_how_many_panels_are_left_out(
    rounds: tuple[AuditedRound, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert capped(range(MAX_PANELS), "the table has all") == ""
    wanted = f" Only the first {MAX_PANELS} of 72 panels are shown; the table has all."
    assert capped(range(72), "the table has all") == wanted
    assert filled(range(MAX_PANELS - 1), "the table") == ""
    assert f"at most {MAX_PANELS} panels: the table has" in filled(range(MAX_PANELS), "the table")
    for draw in (draw_confidence, draw_reliability, draw_selective):
        drawing = draw(rounds, {})
        assert drawing is not None and "Shown are" not in drawing.alt
    monkeypatch.setattr(audit, "MAX_PANELS", 3)
    monkeypatch.setattr("study.reporting.figures.drawing.MAX_PANELS", 3)
    for draw, number in ((draw_confidence, 8), (draw_reliability, 8), (draw_selective, 4)):
        drawing = draw(rounds, {})
        assert drawing is not None
        assert f"the first 3 of {number} panels are shown; audit.parquet has" in drawing.alt


def test_reliability_table_has_the_audits_errors_for_each_level_and_both_ways(
    rounds: tuple[AuditedRound, ...],
) -> None:
    table = reliability_table(rounds).to_pylist()
    bins: dict[tuple[object, ...], list[dict[str, float]]] = {}
    names = ("model", "source", "items", "moment", "level", "binning")
    for line in table:
        bins.setdefault(tuple(line[name] for name in names), []).append(line)
    audited = {
        (row.model, f"easy_ssrm tau {row.threshold:g} round 1", row.items, row.moment, row.level): {
            "equal-width": row.ece_equal_width,
            "equal-mass": row.ece_equal_mass,
            "num_items": row.num_items,
        }
        for row in audit_rows(rounds)
    }
    assert len(bins) == 2 * len(audited)
    for (*where, binning), lines in bins.items():
        row = audited[tuple(where)]
        counts = np.array([line["count"] for line in lines])
        apart = np.array([abs(line["accuracy"] - line["confidence"]) for line in lines])
        assert counts.sum() == row["num_items"]
        assert row[str(binning)] == pytest.approx(counts @ apart / counts.sum())
        assert {line["ece"] for line in lines} == {row[str(binning)]}


def test_selective_table_rises_to_all_items(rounds: tuple[AuditedRound, ...]) -> None:
    table = selective_table(rounds).to_pylist()
    curves: dict[tuple[object, ...], list[dict[str, float]]] = {}
    for line in table:
        key = (line["model"], line["source"], line["level"])
        curves.setdefault(key, []).append(line)
    assert len(curves) == 2 * 2 * 3
    for found in rounds:
        source = f"easy_ssrm tau {found.threshold:g} round 1"
        for level in ("medium", "hard"):
            lines = curves[found.planned.model_name, source, level]
            answers = _of_level(found.pool, level)
            assert (lines[-1]["coverage"], lines[-1]["accuracy"]) == (
                1.0, pytest.approx(answers.correct.mean()),
            )  # fmt: skip
            coverage = [line["coverage"] for line in lines]
            assert coverage == sorted(set(coverage)) and 10 < len(lines) <= STEPS + 1
            for line in lines:
                kept = answers.confidence >= line["confidence"]
                assert line["coverage"] == pytest.approx(kept.mean())
                assert line["accuracy"] == pytest.approx(answers.correct[kept].mean())
