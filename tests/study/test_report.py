"""The report: what it says is what the surface holds, and bad input is said clearly."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from search_spaces.contrasts import Arm
from search_spaces.recipes import InContext, LoRA
from study import report
from study.analysis.accuracy_curves import difficulty_panels, factor_panels
from study.analysis.contrasts import declared_contrasts
from study.analysis.label_curves import label_curves
from study.analysis.level_mix import level_mixes
from study.analysis.names import recipe_labels
from study.analysis.surface import Surface, compute_surface
from study.analysis.trends import trend_rows
from study.formatting import text_of
from study.reporting.legacy import legacy_rows
from study.reporting.sentences import sentence
from study.reporting.surface_views.tiles import Status, hover_lines, ink_on, status
from study.reporting.surface_views.views import make_view, varying_axes
from study.reporting.terminal import surface_parts
from study.tracking.wandb_report import build_report, save_wandb_report
from tests.support.fakes import FakeStudy, contrast, fake_space, fake_study
from tests.support.page_data import page_rows
from trainables.storage.filesystem import open_storage


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    """A finished study of 38 cells and 16 points; tests do not write to it."""
    return fake_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def surface(study: FakeStudy) -> Surface:
    return compute_surface(study.storage, study.plan)


class TestViews:
    def test_every_point_is_on_one_tile_and_no_two_share_one(self, surface: Surface) -> None:
        axes = varying_axes(surface.rows)
        assert {"model_size", "difficulty_gap", "train_level", "test_level", "method"} <= set(axes)
        for x in axes:
            for y in axes:
                if x == y:
                    continue
                view = make_view(surface.rows, x=x, y=y)
                tiles = [(p.label, t.x, t.y) for p in view.panels for t in p.tiles]
                assert len(set(tiles)) == len(tiles), (x, y)
                rows = Counter(t.row for p in view.panels for t in p.tiles)
                assert set(rows.values()) == {1}

    def test_sizes_run_by_parameters_and_gaps_by_difficulty(self, surface: Surface) -> None:
        panel = make_view(surface.rows).panels[0]
        assert panel.x_labels == ("small (100 k)", "large (1 M)")
        gaps = [float(label.rpartition("(")[2].rstrip(")")) for label in panel.y_labels]
        assert gaps == sorted(gaps)

    def test_a_value_that_no_point_has_is_refused(self, surface: Surface) -> None:
        """A figure of nothing would put points of another kind under its title."""
        for value in ("ssrm_gain", "residual"):
            with pytest.raises(ValueError, match="this study has no self-trained points"):
                make_view(surface.rows, value=value)

    def test_what_is_on_no_axis_is_faceted(self, surface: Surface) -> None:
        labels = [panel.label for panel in make_view(surface.rows).panels]
        assert labels == ["in-context", "lora"]
        fixed = make_view(surface.rows, x="train_level", y="test_level", fixed={"method": "lora"})
        assert [panel.label for panel in fixed.panels] == ["small", "large"]

    def test_a_factor_can_be_an_axis(self, tmp_path: Path) -> None:
        methods = tuple(LoRA(n_train=n, rank=rank) for n in (4, 8) for rank in (2, 4))
        wide = fake_study(tmp_path, methods=methods, seeds=2)
        rows = compute_surface(wide.storage, wide.plan).rows
        view = make_view(rows, x="n_train", y="rank", fixed={"model_size": "small"})
        assert view.panels[0].x_labels == ("4", "8")
        assert view.panels[0].y_labels == ("2", "4")
        assert len(view.panels) == 4  # conditions x test levels
        surface = compute_surface(wide.storage, wide.plan)
        assert factor_panels(surface) == ()  # those are self-training's
        assert {entry.panel.x_title for entry in label_curves(surface)} == {"labels"}

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ({"x": "colour"}, "axis 'colour'"),
            ({"x": "threshold"}, "no point of this study has one"),
            ({"x": "method", "y": "method"}, "two different axes"),
            ({"value": "speed"}, "value 'speed'"),
            ({"fixed": {"method": "probe"}}, "this study has in-context, lora"),
            ({"x": "k", "fixed": {"method": "lora"}}, "no point"),
        ],
    )
    def test_a_view_that_cannot_be_is_said(
        self, surface: Surface, wanted: dict[str, object], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            make_view(surface.rows, **wanted)  # type: ignore[arg-type]


class TestSentences:
    def test_a_resolved_point_states_share_interval_and_evidence(self, surface: Surface) -> None:
        row = next(row for row in surface.rows if row.verdict == "resolved")
        text = sentence(row, recipe_labels([row.point.recipe]), 0.95)
        assert row.sgr.estimate is not None
        assert f"recovers {100 * row.sgr.estimate:.1f} %" in text
        assert f"zero-shot {100 * (row.zero_shot or 0):.1f} %" in text
        assert f"({row.num_items} items, 3 seeds" in text

    def test_what_is_not_resolved_gives_no_share(self, surface: Surface) -> None:
        row = surface.rows[0]
        for verdict_, words in (
            ("gap not resolvable", "do not differ significantly from 0"),
            ("hard labels hurt", "hard labels hurt by"),
        ):
            estimate = replace(row.estimate, verdict=verdict_, value=None, low=None, high=None)
            bare = replace(row, estimate=estimate)
            text = sentence(bare, recipe_labels([row.point.recipe]), 0.95)
            assert words in text
            assert "recovers" not in text


class TestFigures:
    def test_text_has_contrast_on_every_tile(self) -> None:
        def contrast(ink: str, colour: tuple[float, float, float]) -> float:
            linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
            light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
            other = 0.0 if ink == "#000000" else 1.0
            return (max(light, other) + 0.05) / (min(light, other) + 0.05)

        greys = [(v, v, v) for v in np.linspace(0, 1, 50)]
        assert min(contrast(ink_on(grey), grey) for grey in greys) >= 4.5

    def test_accuracy_curves_are_the_accuracies(self, study: FakeStudy, surface: Surface) -> None:
        (panel,) = [p for p in difficulty_panels(surface) if (p.row, p.column) == ("lora", "small")]
        assert [curve.name for curve in panel.curves] == ["zero-shot", "easy", "hard", "all"]
        easy = panel.curves[1].points
        assert [point.label for point in easy] == ["1", "2", "3", "4"]
        row = next(
            r
            for r in surface.rows
            if (r.point.model, r.point.recipe.method, r.point.condition, r.point.test_level.name)
            == ("small", "lora", "easy", "steps 4")
        )
        assert easy[3].mean == pytest.approx(row.easy)
        assert easy[3].low is not None
        assert easy[3].low < easy[3].mean


class TestTests:
    def test_declared_contrasts_are_corrected_for_each_other(self, tmp_path: Path) -> None:
        both = (
            contrast("hard", "easy"),
            contrast(Arm(condition="easy", model="small"), "all"),
        )
        study = fake_study(tmp_path, contrasts=both)
        surface = compute_surface(study.storage, study.plan)
        results = declared_contrasts(study.plan, surface)
        assert len(results) == 4 + 2  # two models x two methods, and one model
        for result in results:
            assert result.estimate.p_value is not None
            assert result.holm_p is not None
            assert result.holm_p >= result.estimate.p_value
        assert min(r.holm_p or 1 for r in results) == pytest.approx(
            min(1.0, 6 * min(r.estimate.p_value or 1 for r in results))
        )
        row = next(
            r for r in surface.rows if (r.point.model, r.point.condition) == ("small", "easy")
        )
        low = results[0].estimate.low
        assert low is not None
        assert row.hard_minus_easy.low is not None
        assert low < row.hard_minus_easy.low  # simultaneous intervals are wider

    def test_a_contrast_is_tested_at_the_points_of_its_task_and_recipe(
        self, tmp_path: Path
    ) -> None:
        (axis,) = fake_space().tasks
        study = fake_study(
            tmp_path,
            tasks=(axis, axis.model_copy(update={"task": "other"})),
            methods=(InContext(k=4), InContext(k=2)),
            contrasts=(
                contrast(
                    Arm(condition="easy", recipe=InContext(k=2)),
                    "hard",
                    task="toy",
                    measure="steps",
                ),
                contrast(Arm(condition="easy", model="small"), "hard", task="other"),
            ),
        )
        surface = compute_surface(study.storage, study.plan)
        found = [result.where for result in declared_contrasts(study.plan, surface)]
        assert len(found) == 2 + 2  # one recipe on two models; two recipes on one model
        assert sum("k=2" in where for where in found) == 3
        assert sum("large" in where for where in found) == 1

    def test_trends_use_all_points_of_one_level(self, surface: Surface) -> None:
        rows = trend_rows(surface)
        assert {row.axis for row in rows} == {"log10 of model size", "difficulty gap"}
        # Two models on two test levels; the labels of `all` are of several levels.
        assert {row.point.condition for row in surface.rows} == {"easy", "all"}
        assert all(row.result.num_points == 4 for row in rows)
        gain = next(
            r
            for r in rows
            if (r.method, r.axis, r.quantity)
            == ("lora", "log10 of model size", "gain over zero-shot")
        )
        assert gain.result.slope is not None
        assert gain.result.slope.low is not None
        assert gain.result.slope.low > 0  # larger fake models gain more

    def test_the_papers_numbers_do_not_depend_on_the_other_points(
        self, study: FakeStudy, surface: Surface
    ) -> None:
        all_rows = legacy_rows(study.plan, surface, num_resamples=200)
        assert len(all_rows) == len(surface.rows)
        fewer = Surface(
            rows=surface.rows[3:4],
            level=surface.level,
            counts=surface.counts,
            reasons=surface.reasons,
            items=surface.items,
            scores=surface.scores,
        )
        (alone,) = legacy_rows(study.plan, fewer, num_resamples=200)
        assert alone.paper == all_rows[3].paper

    def test_level_mix_counts_what_there_is(self, study: FakeStudy, surface: Surface) -> None:
        mixes = {(m.level, m.part): m for m in level_mixes(study.plan, surface)}
        easy = mixes["easy", "train"]
        assert easy.num_items == 60
        assert sum(easy.positions) == pytest.approx(1.0)
        assert dict(easy.topics) == pytest.approx({"coins": 0.5, "fruit": 0.5})
        assert mixes["all", "train"].num_items == 120
        assert mixes["hard", "test"].question_words > mixes["easy", "train"].question_words


class TestTable:
    def test_lines_fit_and_hold_every_point(self, surface: Surface) -> None:
        text = text_of(surface_parts(surface))
        lines = text.splitlines()
        assert max(map(len, lines)) <= 120
        row = surface.rows[0]
        assert f"{row.sgr.estimate:.2f} [{row.sgr.low:.2f}, {row.sgr.high:.2f}]" in lines[1]
        assert "38 of 38 cells finished" in lines[-1]

    def test_recipes_of_one_method_are_told_apart(self) -> None:
        labels = recipe_labels([LoRA(rank=4), LoRA(rank=8), InContext()])
        assert sorted(labels.values()) == ["in-context", "lora rank=4", "lora rank=8"]

    def test_statuses_cover_every_verdict(self, surface: Surface) -> None:
        assert {status(row) for row in surface.rows} <= set(Status)
        assert "verdict: resolved" in hover_lines(surface.rows[0])


class TestCommand:
    def test_it_writes_page_figures_and_surface(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake_study(tmp_path, seeds=2)
        assert report.main([str(tmp_path / "fake"), "--legacy-bootstrap", "--figures"]) == 0
        folder = tmp_path / "fake" / "report"
        names = {path.name for path in folder.iterdir()}
        for figure in ("surface", "accuracy", "calibration", "loss"):
            assert {f"{figure}.png", f"{figure}.svg", f"{figure}.pdf"} <= names
            assert (folder / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
        page = (folder / "index.html").read_text()
        table = pq.read_table(tmp_path / "fake" / "surface.parquet").to_pylist()
        shown = [row["SGR"] for row in page_rows(page, "points")]
        assert shown == [None if r["sgr"] is None else round(r["sgr"], 10) for r in table]
        assert "data:image" not in page
        assert "paper: mean +/- half-width" in page
        assert "paper: mean +/- half-width" in capsys.readouterr().out

    def test_it_works_while_a_study_is_running(self, tmp_path: Path) -> None:
        study = FakeStudy(storage=open_storage(str(tmp_path))).write()
        study.finish(study.plan.cells[:5])
        assert report.main([str(tmp_path / "fake")]) == 0
        assert "cells missing: not run" in (tmp_path / "fake/report/index.html").read_text()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere"], "does not exist: run `python -m study.sweep` first"),
            ([""], "studies of this run folder are fake: name one of them"),
            (["fake", "--x", "colour"], "axis 'colour'"),
            (["fake", "--fix", "method"], "--fix must be AXIS=CATEGORY"),
            (["fake", "--fix", "method=none"], "method='none'"),
        ],
    )
    def test_bad_input_is_one_line_and_status_2(
        self,
        study: FakeStudy,
        arguments: list[str],
        message: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        run, *rest = arguments
        assert report.main([f"{study.storage.root}/{run}", *rest]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1

    def test_a_study_without_records_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        FakeStudy(storage=open_storage(str(tmp_path)), space=fake_space()).write()
        assert report.main([str(tmp_path / "fake")]) == 2
        assert "has no record of any of the 38 cells" in capsys.readouterr().err
        assert not (tmp_path / "fake" / "report").exists()


class TestWandbReport:
    def test_without_a_key_it_is_built_and_says_what_is_missing(
        self, study: FakeStudy, surface: Surface, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("wandb_workspaces")
        monkeypatch.setenv("WANDB_MODE", "offline")
        told = save_wandb_report(study.plan, surface)
        assert told.startswith("built with 10 blocks, but not saved without a W&B key")

    def test_it_shows_the_runs_of_every_job_type(self, study: FakeStudy, surface: Surface) -> None:
        wr = pytest.importorskip("wandb_workspaces.reports.v2")
        report = build_report(wr, study.plan, surface)
        grids = [block for block in report.blocks if isinstance(block, wr.PanelGrid)]
        filters = [runset.filters for grid in grids for runset in grid.runsets]
        assert [text.rpartition(" ")[2] for text in filters] == ["'surface'", "'cells'", "'tuning'"]
        assert all("Group = 'fake'" in text for text in filters)
        tables = {panel.table_name for panel in grids[0].panels if hasattr(panel, "table_name")}
        assert tables == {"matrix", "contrasts", "surface"}
        kinds = [type(panel).__name__ for panel in grids[2].panels]
        assert kinds[:2] == ["ParameterImportancePlot", "ParallelCoordinatesPlot"]

    def test_without_the_package_it_says_so(
        self, study: FakeStudy, surface: Surface, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
        assert "wandb-workspaces is missing" in save_wandb_report(study.plan, surface)
