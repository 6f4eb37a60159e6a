"""A point whose zero-shot arm is no zero, or no more than chance, says so wherever it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.supervision import Condition, Labels
from study.analysis.contrasts import declared_contrasts
from study.analysis.surface import Surface, compute_surface
from study.analysis.surface_columns import surface_table
from study.analysis.surface_rows import FLOOR_AT_CHANCE, SurfaceRow
from study.analysis.trends import trend_rows
from study.formatting import text_of
from study.reporting.sentences import sentence
from study.reporting.surface_views.tiles import Status, hover_lines, status, tile_text
from study.reporting.tables import cell_table, point_table
from study.reporting.terminal import surface_parts
from study.tracking.surface_run import summarize
from tests.support.fakes import FakeStudy, contrast, fake_space, fake_study
from trainables.storage.records import generated_table, write_record

MODEL = "small"


def with_zero_shot(study: FakeStudy, right: float, unreadable: float) -> Surface:
    """Gives the zero-shot cells of one model generated answers, these shares right or unreadable.

    Every share is of each level, so it is that of every test level.
    """
    for planned in study.cells("zero-shot", MODEL, "any"):
        task = study.tasks[planned.cell.task]
        items = task.by_id(task.split.test)
        places = [int(item.id.rpartition("-")[2]) / 30 for item in items]
        is_right = [place < right for place in places]
        readable = [place < 1.0 - unreadable for place in places]
        table = generated_table(
            [item.id for item in items],
            [item.answer if one else None for item, one in zip(items, is_right, strict=True)],
            is_right,
            ["The answer is 1."] * len(items),
            readable,
        )
        write_record(study.storage, planned.cell, table, seconds={"total": 1.0}, execution={})
    return compute_surface(study.storage, study.plan)


def rows_of(surface: Surface, model: str = MODEL) -> list[SurfaceRow]:
    return [row for row in surface.rows if row.point.model == model]


def test_answers_that_cannot_be_read_take_the_sgr_from_the_points_of_their_floor(
    tmp_path: Path,
) -> None:
    space = fake_space(contrasts=(contrast("easy", "all", of="sgr"),))
    study = FakeStudy(storage=fake_study(tmp_path).storage, space=space).write().finish()
    before = compute_surface(study.storage, study.plan)
    after = with_zero_shot(study, right=0.3, unreadable=0.2)
    rows, labels = rows_of(after), {}
    for row in rows:
        assert row.verdict == "floor not readable" and not row.has_floor
        assert row.sgr.estimate is None and row.sgr.p_value is None
        assert row.gap.estimate is not None
        assert row.unreadable == {"zero_shot": 0.2}
        assert status(row) is Status.NO_FLOOR and tile_text(row, "sgr") == "no floor"
        assert "20.0 % of zero-shot answers could not be read" in row.verdict_note
        assert "zero-shot: 20.0 % of answers not readable" in "\n".join(hover_lines(row))
    labels = {row.recipe_text: "any" for row in after.rows}
    assert "zero-shot is no floor (20.0 % of" in sentence(rows[0], labels, 0.95)
    assert "floor not readable" in text_of(surface_parts(after))
    tested = {c.where.split(",")[0]: c for c in declared_contrasts(study.plan, after)}
    assert tested[MODEL].estimate.p_value is None and "could not be read" in str(
        tested[MODEL].reason
    )
    assert tested["large"].reason is None
    sizes = {row.axis for row in trend_rows(before)}
    assert "log10 of model size" in sizes, "two models have a slope"
    assert "log10 of model size" not in {row.axis for row in trend_rows(after)}
    other, same = rows_of(after, "large"), rows_of(before, "large")
    assert [(row.sgr, row.verdict) for row in other] == [(row.sgr, row.verdict) for row in same]
    columns = surface_table(after.rows).to_pydict()
    assert set(columns["zero_shot_unreadable"]) == {0.2, None}
    assert set(columns["easy_unreadable"]) == {None} and set(columns["chance"]) == {0.25}


def test_a_floor_below_chance_takes_the_sgr_although_every_answer_was_read(tmp_path: Path) -> None:
    surface = with_zero_shot(fake_study(tmp_path), right=0.0, unreadable=0.0)
    for row in rows_of(surface):
        assert (row.verdict, row.sgr.estimate) == ("floor below chance", None)
        assert row.verdict_note.startswith("zero_shot is below chance, 25.0 %")


def test_a_floor_at_chance_is_a_caveat_in_every_place_that_shows_the_sgr(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    surface = with_zero_shot(study, right=0.25, unreadable=0.1)
    labels = {row.recipe_text: "any" for row in surface.rows}
    rows = [row for row in rows_of(surface) if row.sgr.estimate is not None]
    assert rows
    for row in rows:
        assert row.verdict in ("resolved", "resolved, imprecise")
        assert row.caveats == (FLOOR_AT_CHANCE,)
        mark = " ~" if "imprecise" in row.verdict else ""
        assert tile_text(row, "sgr") == f"{row.sgr.estimate:.2f}{mark}\nfloor at chance"
        assert "floor" not in tile_text(row, "gap")
        assert FLOOR_AT_CHANCE in "\n".join(hover_lines(row))
        assert FLOOR_AT_CHANCE in sentence(row, labels, 0.95)
    told = text_of(surface_parts(surface))
    assert FLOOR_AT_CHANCE in told.splitlines() and "; floor at chance" in told
    table = point_table(surface, labels)
    place = [column.name for column in table.columns].index("caveats")
    assert FLOOR_AT_CHANCE in {row[place] for row in table.rows}
    assert FLOOR_AT_CHANCE in surface_table(surface.rows)["caveats"].to_pylist()
    flagged = sum(FLOOR_AT_CHANCE in row.caveats for row in surface.rows)
    note = summarize(study.plan, surface)["note"]
    assert f"{FLOOR_AT_CHANCE} ({flagged} of {len(surface.rows)} points)" in note.split("; ")


def test_every_generating_cell_has_its_share_in_the_report(tmp_path: Path) -> None:
    study = fake_study(tmp_path)
    table = cell_table(study.plan, with_zero_shot(study, right=0.3, unreadable=0.1))
    place = [column.name for column in table.columns].index("unreadable %")
    generating = {cell.id for cell in study.cells("zero-shot", MODEL, "any")}
    for row in table.rows:
        assert row[place] == (0.1 if row[0] in generating else None)


def test_sgr_over_the_trivial_control_where_it_ran(tmp_path: Path) -> None:
    (axis,) = fake_space().tasks
    trivial = Condition(name="trivial", labels=Labels(kind="trivial"))
    study = fake_study(tmp_path, tasks=(axis.model_copy(update={"conditions": (trivial,)}),))
    rows = compute_surface(study.storage, study.plan).rows
    floors = {
        (row.point.model, row.point.recipe, row.point.test_level.name): row.easy
        for row in rows
        if row.point.condition == "trivial"
    }
    assert len(floors) == 8
    for row in rows:
        if row.point.condition == "trivial":
            assert row.over_trivial is None
            continue
        floor = floors[row.point.model, row.point.recipe, row.point.test_level.name]
        assert row.over_trivial is not None and floor is not None
        assert row.over_trivial.means["trivial"] == pytest.approx(floor)
        if row.format_matched.estimate is not None:
            assert row.easy is not None and row.hard is not None
            wanted = (row.easy - floor) / (row.hard - floor)
            assert row.format_matched.estimate == pytest.approx(wanted)
    columns = surface_table(rows).to_pydict()
    assert columns["format_matched_verdict"].count(None) == len(floors)
    plain = fake_study(tmp_path / "plain")
    others = compute_surface(plain.storage, plain.plan).rows
    assert all(row.over_trivial is None for row in others)
