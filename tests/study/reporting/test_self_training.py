"""Self-training in the surface and the report: gains with their sign, and nothing mixed up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from study.analysis.accuracy_curves import difficulty_panels, factor_panels
from study.analysis.contrasts import declared_contrasts
from study.analysis.names import recipe_labels
from study.analysis.surface import Surface, compute_surface
from study.analysis.surface_columns import surface_table
from study.analysis.surface_rows import SurfaceRow
from study.analysis.trends import trend_rows
from study.formatting import text_of
from study.reporting.content import ViewChoice, choose_views
from study.reporting.findings import findings
from study.reporting.paper_figures import self_training_figures
from study.reporting.self_training import audit_lines, gather_self_training
from study.reporting.sentences import gain_sentence
from study.reporting.surface_views.views import make_view
from study.reporting.terminal import surface_parts
from study.statistics.arms import ArmScores
from study.statistics.sgr import Difference, estimate_residual_recovery
from study.tracking.rows import cell_factors, cell_results
from tests.support.fake_ssrm import ssrm, ssrm_space
from tests.support.fake_tasks import pool_rows
from tests.support.fakes import FakeStudy, contrast, fake_study
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record, read_scores

BOTH = (BaseModelRef(name="small"), BaseModelRef(name="large"))
MANY = (ssrm(0.5, rounds=2), ssrm(0.7, rounds=2), ssrm(0.7, "oracle"), ssrm(0.7, "random"))


def ssrm_study(root: Path, *conditions: object, **changes: object) -> FakeStudy:
    space = ssrm_space(*conditions, **changes)  # type: ignore[arg-type]
    return FakeStudy(storage=open_storage(str(root)), space=space).write().finish()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    """Two sizes, two thresholds with two rounds each, two controls."""
    return ssrm_study(tmp_path_factory.mktemp("study"), *MANY, models=BOTH)


@pytest.fixture(scope="module")
def surface(study: FakeStudy) -> Surface:
    return compute_surface(study.storage, study.plan)


def scores(study: FakeStudy, cells: tuple[str, ...]) -> np.ndarray:
    """Scores of an arm on the hard items, sorted by id: [items, seeds]."""
    columns = []
    for id_ in cells:
        rows = read_scores(study.storage, id_, read_record(study.storage, id_)).to_pylist()
        rows = sorted(rows, key=lambda row: row["item_id"])
        columns.append([float(r["correct"]) for r in rows if r["item_id"][4] in "34"])
    return np.array(columns).T


def test_the_gain_is_the_paired_difference_with_shared_draws(
    study: FakeStudy, surface: Surface
) -> None:
    rows = [row for row in surface.rows if row.point.start is not None]
    assert len(rows) == 12
    for row in rows:
        point = row.point
        arms = {
            name: ArmScores(scores=scores(study, arm.cells), draw_ids=arm.draws)
            for name, arm in (("easy", point.start), ("ssrm", point.easy), ("hard", point.hard))
        }
        assert point.start.draws == point.easy.draws
        expected = estimate_residual_recovery(**arms).ratio.numerator
        assert row.start == pytest.approx(arms["easy"].scores.mean())
        assert row.ssrm_gain.estimate == pytest.approx(
            arms["ssrm"].scores.mean() - arms["easy"].scores.mean()
        )
        assert (row.ssrm_gain.low, row.ssrm_gain.high, row.ssrm_gain.p_value) == pytest.approx(
            (expected.low, expected.high, expected.p_value)
        )
    table = surface_table(surface.rows).to_pylist()
    assert [row["ssrm_gain"] for row in table] == [r.ssrm_gain.estimate for r in surface.rows]
    assert {row["role"] for row in table} == {"labels", "self-training", "control"}


def test_the_gain_needs_no_hard_cells(tmp_path: Path) -> None:
    study = ssrm_study(tmp_path)
    for cell in study.cells("hard"):
        study.fail_cell(cell)
    surface = compute_surface(study.storage, study.plan)
    row = next(r for r in surface.rows if r.role == "self-training")
    assert row.verdict is None and row.reason is not None
    assert row.ssrm_gain.low is not None
    assert row.start is not None


def test_without_self_training_there_is_neither_gain_nor_section(tmp_path: Path) -> None:
    plain = fake_study(tmp_path)
    surface = compute_surface(plain.storage, plain.plan)
    assert {row.role for row in surface.rows} == {"labels"}
    assert all(row.ssrm_gain.estimate is None and row.start is None for row in surface.rows)
    assert gather_self_training(plain.storage, plain.plan, surface) is None
    assert "Self-training" not in text_of(surface_parts(surface))


def row_with(surface: Surface, low: float | None, high: float | None) -> SurfaceRow:
    row = next(r for r in surface.rows if r.point.start is not None)
    middle = 0.021 if low is None or high is None else (low + high) / 2
    gain = Difference(estimate=middle, low=low, high=high, p_value=0.5, nu=9.0, level=0.95)
    return replace(row, gain_over_start=gain)


@pytest.mark.parametrize(
    ("low", "high", "sentence", "star"),
    [
        (0.003, 0.039, "beats easy labels alone by +2.1 points [+0.3, +3.9].", True),
        (
            -0.01,
            0.05,
            "does not differ significantly from easy labels alone: +2.0 points [-1.0, +5.0].",
            False,
        ),
        (-0.05, -0.01, "hurts compared with easy labels alone: -3.0 points [-5.0, -1.0].", True),
        (None, None, "compared with easy labels alone: +2.1 points, without an interval.", False),
    ],
)
def test_the_sentence_says_the_sign_whatever_it_is(
    surface: Surface, low: float | None, high: float | None, sentence: str, star: bool
) -> None:
    row = row_with(surface, low, high)
    assert gain_sentence(row) == f"easy_ssrm tau 0.5 round 1 {sentence}"
    line = text_of(surface_parts(replace(surface, rows=(row,)))).splitlines()[-1]
    assert ("*" in line) == star


def test_the_terminal_lists_every_threshold_and_round_and_controls_last(surface: Surface) -> None:
    text = text_of(surface_parts(surface))
    lines = text[text.index("Self-training against its start") :].splitlines()[2:]
    shown = [tuple(line.split()[:5]) for line in lines]
    wanted = [("0.5", "1"), ("0.5", "2"), ("0.7", "1"), ("0.7", "2")]
    assert shown[:4] == [("small", "lora", "easy_ssrm", *pair) for pair in wanted]
    assert [line[2] for line in shown] == ["easy_ssrm"] * 8 + ["oracle", "random"] * 2


def tiles(surface: Surface, **choice: str) -> dict[tuple[str, int, int], list[int]]:
    view = make_view(surface.rows, **choice)  # type: ignore[arg-type]
    found: dict[tuple[str, int, int], list[int]] = {}
    for panel in view.panels:
        for tile in panel.tiles:
            found.setdefault((panel.label, tile.x, tile.y), []).append(tile.row)
    return found


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"x": "threshold"},
        {"x": "ssrm_round"},
        {"x": "threshold", "y": "ssrm_round"},
        {"x": "threshold", "y": "model_size"},
        {"x": "ssrm_round", "y": "model_size"},
        {"x": "train_level", "y": "model_size"},
        {"x": "threshold", "value": "ssrm_gain"},
    ],
)
def test_thresholds_rounds_and_controls_never_share_a_tile_or_a_panel(
    surface: Surface, axes: dict[str, str]
) -> None:
    found = tiles(surface, **axes)
    assert all(len(rows) == 1 for rows in found.values())
    roles: dict[str, set[str]] = {}
    for (label, _, _), (row,) in found.items():
        roles.setdefault(label, set()).add(surface.rows[row].role)
    assert all(len(kinds) == 1 for kinds in roles.values())
    placed = {row for (row,) in found.values()}
    wanted = {
        i
        for i, row in enumerate(surface.rows)
        if not {"threshold", "ssrm_round"} & set(axes.values()) or row.point.threshold is not None
    }
    assert placed == wanted


def test_a_view_over_thresholds_has_one_line_a_source(surface: Surface) -> None:
    view = make_view(surface.rows, x="threshold")
    panel = next(p for p in view.panels if "self-training" in p.label and "small" in p.label)
    assert panel.x_labels == ("0.5", "0.7")
    assert panel.y_labels == ("easy_ssrm round 1 -> hard  (+2)", "easy_ssrm round 2 -> hard  (+2)")
    titles = [view.title for view in choose_views(surface.rows, ViewChoice())]
    assert titles == [
        "SGR over test level and labels used",
        "SGR over model size and difficulty gap",
        "SGR over confidence threshold and difficulty gap",
        "SGR over self-training round and difficulty gap",
        "self-trained minus its start (points) over confidence threshold and difficulty gap",
    ]


def test_curves_of_thresholds_do_not_hide_each_other(surface: Surface) -> None:
    panels = {p.row: [c.name for c in p.curves] for p in difficulty_panels(surface)
              if p.column == "small"}  # fmt: skip
    assert panels == {
        "lora": ["zero-shot", "easy", "hard"],
        "lora, self-training": [
            "zero-shot", "easy", "hard",
            "easy_ssrm tau 0.5 round 1", "easy_ssrm tau 0.5 round 2",
            "easy_ssrm tau 0.7 round 1", "easy_ssrm tau 0.7 round 2",
        ],
        "lora, controls": [
            "zero-shot", "easy", "hard", "oracle tau 0.7 round 1", "random tau 0.7 round 1",
        ],
    }  # fmt: skip
    by_factor = {(p.x_title, p.column): [c.name for c in p.curves] for p in factor_panels(surface)}
    assert by_factor["threshold", "small"] == ["easy_ssrm round 1", "easy_ssrm round 2"]
    assert by_factor["ssrm_round", "small"] == ["easy_ssrm tau 0.5", "easy_ssrm tau 0.7"]


def test_recipes_of_one_method_have_separate_curves_over_thresholds(tmp_path: Path) -> None:
    recipes = (LoRA(n_train=8, rank=4), LoRA(n_train=8, rank=8))
    study = ssrm_study(tmp_path, ssrm(0.5), ssrm(0.7), methods=recipes)
    panels = factor_panels(compute_surface(study.storage, study.plan))
    assert [panel.row for panel in panels] == ["lora rank=4 on hard", "lora rank=8 on hard"]
    assert all([p.x for p in curve.points] == [0.5, 0.7] for s in panels for curve in s.curves)


def test_the_audit_lines_are_means_over_seeds(study: FakeStudy, surface: Surface) -> None:
    section = gather_self_training(study.storage, study.plan, surface)
    line = next(
        entry
        for entry in audit_lines(section.audit, {})
        if (entry.model, entry.condition, entry.threshold) == ("small", "easy_ssrm", 0.5)
    )
    mine = [
        r.coverage
        for r in section.audit
        if (r.model, r.condition, r.threshold, r.ssrm_round) == ("small", "easy_ssrm", 0.5, 1)
        and (r.items, r.moment, r.level) == ("pool", "before", "hard")
    ]
    assert (line.num_seeds, line.level) == (3, "hard")
    assert line.means["coverage"] == pytest.approx(np.mean(mine))
    assert len(set(mine)) > 1
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    drawn = self_training_figures(study.plan, surface, section, labels)
    parts = ("thresholds", "ssrm-gain", "ssrm-selective", "ssrm-confidence", "ssrm-reliability")
    assert [drawing.name for drawing in drawn] == list(parts)


def test_a_declared_gain_is_tested_for_every_threshold_together(tmp_path: Path) -> None:
    declared = (contrast("easy_ssrm", "start"),)
    study = ssrm_study(tmp_path, contrasts=declared)
    for cell in study.cells("hard"):
        study.fail_cell(cell)
    surface = compute_surface(study.storage, study.plan)
    results = declared_contrasts(study.plan, surface)
    rows = [row for row in surface.rows if row.role == "self-training"]
    assert [r.estimate.p_value for r in results] == [row.ssrm_gain.p_value for row in rows]
    smallest = min(row.ssrm_gain.p_value for row in rows)
    assert min(r.holm_p for r in results) == pytest.approx(min(2 * smallest, 1.0))
    for result, row in zip(results, rows, strict=True):
        assert result.reason is None
        assert result.estimate.low < row.ssrm_gain.low  # they hold together, so they are wider
    with pytest.raises(ValidationError, match="it has no self-training"):
        ssrm_space(contrasts=(contrast("easy", "start"),))


def test_controls_are_in_no_headline_and_no_trend(study: FakeStudy, surface: Surface) -> None:
    first = findings(study.plan, surface)[:2]
    assert "of 2 points" in first[0]
    assert "oracle" not in "".join(first) and "random" not in "".join(first)
    high = replace(
        surface,
        rows=tuple(
            replace(row, estimate=row.estimate and replace(row.estimate, value=9.0))
            if row.role == "control"
            else row
            for row in surface.rows
        ),
    )
    assert findings(study.plan, high)[:2] == first
    trends = [t for t in trend_rows(surface) if t.axis == "log10 of model size"]
    sources = {(t.method, t.sources) for t in trends}
    # A self-trained source has its threshold and round, and is compared with itself alone.
    assert sources == {
        ("lora", "8 clean labels of one level"),
        *(
            ("lora, self-training", f"easy_ssrm tau {tau:g} round {number}")
            for tau in (0.5, 0.7)
            for number in (1, 2)
        ),
    }
    assert {t.result.num_points for t in trends} == {2}


def test_a_cells_row_tells_what_its_round_selected(study: FakeStudy) -> None:
    planned = next(c for c in study.cells("easy_ssrm") if c.cell.round == 2)
    record = read_record(study.storage, planned.id)
    row = {**cell_factors(planned), **cell_results(record)}
    assert (row["threshold"], row["round"], row["targets"]) == (0.5, 2, "pseudo")
    pool = pool_rows(planned, study.tasks["toy"])
    assert row["num_pool"] == len(pool)
    assert row["num_selected"] == sum(max(r["probabilities"]) > 0.5 for r in pool)
    assert row["threshold_in_force"] == 0.5
    plain = study.cells("easy")[0]
    assert "num_pool" not in cell_results(read_record(study.storage, plain.id))
