"""The page on ARC is computed from the records, whether a space is complete, partial or empty."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import arc_costs, arc_results
from benchmarks.arc_costs import Work, run_lines
from benchmarks.arc_findings import finding_lines, holm_sentence
from benchmarks.arc_parts import STUDY, Part, read_parts, spaces
from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import InContext, LinearProbe
from search_spaces.space import TaskAxis
from search_spaces.studies.lab.ssrm_micro import easy_ssrm, ssrm_contrasts
from search_spaces.supervision import Condition
from study.analysis.self_training.audit import audit_rows
from study.analysis.self_training.rounds import read_rounds
from study.archive import archive_study
from study.statistics.sgr import Difference
from tests.support.fakes import EASY, HARD, FakeStudy, contrast, fake_space
from trainables.cells.planned import PlannedCell
from trainables.storage.filesystem import open_storage

TAU = 0.8
SURFACE = "Surface: easy, medium and all labels against hard ones"
CHECK_PAGE = "SCARCE_LABELS_ARC_PAGE"

StudyOf = Callable[[Callable[[FakeStudy], Iterable[PlannedCell]]], Part]


@pytest.fixture(name="part_of", scope="module")
def make_part_of(tmp_path_factory: pytest.TempPathFactory) -> StudyOf:
    """Archives a small study with some of its cells finished, and reads it as the page does."""
    axis = TaskAxis(
        task="toy",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(EASY, HARD),
        prompt="open",
        conditions=(
            *(Condition(name=f"4 {lv.name}", levels=(lv.name,), n_train=4) for lv in (EASY, HARD)),
            *(easy_ssrm(TAU, targets=targets) for targets in ("pseudo", "oracle", "random")),
        ),
    )
    space = fake_space(
        models=(BaseModelRef(name="small"),),
        tasks=(axis,),
        methods=(
            LinearProbe(n_train=8, l2=12.5, search="0123456789abcdef", search_labels=20),
            InContext(k=16),
            InContext(k=4),
        ),
        contrasts=(
            contrast("easy", "zero-shot"),
            contrast("hard", "zero-shot"),
            contrast("easy", "hard", margin=0.9),
            *ssrm_contrasts(TAU)[:1],
        ),
    )

    def part_of(finished: Callable[[FakeStudy], Iterable[PlannedCell]]) -> Part:
        run, archive, restored = (
            open_storage(str(tmp_path_factory.mktemp(name))) for name in ("run", "archive", "back")
        )
        study = FakeStudy(storage=run, space=space, items_per_level=60).write()
        study.finish(finished(study))
        archive_study(run, study.plan, archive)
        (part,) = read_parts(archive, restored, ["fake", "not archived"])
        return part

    return part_of


@pytest.fixture(name="complete", scope="module")
def make_complete(part_of: StudyOf) -> Part:
    return part_of(lambda study: study.plan.cells)


def _section(page: str, title: str) -> str:
    return page.partition(f"## {title}\n")[2].partition("\n## ")[0]


def _table(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def test_every_section_of_a_complete_study_has_numbers(complete: Part) -> None:
    page = arc_results.page_text([complete])
    header, _, *rows = _table(_section(page, SURFACE))
    gaps = [row[header.index("hard - zero-shot")] for row in rows]
    assert rows and all("[" in gap for gap in gaps)
    found = _section(page, "What was found")
    assert "Not finished" not in found and "could be tested" in found
    assert found.count("* On hard questions (steps 3 to 4), ") == 3
    assert "with 8 easy labels" in found and "in-context learning on small" in found
    design = _section(page, "Design")
    assert "| 8 (also 4) | 3 | l2 12.5, layers middle + last, solver converged |" in design
    assert "search `0123456789abcdef`: 8 easy labels to train and 12 to validate" in design
    assert "l2 (small: 12.5, found for 8 labels)" in _section(page, "Learning curve")
    assert {row[2] for row in _table(_section(page, "Declared contrasts"))[2:]} == {
        "easy - zero-shot",
        "hard - zero-shot",
        "easy - hard",
        f"easy_ssrm - start, tau {TAU}",
    }


def test_the_verdicts_of_single_points_are_reconciled_with_holm(complete: Part) -> None:
    kept = [c for c in complete.contrasts if c.holm_p is not None and c.holm_p < 0.05]
    assert 0 < len(kept) < len(complete.contrasts), "the test needs both kinds"
    text = holm_sentence([complete])
    assert f"Of the {len(complete.contrasts)} [declared" in text
    assert f"{len(kept)} {'is' if len(kept) == 1 else 'are'} significant" in text
    for row in (c for c in kept if c.contrast.second.condition == "zero-shot"):
        assert f"`{row.contrast.first.condition} - zero-shot`" in text
    short = holm_sentence([complete], with_names=False)
    assert short.endswith("within each space.") and short[:-1] in text
    single = "\n".join(finding_lines([complete], ()))
    assert single.count("After Holm's correction") == 3


def _difference(low: float, high: float) -> Difference:
    middle = (low + high) / 2
    return Difference(estimate=middle, low=low, high=high, p_value=0.5, nu=9.0, level=0.95)


def _with_gains(part: Part, gains: Mapping[str, tuple[float, float]]) -> Part:
    """Sets the intervals of the gains over the start by what labels the selected questions have."""
    rows = []
    for row in part.surface.rows:
        options = row.point.self_training
        if options is not None and options.targets in gains:
            row = replace(row, gain_over_start=_difference(*gains[options.targets]))
        rows.append(row)
    return replace(part, surface=replace(part.surface, rows=tuple(rows)))


@pytest.mark.parametrize(
    ("gold", "pseudo", "says", "is_uninformative"),
    [
        ((0.05, 0.1), (-0.01, 0.02), "do: ", False),
        ((-0.02, 0.03), (-0.01, 0.02), "do not beat them either", True),
        ((-0.02, 0.03), (-0.05, -0.02), "do not beat them either", False),
        ((-0.02, 0.03), (0.02, 0.05), "do not beat them either", False),
    ],
)
def test_the_control_with_gold_labels_decides_what_a_null_result_says(
    complete: Part,
    gold: tuple[float, float],
    pseudo: tuple[float, float],
    says: str,
    is_uninformative: bool,
) -> None:
    part = _with_gains(complete, {"oracle": gold, "pseudo": pseudo})
    lines = [line for line in finding_lines([part], ()) if "Self-training on unlabelled" in line]
    assert lines
    for line in lines:
        assert "At tau 0.8, gold labels of the selected questions (" in line and says in line
        assert ("uninformative" in line) == is_uninformative
        assert "no such control" not in line


@pytest.mark.parametrize("gain", [0.1, -0.1])
def test_not_being_inferior_to_labels_that_do_not_help_says_little(
    complete: Part, gain: float
) -> None:
    rows = []
    for row in complete.surface.rows:
        assert row.estimate is not None
        ratio = replace(row.estimate.ratio, denominator=_difference(gain - 0.05, gain + 0.05))
        rows.append(replace(row, estimate=replace(row.estimate, ratio=ratio)))
    text = holm_sentence([replace(complete, surface=replace(complete.surface, rows=tuple(rows)))])
    assert "worse by 90 points or more" in text
    assert ("says little where hard labels do not beat zero-shot" in text) == (gain < 0.0)


def test_unresolved_points_compare_what_they_need_with_what_there_is(complete: Part) -> None:
    section = _section(arc_results.page_text([complete]), "What is not resolved")
    header, _, *rows = _table(section)
    open_ = [row for row in complete.labelled if row.verdict != "resolved"]
    positive = [row for row in open_ if (row.gap.estimate or 0.0) > 0.0]
    assert f"* small: {len(open_)} points without a precise SGR." in section
    assert f"Of the {len(positive)} with a gap above 0" in section
    assert len(rows) == len(positive) > 0
    for row in rows:
        found = dict(zip(header, row, strict=True))
        assert (found["by"], found["available"]) == ("steps", "60")
        assert ("(seeds)" in found["core-hours"]) == (found["seeds"] != "none suffices")


def test_hard_labels_have_every_number_of_the_curve(complete: Part) -> None:
    section = _section(arc_results.page_text([complete]), "Learning curve")
    assert section.count("| hard |") == section.count("; zero-shot ") == 4
    assert not any("-" in row[1:] for row in _table(section) if row[0] in ("easy", "hard"))


def test_zero_shot_is_one_row_a_prompt_and_k_is_sorted_as_a_number(
    complete: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arc_results, "BY_GRADE", "steps")
    monkeypatch.setattr(arc_results, "GRADES", (EASY, HARD))
    rows = _table(_section(arc_results.page_text([complete]), "Accuracy by grade"))[2:]
    assert [tuple(row[1:3]) for row in rows] == [
        *((f"in-context k={k}", labels) for k in (4, 16) for labels in ("easy", "hard", "all")),
        *(("linear probe", labels) for labels in ("easy", "hard", "all")),
        ("zero-shot", "none"),
    ]


def test_only_pseudo_labels_have_an_accuracy(complete: Part) -> None:
    page = arc_results.page_text([complete])
    header, _, *rows = _table(_section(page, "Self-training on unlabelled hard questions"))
    right = {(r[1], r[2]): r[header.index("pseudo-labels right")] for r in rows}
    assert {text for (_, targets), text in right.items() if targets != "pseudo"} == {""}
    audit = audit_rows(read_rounds(complete.storage, complete.plan, complete.surface).audited)
    expected = np.mean(
        [
            row.selected_accuracy
            for row in audit
            if (row.method, row.targets, row.items, row.moment, row.level)
            == ("linear probe", "pseudo", "pool", "before", None)
        ]
    )
    assert right["linear probe", "pseudo"] == f"{100 * expected:.1f} %"


def test_a_shared_cell_counts_once(complete: Part) -> None:
    whole = len(complete.plan.cells)
    rows = _table("\n".join(run_lines([complete, complete])))[2:]
    assert [row[1] for row in rows] == [f"{whole} of {whole}", "0 of 0"]
    assert Work([complete, complete]).cells == Work([complete]).cells


def test_hours_at_the_measured_speed_use_the_time_of_each_method(part_of: StudyOf) -> None:
    part = part_of(lambda study: [c for c in study.plan.cells if c.cell.seed in (None, 0)])
    work = Work([part])
    open_ = [cell for cell in part.plan.cells if cell.id not in work.records]
    done = [cell for cell in part.plan.cells if cell.id in work.records]
    for method in ("linear probe", "in-context"):
        flop = sum(cell.flop for cell in done if cell.cell.recipe.method == method)
        number = sum(cell.cell.recipe.method == method for cell in done)
        cell = next(cell for cell in open_ if cell.cell.recipe.method == method)
        assert work.seconds(cell) == pytest.approx(1.5 * number * cell.flop / flop)
    assert work.seconds(done[0]) == 2.0, "load and run"


def test_what_gave_way_is_told_with_what_it_left(
    complete: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arc_costs, "LEFT_OUT", ("fake",))
    text = "\n".join(run_lines([complete]))
    assert "`fake` (which left 0.0 core-hours)" in text
    assert text.count("fit into the budget") == 2 and "The other spaces were kept" not in text
    monkeypatch.setattr(arc_costs, "BUDGET_HOURS", -1)
    text = "\n".join(run_lines([complete]))
    assert text.count("exceed the budget") == 2 and "The other spaces were kept" in text


@pytest.mark.parametrize("done", ["zero-shot", "easy", "nothing"])
def test_the_page_of_an_unfinished_study_claims_nothing(part_of: StudyOf, done: str) -> None:
    conditions = {"zero-shot": ["zero-shot"], "easy": ["zero-shot", "easy"], "nothing": []}[done]
    part = part_of(lambda study: [c for c in study.plan.cells if c.condition in conditions])
    page = arc_results.page_text([part])
    found = _section(page, "What was found")
    assert "No comparison of easy and hard labels has all of its cells yet." in found
    assert "No declared contrast" in found or done == "easy"
    assert "Not finished yet (cells): `fake`" in found and "* On " not in found
    assert "No cell of this section has finished yet." in _section(page, SURFACE)


def test_figures_have_the_zero_shot_line(complete: Part, tmp_path: Path) -> None:
    arc_results.draw([complete], tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"curve.svg", "ssrm.svg"}
    assert "<!-- zero-shot -->" in (tmp_path / "curve.svg").read_text()


@pytest.mark.skipif(
    not os.environ.get(CHECK_PAGE), reason=f"20 s: run with {CHECK_PAGE}=1 after records change"
)
def test_the_committed_page_is_that_of_the_committed_records(tmp_path: Path) -> None:
    archive = open_storage(str(arc_results.RESULTS / STUDY))
    parts = tuple(read_parts(archive, open_storage(str(tmp_path)), spaces()))
    assert (arc_results.RESULTS / "arc.md").read_text() == arc_results.page_text(parts), (
        "run python -m benchmarks.arc_results and commit its files"
    )
