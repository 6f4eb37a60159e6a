"""ETA against the true end of runs: recorded seconds of the default study, and simulated ones."""

from __future__ import annotations

import heapq
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from search_spaces.cell import Cell
from search_spaces.recipes import InContext, LinearProbe, LoRA, Recipe, ZeroShot
from search_spaces.supervision import SelfTraining
from study.running.blocks import units_of
from study.running.pace import FIT_SECONDS, Pace, remaining
from trainables.cells.planned import PlannedCell, Unit
from trainables.storage.records import Record

RECORDED = Path(__file__).parent
"""Units of runs on two workers: model, method, FLOP, seconds and seconds of loading. `micro` is the
default study; `arc` is zero-shot, in-context and probe on SmolLM2-135M, where one probe computes
the hidden states of 19 others."""

RECIPES: Mapping[str, Recipe] = {
    "zero-shot": ZeroShot(),
    "lora": LoRA(),
    "in-context": InContext(),
    "linear probe": LinearProbe(),
}


@dataclass(frozen=True)
class Run:
    """Cells and how long they took."""

    units: Sequence[Unit]
    seconds: Mapping[str, tuple[float, float]]
    """Id -> total and loading."""

    def times(self, workers: int) -> Mapping[str, tuple[float, float]]:
        """Returns when each cell starts and ends on some workers that take unit after unit."""
        free, times = [0.0] * workers, {}
        for unit in self.units:
            now = heapq.heappop(free)
            for cell in unit:
                times[cell.id] = (now, now + self.seconds[cell.id][0])
                now = times[cell.id][1]
            heapq.heappush(free, now)
        return times


def cell(
    id_: str,
    model: str,
    recipe: Recipe,
    flop: float,
    *,
    is_round: bool = False,
    tested_hash: str | None = None,
    unlabelled_hash: str | None = None,
) -> PlannedCell:
    content = Cell.model_construct(
        model=model,
        dtype="float32",
        task="t",
        recipe=recipe,
        self_training=SelfTraining() if is_round else None,
        tested_hash=tested_hash,
        unlabelled_hash=unlabelled_hash,
    )
    return PlannedCell.model_construct(id=id_, cell=content, model_name=model, flop=flop)


def record(total: float, load: float = 0.0) -> Record:
    return Record.model_construct(seconds={"total": total, "load": load})


def recorded(study: str) -> Run:
    units, seconds = [], {}
    rows_of_units = json.loads((RECORDED / f"recorded_{study}.json").read_text())
    for i, rows in enumerate(rows_of_units):
        unit = []
        for j, (model, method, flop, total, load) in enumerate(rows):
            unit.append(cell(f"{i}-{j}", model, RECIPES[method], flop))
            seconds[unit[-1].id] = (total, load)
        units.append(tuple(unit))
    return Run(units=units, seconds=seconds)


def simulated() -> Run:
    """Three sizes with a cold start; self-training takes 10 times as long as its parent."""
    units, seconds = [], {}
    for size in (100.0, 30.0, 10.0):
        first = cell(f"{size}", str(size), ZeroShot(), size)
        seconds[first.id] = (size / 5 + 60.0, 60.0)
        units.append((first,))
        for seed in range(6):
            parent = cell(f"{size} {seed}", str(size), LoRA(), 5 * size)
            rounds = [
                cell(f"{size} {seed} {i}", str(size), LoRA(), 40 * size, is_round=True)
                for i in range(2)
            ]
            seconds[parent.id] = ((0.9 + 0.04 * seed) * size, 0.0)
            seconds |= {each.id: ((9 + 0.4 * seed) * size, 0.0) for each in rounds}
            units.append((parent, *rounds))
    return Run(units=units, seconds=seconds)


def errors(run: Run, workers: int) -> Iterator[tuple[float, float | None]]:
    """Yields the share of the run that is over, and the relative error of the ETA then."""
    times = run.times(workers)
    end = max(stop for _, stop in times.values())
    for step in range(200):
        now = end * step / 200
        pace = Pace(run.units)
        for each in (each for unit in run.units for each in unit):
            if times[each.id][1] <= now:
                pace.add(each, record(*run.seconds[each.id]).seconds)
        left = units_of(run.units, {id_ for id_, (_, stop) in times.items() if stop > now})
        running = {id_: now - at for id_, (at, stop) in times.items() if at <= now < stop}
        expected = remaining(left, running, pace)
        eta = None if expected is None else expected.time(workers)
        yield step / 200, None if eta is None else abs(eta - (end - now)) / (end - now)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "run",
    [recorded("micro"), recorded("arc"), simulated()],
    ids=["micro", "arc", "simulated"],
)
def test_median_error_after_the_first_quarter_is_below_a_quarter(run: Run, workers: int) -> None:
    seen = list(errors(run, workers))
    late = [error for share, error in seen if share >= 0.25]
    assert None not in late
    assert statistics.median(error for error in late if error is not None) < 0.25


def test_kinds_that_have_a_finished_cell_take_their_own_time() -> None:
    """Of one base model and FLOP, one method is ten times as slow as the other."""
    quick = [cell(f"q{i}", "m", InContext(), 1e9) for i in range(2)]
    slow = [cell(f"s{i}", "m", LoRA(), 1e9) for i in range(2)]
    pace = Pace([(each,) for each in (*quick, *slow)])
    pace.add(quick[0], record(3.0).seconds)
    assert pace.untimed([quick[1], slow[1]]) == 1
    pace.add(slow[0], record(30.0).seconds)
    assert pace.untimed([quick[1], slow[1]]) == 0
    assert pace.expected(quick[1]) == pytest.approx(3.0)
    assert pace.expected(slow[1]) == pytest.approx(30.0)


def test_other_sizes_follow_the_ratio_of_what_both_have_measured() -> None:
    """A size that is twice as slow in one method is expected to be so in the other."""
    cells = {
        (model, recipe.method): cell(f"{model}{recipe.method}", model, recipe, flop)
        for model, flop in (("big", 8e9), ("small", 1e9))
        for recipe in (InContext(), LoRA())
    }
    pace = Pace([(each,) for each in cells.values()])
    for key, seconds in (("in-context", 8.0), ("lora", 80.0)):
        pace.add(cells["big", key], record(seconds).seconds)
    pace.add(cells["small", "in-context"], record(4.0).seconds)
    expected = pace.expected(cells["small", "lora"])
    assert expected is not None and 32 < expected < 50


def test_loading_counts_once_per_base_model() -> None:
    first, second, other = (
        cell(name, model, LoRA(), 1e9) for name, model in zip("abc", "mmn", strict=True)
    )
    pace = Pace([(first,), (second,), (other,)])
    pace.add(first, record(65.0, load=60.0).seconds)
    left = remaining([(second,), (other,)], {}, pace)
    assert left is not None and left.queued[0] == pytest.approx(5.0)
    assert 60.0 < left.queued[1] < 75.0


def test_running_units_go_on_and_free_workers_take_the_next() -> None:
    """By hand: cells of 10 s; one has run for 4 s and has a child, three wait; two workers."""
    cells = [cell(str(i), "m", LoRA(), 1e9) for i in range(6)]
    units = [(cells[1], cells[2]), *((each,) for each in cells[3:])]
    pace = Pace([(cells[0],), *units])
    pace.add(cells[0], record(10.0).seconds)
    left = remaining(units, {cells[1].id: 4.0}, pace)
    assert left is not None
    assert left.total == pytest.approx(46.0)
    assert left.time(2) == pytest.approx(26.0)
    assert left.time(1) == pytest.approx(46.0)


def test_probes_that_find_hidden_states_are_a_kind_of_their_own() -> None:
    probes = [cell(str(i), "m", LinearProbe(), 1e9) for i in range(3)]
    pace = Pace([tuple(probes)])
    pace.add(probes[0], record(6.0).seconds)
    expected = pace.expected(probes[1])
    assert expected is not None and expected < 1.0  # their fits, not another pass
    pace.add(probes[1], record(0.1).seconds)
    assert pace.expected(probes[2]) == pytest.approx(0.1)


def test_the_first_probe_of_a_unit_is_expected_to_make_the_pass_over_all_items() -> None:
    zero_shot = cell("z", "m", ZeroShot(), 4e9)
    probes = [cell(str(i), "m", LinearProbe(), 1e9) for i in range(16)]
    own_pass = cell("r", "m", LinearProbe(), 9e9, is_round=True)
    pace, without = Pace([(zero_shot, *probes, own_pass)]), Pace([(zero_shot, *probes)])
    for each in (pace, without):
        each.add(zero_shot, record(100.0).seconds)
    first = pace.expected(probes[0])
    assert first is not None and 100.0 < first <= 400.0
    assert first == without.expected(probes[0]), "a round with a pass of its own adds none"
    assert pace.expected(probes[1]) == pytest.approx(FIT_SECONDS)
    pace.begin([tuple(probes[8:])])
    assert pace.expected(probes[8]) == pytest.approx(first), "half of the cells need a whole pass"


def test_the_first_probe_on_other_test_items_computes_their_hidden_states() -> None:
    """Of one base model by two measures: the second measure's cells are not all as slow as this."""
    by_grade = [cell(f"g{i}", "m", LinearProbe(), 1e9) for i in range(2)]
    by_rating = [
        cell(f"r{i}", "m", LinearProbe(l2=2.0), 1e9, tested_hash="other") for i in range(11)
    ]
    pace = Pace([(*by_grade, *by_rating)])
    pace.add(by_grade[0], record(60.0).seconds)
    pace.add(by_grade[1], record(0.1).seconds)
    left = remaining([tuple(by_rating)], {by_rating[0].id: 50.0}, pace)
    assert left is not None and left.total < 30.0


def test_the_first_round_on_a_pool_computes_the_hidden_states_of_the_other_rounds() -> None:
    probes = [cell(f"p{i}", "m", LinearProbe(), 1e9) for i in range(2)]
    rounds = [
        cell(f"r{i}", "m", LinearProbe(), 1e9, is_round=True, unlabelled_hash="pool")
        for i in range(100)
    ]
    pace = Pace([(*probes, *rounds)])
    pace.add(probes[0], record(60.0).seconds)
    pace.add(probes[1], record(0.1).seconds)
    left = remaining([tuple(rounds)], {rounds[0].id: 100.0}, pace)
    assert left is not None and 50.0 <= left.total < 120.0
    pace.add(rounds[0], record(200.0).seconds)
    pace.add(rounds[1], record(4.0).seconds)
    assert pace.expected(rounds[2]) == pytest.approx(4.0)


def test_a_cell_that_outlasts_its_prediction_raises_it_for_its_kind() -> None:
    known, *others = (cell(str(i), "m", r, 1e9) for i, r in enumerate([ZeroShot(), *[LoRA()] * 3]))
    units = [(known,), *((each,) for each in others)]
    pace = Pace(units)
    pace.add(known, record(1.0).seconds)
    left = remaining(units[1:], {others[0].id: 100.0}, pace)
    assert left is not None and left.total == pytest.approx(50.0 + 2 * 150.0)


def test_a_run_begins_with_the_seconds_of_earlier_runs_until_it_has_its_own() -> None:
    cells = [cell(str(i), "m", LoRA(), 1e9) for i in range(5)]
    units = [(each,) for each in cells]
    pace = Pace(units)
    for each in cells[:2]:
        pace.add(each, record(14.0, load=4.0).seconds)
    pace.begin(units[2:], assumed_speed=1e8)
    assert not pace.is_guess
    left = remaining(units[2:], {}, pace)
    assert left is not None and left.total == pytest.approx(3 * 10.0 + 4.0)  # loaded once more
    late = remaining(units[2:], {cells[2].id: 20.0}, pace)
    assert late is not None and late.queued == pytest.approx([30.0, 30.0])  # a slower machine
    pace.add(cells[2], record(23.0, load=3.0).seconds)
    left = remaining(units[3:], {}, pace)
    assert left is not None and left.queued == pytest.approx([20.0, 20.0])


def test_the_first_probe_that_a_run_misses_may_compute_its_hidden_states_again() -> None:
    probes = [cell(str(i), "m", LinearProbe(), 1e9) for i in range(4)]
    pace = Pace([tuple(probes)])
    pace.add(probes[0], record(60.0).seconds)
    pace.add(probes[1], record(0.1).seconds)
    pace.begin([tuple(probes[2:])])
    expected = [pace.expected(each) for each in probes[2:]]
    assert expected == pytest.approx([60.0, 0.1])


def test_the_assumed_speed_gives_a_guess_until_a_cell_has_finished() -> None:
    cells = [cell(str(i), "m", LoRA(), flop) for i, flop in enumerate([1e9, 1e9, 2e9])]
    units = [(each,) for each in cells]
    pace = Pace(units)
    pace.begin(units, assumed_speed=1e8)
    left = remaining(units, {}, pace)
    assert pace.is_guess and left is not None and left.queued == pytest.approx([10, 10, 20])
    late = remaining(units, {cells[0].id: 20.0}, pace)  # longer than guessed, so all others are
    assert late is not None and late.in_progress == pytest.approx([10.0])
    assert late.queued == pytest.approx([30.0, 60.0])
    pace.add(cells[0], record(5.0).seconds)
    assert not pace.is_guess and pace.expected(cells[2]) == pytest.approx(10.0)
    assert remaining(units, {}, Pace(units)) is None
