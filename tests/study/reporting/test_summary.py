"""The end of a sweep: at most 25 lines of 80 columns, whose sentences keep to the verdicts."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import InContext, LoRA
from study.analysis.accuracy_curves import Curve, CurvePanel, CurvePoint
from study.analysis.names import outcome, recipe_labels
from study.analysis.surface import Surface, compute_surface
from study.analysis.surface_rows import SurfaceRow
from study.cli.console import show
from study.formatting import text_of
from study.reporting.content import gather
from study.reporting.findings import findings, main_rows
from study.reporting.sections.curves import difficulty_quote
from study.reporting.sentences import sentence
from study.reporting.summary import result_parts
from study.reporting.surface_views.tiles import tile_text
from study.statistics.floor import Floor
from study.statistics.sgr import Difference
from tests.support.fake_ssrm import ssrm, ssrm_space
from tests.support.fakes import FakeStudy, contrast, fake_space
from trainables.storage.filesystem import open_storage

FILES = ("Report:  runs/fake/report/index.html", "Surface: runs/fake/surface.parquet")
CONTRASTS = (
    contrast("easy", "zero-shot"),
    contrast("easy", "hard"),
    contrast("easy", "all", of="sgr"),
)


def study_of(folder: Path, **changes: object) -> FakeStudy:
    storage = open_storage(str(folder))
    space = fake_space(**{"seeds": 2, **changes})
    return FakeStudy(storage=storage, space=space, items_per_level=40).write().finish()


def text(study: FakeStudy, surface: Surface | None = None, *, table: bool = False) -> str:
    surface = surface or compute_surface(study.storage, study.plan)
    content = gather(study.storage, study.plan, surface)
    return text_of(result_parts(study.plan, surface, content, files=FILES, table=table))


MICRO_LIKE: dict[str, Any] = {
    "models": tuple(BaseModelRef(name=name) for name in ("small", "large", "huge")),
    "contrasts": CONTRASTS[:2],
}
LARGE: dict[str, Any] = {
    "models": tuple(BaseModelRef(name=f"organisation/model-{i}-0.5b") for i in range(9)),
    "methods": (InContext(k=4), *(LoRA(n_train=8, rank=rank) for rank in (2, 4, 8))),
    "contrasts": CONTRASTS,
}


@pytest.fixture(scope="module")
def of_large(tmp_path_factory: pytest.TempPathFactory) -> str:
    return text(study_of(tmp_path_factory.mktemp("large"), **LARGE))


def check_size(shown: str) -> None:
    lines = shown.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 80
    assert lines[-2:] == list(FILES)


@pytest.mark.parametrize("changes", [MICRO_LIKE, {"seeds": 1}])
def test_it_has_at_most_25_lines_of_80_columns(tmp_path: Path, changes: dict[str, Any]) -> None:
    check_size(text(study_of(tmp_path, **changes)))


def test_rows_that_do_not_fit_are_counted(of_large: str) -> None:
    check_size(of_large)
    matrix = [line for line in of_large.splitlines() if line.startswith("organisation/")]
    left_out = re.search(r"and (\d+) more rows: see --table", of_large)
    assert left_out is not None
    num_blocks = of_large.count("SGR easy -> hard")
    assert len(matrix) + int(left_out[1]) == 9 * num_blocks
    assert num_blocks > 1


def test_every_model_and_method_of_a_small_study_is_in_the_matrix(tmp_path: Path) -> None:
    study = study_of(tmp_path, **MICRO_LIKE)
    surface = compute_surface(study.storage, study.plan)
    shown = text(study, surface)
    rows = main_rows(study.plan, surface)
    assert len(rows) == 6
    for row in rows:
        if row.sgr.estimate is not None:
            assert f"{row.sgr.estimate:.2f}" in shown
    head, *lines = shown.splitlines()[:3]
    assert head.split()[-3:] == ["small", "large", "huge"]
    assert [line.split()[0] for line in lines] == ["in-context", "lora"]


def test_table_prints_every_point(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    shown = text(study, table=True).splitlines()
    points = [line for line in shown if " -> " in line and line.startswith(("small", "large"))]
    assert len(points) == len(study.plan.points)


def test_contrasts_state_the_direction_of_what_they_reject(tmp_path: Path) -> None:
    study = study_of(tmp_path, **MICRO_LIKE)
    (line,) = [each for each in text(study).splitlines() if each.startswith("easy - zero-shot")]
    numbers = re.search(r"(\d+) of 6 \((\d+) up, (\d+) down\)", line)
    assert numbers is not None
    rejected, above, below = map(int, numbers.groups())
    assert rejected == above + below


def changed(row: SurfaceRow, **values: object) -> SurfaceRow:
    assert row.estimate is not None
    return replace(row, estimate=replace(row.estimate, **values))


def test_sentences_claim_no_more_than_the_verdicts(tmp_path: Path) -> None:
    """One point resolved, one where hard labels hurt, one unresolved, one without an estimate."""
    study = study_of(tmp_path, **MICRO_LIKE)
    surface = compute_surface(study.storage, study.plan)
    bare = {"value": None, "low": None, "high": None}
    kinds = [
        {"verdict": "resolved", "value": 0.5, "low": 0.2, "high": 1.1},
        {"verdict": "hard labels hurt", **bare},
        {"verdict": "gap not resolvable", **bare},
    ]
    main = {id(row) for row in main_rows(study.plan, surface)}
    rows, number = [], 0
    for row in surface.rows:
        if id(row) not in main:
            rows.append(row)
            continue
        no_estimate = replace(row, estimate=None, reason="not run")
        rows.append(changed(row, **kinds[number]) if number < 3 else no_estimate)
        number += 1
    surface = replace(surface, rows=tuple(rows))
    resolved, share, failing = findings(study.plan, surface)
    assert "resolved at 1 of 6 points" in resolved
    assert "at 1 hard labels hurt" in resolved and "at 1 it is not resolvable" in resolved
    assert "at 3 there is no estimate" in resolved
    assert "0.50 [0.20, 1.10]" in share and "above 0 at 1 and includes 1 at 1 of 1" in share
    assert failing.startswith("Hard labels hurt with") and "unresolved gaps are" in failing
    none = tuple(changed(r, **kinds[1]) if r.estimate else r for r in surface.rows)
    resolved, share, _ = findings(study.plan, replace(surface, rows=none))
    assert "resolved at 0 of 6" in resolved
    assert share == "So this study cannot tell what share of the gap easier labels recover."


def test_without_a_precise_number_no_gain_follows_the_sentence_that_cannot_tell(
    tmp_path: Path,
) -> None:
    study = study_of(tmp_path, **MICRO_LIKE)
    surface = compute_surface(study.storage, study.plan)
    kinds = ({"verdict": "resolved, imprecise"}, {"verdict": "resolved"})
    imprecise, precise = (
        tuple(changed(r, **kind) if r.estimate else r for r in surface.rows) for kind in kinds
    )
    assert findings(study.plan, replace(surface, rows=imprecise))[1:] == (
        "So this study cannot tell what share of the gap easier labels recover.",
    )
    assert findings(study.plan, replace(surface, rows=precise))[2].startswith("Hard labels gain")


def test_a_mark_is_explained_only_where_it_is_shown(tmp_path: Path) -> None:
    study = study_of(tmp_path, **MICRO_LIKE)
    surface = compute_surface(study.storage, study.plan)
    main = {id(row) for row in main_rows(study.plan, surface)}
    at_chance, above = (
        Floor(chance=0.25, above_chance=low, low=low, high=0.2, verdict=None, verdict_note="")
        for low in (0.0, 0.1)
    )
    for is_main in (True, False):
        rows = tuple(
            replace(row, floor=at_chance if (id(row) in main) == is_main else above)
            for row in surface.rows
        )
        shown = text(study, replace(surface, rows=rows))
        assert ("* [" in shown, "*: floor at chance" in shown) == (is_main, is_main)
        assert "mend the prompt" not in shown
    below = replace(at_chance, verdict="floor below chance")
    rows = tuple(replace(row, floor=below) for row in surface.rows)
    shown = text(study, replace(surface, rows=rows))
    assert "no floor: zero-shot is worse than guessing or unreadable, so mend the prompt" in shown


def test_a_condition_is_best_only_if_its_interval_is_apart() -> None:
    def quote(**ends: tuple[float, float]) -> str:
        curves = tuple(
            Curve(
                name=name,
                points=(
                    CurvePoint(
                        x=1, label="4", mean=(low + high) / 2, low=low, high=high, num_items=9
                    ),
                ),
            )
            for name, (low, high) in ends.items()
        )
        panel = CurvePanel(
            row="lora", column="small", x_title="steps", curves=curves, model="", method="", task=""
        )
        return difficulty_quote([panel])

    assert "is best after hard: 80.0 % [75.0, 85.0]" in quote(easy=(0.5, 0.7), hard=(0.75, 0.85))
    overlapping = quote(easy=(0.7, 0.8), hard=(0.75, 0.85), all=(0.5, 0.6))
    assert "best after" not in overlapping and "55.0" not in overlapping
    assert overlapping.endswith(
        "no condition that is clearly best: hard 80.0 % [75.0, 85.0]; easy 75.0 % [70.0, 80.0]."
    )


def test_the_range_has_two_points_with_their_intervals_and_no_mean(tmp_path: Path) -> None:
    study = study_of(tmp_path, **MICRO_LIKE)
    surface = compute_surface(study.storage, study.plan)
    rows = [row for row in main_rows(study.plan, surface) if row.verdict == "resolved"]
    assert len(rows) >= 2
    _, share, _ = findings(study.plan, surface)
    values = [row.sgr.estimate or 0.0 for row in rows]
    assert f"from {min(values):.2f} [" in share and f" to {max(values):.2f} [" in share
    assert re.findall(r"\d\.\d\d \[", share) == [f"{v:.2f} [" for v in (min(values), max(values))]


def test_an_imprecise_point_keeps_its_number_and_is_in_no_headline(tmp_path: Path) -> None:
    """Its interval is wider than 1: every place says so in the same words."""
    study = study_of(tmp_path, **MICRO_LIKE)
    surface = compute_surface(study.storage, study.plan)
    main = main_rows(study.plan, surface)
    first = next(row for row in main if row.verdict == "resolved")
    wide = changed(first, verdict="resolved, imprecise", value=0.42, low=-0.2, high=1.1)
    rows = tuple(wide if row is first else row for row in surface.rows)
    surface = replace(surface, rows=rows)
    resolved, share, _ = findings(study.plan, surface)
    count = sum(row.verdict == "resolved, imprecise" for row in main) + 1
    assert f"with an imprecise SGR at {count} of them" in resolved
    assert "0.42" not in share
    labels = recipe_labels(row.point.recipe for row in rows)
    assert "recovers 42.0 % (95 % interval -20.0 to 110.0 %; resolved, imprecise)" in sentence(
        wide, labels, 0.95
    )
    assert outcome(wide).startswith("0.42 [-0.20, 1.10]; resolved, imprecise")
    assert tile_text(wide, "sgr").startswith("0.42 ~")
    shown = text(study, surface)
    assert "~ [-0.20, 1.10]" in shown.replace("*~", "~")
    assert "~: resolved, imprecise (interval wider than 1)" in shown


class TestSelfTraining:
    def study(self, folder: Path) -> FakeStudy:
        space = ssrm_space(
            *(ssrm(tau) for tau in (0.5, 0.7, 0.9)),
            ssrm(0.7, "oracle"),
            ssrm(0.7, "random"),
            models=tuple(BaseModelRef(name=name) for name in ("small", "large", "huge")),
            contrasts=(contrast("easy_ssrm", "start"),),
            seeds=3,
        )
        storage = open_storage(str(folder))
        return FakeStudy(storage=storage, space=space, items_per_level=40).write().finish()

    def test_it_fits_and_shows_start_gains_and_right_labels(self, tmp_path: Path) -> None:
        shown = text(self.study(tmp_path)).splitlines()
        assert len(shown) <= 25 and max(map(len, shown)) <= 80
        names = "\n".join(shown)
        for row in (
            "start accuracy, %",
            "tau 0.5",
            "right, tau 0.9",
            "oracle",
            "random",
        ):
            assert row in names
        assert re.search(r"\d+\.\d % of \d+", names)

    @pytest.mark.parametrize("oracle_gain", [(-0.02, 0.03), (0.01, 0.05)])
    @pytest.mark.parametrize("pseudo_gain", [(-0.01, 0.02), (-0.03, -0.01)])
    def test_the_positive_control_decides_what_a_null_result_says(
        self, tmp_path: Path, oracle_gain: tuple[float, float], pseudo_gain: tuple[float, float]
    ) -> None:
        study = self.study(tmp_path)
        surface = compute_surface(study.storage, study.plan)

        def gain(low: float, high: float) -> Difference:
            middle = (low + high) / 2
            return Difference(estimate=middle, low=low, high=high, p_value=0.5, nu=9.0, level=0.95)

        rows = [
            row
            if row.point.start is None
            else replace(
                row,
                gain_over_start=gain(*oracle_gain)
                if row.point.condition == "oracle"
                else gain(*pseudo_gain),
            )
            for row in surface.rows
        ]
        _, _, third = findings(study.plan, replace(surface, rows=tuple(rows)))
        assert "Self-training beats its start at 0 of 9 points" in third
        works = oracle_gain[0] > 0
        assert f"beat it at {3 * works} of 3" in third
        is_null = pseudo_gain[1] > 0
        is_uninformative = "so the null result for pseudo-labels is uninformative" in third
        assert is_uninformative == (is_null and not works)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_of_80_columns_folds_no_cell_and_no_color_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_color: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1") if no_color else monkeypatch.delenv("NO_COLOR", False)
    study = study_of(tmp_path, **MICRO_LIKE)
    surface = compute_surface(study.storage, study.plan)
    content = gather(study.storage, study.plan, surface)
    stream = Terminal()
    parts = list(result_parts(study.plan, surface, content, files=FILES, table=False))
    show(*parts, stream=stream)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert len(plain.splitlines()) == len(text_of(parts).splitlines()) <= 25
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", stream.getvalue())
    show("error: x", style="red", stream=stream)
    assert bool(re.search(r"\x1b\[[0-9;]*31m", stream.getvalue())) == (not no_color)


def test_a_null_that_only_holm_rejects_is_explained(tmp_path: Path) -> None:
    """Its simultaneous interval includes 0, and a reader would see a contradiction."""
    study = study_of(tmp_path, **MICRO_LIKE)
    surface = compute_surface(study.storage, study.plan)
    content = gather(study.storage, study.plan, surface)
    note = "Holm's test is stronger than the simultaneous intervals"

    def summary(low: float, margin: float | None = None) -> str:
        (first, *_) = content.contrasts
        result = replace(
            first,
            contrast=first.contrast.model_copy(update={"margin": margin}),
            estimate=replace(first.estimate, estimate=0.05, low=low, high=0.12),
            holm_p=0.01,
        )
        shown = replace(content, contrasts=(result,))
        parts = result_parts(study.plan, surface, shown, files=FILES, table=False)
        return " ".join(text_of(parts).split())

    assert note in summary(-0.01)
    assert note not in summary(0.01) and note not in summary(-0.01, margin=0.03)
