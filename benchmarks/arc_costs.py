"""What the study cost, and what its unresolved points would cost: two sections of the page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from benchmarks.arc_parts import Part, code, labelled_rows, method_label, pair_of, table
from search_spaces.explain import count
from study.analysis.power_analysis import PlannedPower, estimate_power
from study.analysis.surface_rows import SurfaceRow
from study.cost.flops import CPU_FLOP_PER_SECOND
from study.formatting import duration, percent
from study.reporting.surface_views.tiles import Status, status
from trainables.cells.planned import PlannedCell
from trainables.storage.records import Record

BUDGET_HOURS, BUDGET_CORES = 5, 2

LEFT_OUT = ("arc_gemma3_lora", "arc_gemma3_in_context", "arc_gemma3_ssrm")
"""Spaces that do not fit into the budget, in the order in which they were dropped."""

TARGET_WIDTH = 1.0
"""Of an SGR interval, for the seeds and questions that the last section asks for: a wider one is
called imprecise."""


class Work:
    """The distinct cells of all spaces: planned operations and measured times."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.cells = {cell.id: cell for part in parts for cell in part.plan.cells}
        self.records: dict[str, Record] = {
            id_: record for part in parts for id_, record in part.surface.scores.records.items()
        }

    def cells_of(self, spaces: Sequence[str]) -> dict[str, PlannedCell]:
        """Returns the distinct cells of these spaces."""
        return {c.id: c for p in self._parts if p.name in spaces for c in p.plan.cells}

    @cached_property
    def _speeds(self) -> Mapping[str, float]:
        """FLOP/s of each method's finished cells; of all of them under the empty name."""
        flop: defaultdict[str, float] = defaultdict(float)
        seconds: defaultdict[str, float] = defaultdict(float)
        for id_, record in self.records.items():
            for method in ("", self.cells[id_].cell.recipe.method):
                flop[method] += self.cells[id_].flop
                seconds[method] += record.seconds["total"] - record.seconds.get("load", 0.0)
        return {method: flop[method] / seconds[method] for method in flop if seconds[method]}

    @property
    def mean_speed(self) -> float:
        """FLOP/s of all finished cells."""
        return self._speeds.get("", CPU_FLOP_PER_SECOND)

    def seconds(self, cell: PlannedCell) -> float:
        """Returns a cell's time: measured, or expected from the speed of its method so far."""
        if cell.id in self.records:
            return self.records[cell.id].seconds["total"]
        return cell.flop / self._speeds.get(cell.cell.recipe.method, self.mean_speed)


def run_lines(parts: Sequence[Part]) -> Iterator[str]:
    """Yields the section on what ran, where, and how long."""
    work = Work(parts)
    yield from _space_table(parts, work)
    yield (
        "\nA cell that several spaces share counts in the first of them. `planned`: at "
        f"{_per_second(CPU_FLOP_PER_SECOND)}, a guess before any cell is timed. `taken`: "
        "wall-clock time of one thread; other programs used the same machine."
    )
    yield from _budget(parts, work)
    hosts = Counter(
        (str(r.execution.get("device")), str(r.execution.get("host")))
        for r in work.records.values()
    )
    yield ""
    for (device, host), number in hosts.items():
        yield f"* {count(number, 'cell')} on a {device.upper()}: {host}"


def _space_table(parts: Sequence[Part], work: Work) -> Iterator[str]:
    seen: set[str] = set()
    rows = []
    for part in parts:
        cells = [cell for cell in part.plan.cells if cell.id not in seen]
        seen.update(cell.id for cell in cells)
        done = [cell for cell in cells if cell.id in work.records]
        planned, of_finished = (
            sum(cell.flop for cell in some) / CPU_FLOP_PER_SECOND for some in (cells, done)
        )
        rows.append(
            (
                f"`{part.name}`",
                f"{len(done)} of {len(cells)}",
                duration(planned),
                duration(of_finished),
                duration(sum(map(work.seconds, done))),
            )
        )
    header = ("space", "cells finished", "core time planned", "of those finished", "taken")
    yield from table(header, rows)


def _budget(parts: Sequence[Part], work: Work) -> Iterator[str]:
    """The estimate before the run, the spaces that gave way, and the rest."""
    names = [part.name for part in parts]
    left = [name for name in names if name not in LEFT_OUT]
    budget = BUDGET_HOURS * BUDGET_CORES
    yield (
        f"\nThe budget is {BUDGET_HOURS} hours of {BUDGET_CORES} cores, {budget} core-hours. "
        f"Before the run, the plan of all {count(len(names), 'space')} came to "
        f"{_hours(_planned(work.cells))} at {_per_second(CPU_FLOP_PER_SECOND)}."
    )
    yield from _dropped(names, work)
    kept = work.cells_of(left)
    planned, expected = _planned(kept), sum(map(work.seconds, kept.values())) / 3600
    taken = sum(record.seconds["total"] for record in work.records.values()) / 3600
    yield (
        f"At that guess the remaining {count(len(left), 'space')} {_against(planned, budget)}. At "
        f"the measured speeds, {_per_second(work.mean_speed)} on average, they take "
        f"{_hours(expected)} and {_against(expected, budget)}. The finished cells took "
        f"{_hours(taken)}."
    )
    if expected > budget:
        yield (
            "The other spaces were kept: they run in the order of `benchmarks/arc_study.sh`, "
            "and the last of them may stay unfinished."
        )
    if unfinished := [part.name for part in parts if part.name in left and not _is_complete(part)]:
        yield f"Not finished yet: {code(unfinished)}."


def _dropped(names: Sequence[str], work: Work) -> Iterator[str]:
    """What each space that gave way left of the plan."""
    left = list(names)
    steps = []
    for name in LEFT_OUT:
        if name in left:
            left.remove(name)
            steps.append(f"`{name}` (which left {_hours(_planned(work.cells_of(left)))})")
    if steps:
        yield "A rule made before the run drops Gemma's LoRA first."
    if len(steps) > 1:
        yield (
            "That did not suffice, so the next most expensive spaces of Gemma followed; every "
            "method still has one model."
        )
    if steps:
        yield f"Left out, in this order: {', '.join(steps)}."


def _is_complete(part: Part) -> bool:
    return len(part.surface.scores.records) == len(part.plan.cells)


def _planned(cells: Mapping[str, PlannedCell]) -> float:
    """Hours of one core before any cell is timed."""
    return sum(cell.flop for cell in cells.values()) / CPU_FLOP_PER_SECOND / 3600


def _against(hours: float, budget: float) -> str:
    return "fit into the budget" if hours <= budget else "still exceed the budget"


def _hours(hours: float) -> str:
    return f"{hours:.1f} core-hours"


def _per_second(flop: float) -> str:
    return f"{flop / 1e9:.0f} GFLOP/s a core"


def unresolved_lines(parts: Sequence[Part]) -> Iterator[str]:
    """Yields the section on what is not resolved, and what would resolve it."""
    work = Work(parts)
    seen = {id(row) for _, row in labelled_rows(parts)}
    planned = [
        (part, row, power)
        for part in parts
        for row, power in _powers(part, [row for row in part.labelled if id(row) in seen])
    ]
    yield from _power_sentences(planned)
    yield (
        "\nPoints whose measured gap is positive but not resolved precisely. `resolvable gap`: the "
        "smallest gap that this design resolves with 80 % power. `seeds` and `questions`: as many "
        f"as an SGR interval of width {TARGET_WIDTH:g} needs if the other number stays. "
        "`core-hours`: the measured time of the space, in proportion to them; an upper limit, "
        "because the space has other points too.\n"
    )
    header = (
        *("model", "method", "by", "train -> test", "gap", "resolvable gap", "width"),
        *("seeds", "questions", "available", "core-hours"),
    )
    hours = {part.name: sum(map(work.seconds, part.plan.cells)) / 3600 for part, _, _ in planned}
    rows = [
        _power_row(row, power, part.plan.space.seeds, hours[part.name])
        for part, row, power in planned
        if power.power is not None
    ]
    if rows:
        yield from table(header, rows)
    else:
        yield "There is no such point."


def _powers(part: Part, rows: Sequence[SurfaceRow]) -> Iterator[tuple[SurfaceRow, PlannedPower]]:
    """Yields the points without a precise SGR and their power, with this study as the pilot."""
    open_ = [row for row in rows if status(row) is not Status.RESOLVED]
    plan = part.plan.model_copy(update={"points": tuple(row.point for row in open_)})
    yield from zip(
        open_, estimate_power(plan, target_width=TARGET_WIDTH, pilot=part.surface), strict=True
    )


def _power_sentences(planned: Sequence[tuple[Part, SurfaceRow, PlannedPower]]) -> Iterator[str]:
    by_model: dict[str, list[PlannedPower]] = {}
    for _, row, power in planned:
        by_model.setdefault(row.point.model, []).append(power)
    for model, powers in by_model.items():
        positive = [power for power in powers if power.power is not None]
        enough = [p for p in positive if p.power and _fits(p.power.items_needed, p.whole_test)]
        seeds = [p for p in positive if p.power and p.power.seeds_needed is not None]
        text = f"* {model}: {count(len(powers), 'point')} without a precise SGR."
        if without_gap := len(powers) - len(positive):
            text += (
                f" At {without_gap if positive else 'all'} of them the measured gap is not above "
                "0, so there is nothing to recover."
            )
        if positive:
            text += (
                f" Of the {len(positive)} with a gap above 0, testing on more of the available "
                f"questions would give a precise SGR at {len(enough)}, and more seeds would at "
                f"{len(seeds)}."
            )
        yield text


def _fits(needed: int | None, available: int) -> bool:
    return needed is not None and needed <= available


def _power_row(
    row: SurfaceRow, planned: PlannedPower, num_seeds: int, hours: float
) -> Sequence[str]:
    power, point = planned.power, row.point
    assert power is not None
    costs = {
        "seeds": power.seeds_needed and hours * power.seeds_needed / num_seeds,
        "questions": power.items_needed and hours * power.items_needed / planned.num_items,
    }
    return (
        point.model,
        method_label(point),
        point.measure,
        pair_of(point),
        percent(planned.gap, sign=True),
        percent(power.smallest_gap),
        "unbounded" if power.width is None else f"{power.width:.2f}",
        *(
            "none suffices" if n is None else f"{n:,}"
            for n in (power.seeds_needed, power.items_needed)
        ),
        f"{planned.whole_test:,}",
        ", ".join(f"{cost:.1f} ({what})" for what, cost in costs.items() if cost) or "-",
    )
