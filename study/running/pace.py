"""How long cells take: measured by kind of cell, predicted for kinds that none has finished of."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.cells.planned import NamedCell

EXPONENT, EXPONENT_SD = 0.6, 0.3
"""Prior of b in seconds ~ FLOP^b over sizes: 1 where arithmetic takes all time (large models), near
0 where the fixed work of a pass does (small ones)."""

METHOD_SD, MODEL_SD, NOISE_SD = 3.0, 0.3, 0.2
"""Prior spread of log seconds at equal FLOP: between methods, between base models, and of a method
on one base model around both."""

LONGER = 1.5
"""Total time of a running cell of a kind that has no finished cell, at least, as a multiple of its
time so far: without it, cells slower than predicted would end soon until the first has ended."""

FIT_SECONDS = 0.3
"""Of a probe that finds its hidden states, until one is timed: only its fit is left, whose time
does not depend on the base model's FLOP (0.1 to 0.3 s on bases of 0.1 to 270 M parameters)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What cells share whose seconds are proportional to their FLOP."""

    model: str
    task: str
    recipe: str
    """With its method, without its number of labels."""
    is_round: bool
    """A round of self-training also scores its pool."""
    reuses_states: bool
    """A probe whose hidden states an earlier one of its unit computed: of the same test items, and
    in a round of self-training of the same unlabelled items, whose choices are in other orders."""

    @property
    def method(self) -> tuple[str, bool, bool]:
        """What cells of different base models have in common."""
        return self.recipe.partition(" ")[0], self.is_round, self.reuses_states


@dataclass(kw_only=True, slots=True)
class _Measured:
    """Sums over the finished cells of a kind."""

    is_earlier: bool = False
    """Whether they are of an earlier run."""
    cells: int = 0
    seconds: float = 0.0
    flop: float = 0.0


_LABEL_COUNTS = {"n_train", "k", "search_labels"}

NO_BOUNDS: Mapping[Kind, float] = {}


class Pace:
    """Seconds of cells without loading: measured by kind, and predicted for the other kinds.

    The prediction fits log seconds = a + b log FLOP + method + base model to the measured kinds
    (ridge regression, that is the posterior mean under the priors above).

    Args:
        units: All units of the plan, to know which probes reuse hidden states.
    """

    def __init__(self, units: Iterable[tuple[NamedCell, ...]]) -> None:
        self._assumed_speed: float | None = None
        self._kinds: dict[str, Kind] = {}
        self._flop: dict[str, float] = {}
        self._pass_flop: dict[str, float] = {}
        self._measured: dict[Kind, _Measured] = {}
        self._loads: dict[tuple[str, str, str], float] = {}
        self._loaded: set[tuple[str, str, str]] = set()
        self._fit: _Fit | None = None
        self._find_kinds(units)

    def begin(
        self, units: Iterable[tuple[NamedCell, ...]], *, assumed_speed: float | None = None
    ) -> None:
        """Begins a run: the cells added so far are of earlier ones, perhaps on other machines.

        They time a kind until a cell of this run does. The first probe of a unit may have to
        compute its hidden states again.

        Args:
            units: The cells that will run.
            assumed_speed: FLOP/s of a worker, for a guess until a cell has been added; None: no
                guess.
        """
        self._assumed_speed = assumed_speed
        self._loaded.clear()
        for measured in self._measured.values():
            measured.is_earlier = True
        self._find_kinds(units)

    def _find_kinds(self, units: Iterable[tuple[NamedCell, ...]]) -> None:
        known = {kind: kind for kind in self._kinds.values()}
        texts: dict[int, tuple[Any, str]] = {}  # which holds the recipes, so no id is used twice
        for unit in units:
            known_states: set[str | None] = set()
            probes = [cell for cell in unit if cell.cell.recipe.method == "linear probe"]
            # A plan divides the pass over all items among these probes; the first one makes it.
            shares = {cell.flop for cell in probes if cell.cell.self_training is None}
            one_pass = sum(cell.flop for cell in probes if cell.flop in shares)
            for cell in probes:
                self._pass_flop.setdefault(cell.id, one_pass)
            for cell in unit:
                recipe = cell.cell.recipe
                is_probe = recipe.method == "linear probe"
                states = {cell.cell.tested_hash, cell.cell.unlabelled_hash}
                is_first = is_probe and not known_states
                self._flop[cell.id] = self._pass_flop[cell.id] if is_first else cell.flop
                if id(recipe) not in texts:  # cells of a plan's summary share their recipes
                    texts[id(recipe)] = recipe, _recipe_text(recipe)
                kind = Kind(
                    model=cell.model_name,
                    task=cell.cell.task,
                    recipe=texts[id(recipe)][1],
                    is_round=cell.cell.self_training is not None,
                    reuses_states=is_probe and states <= known_states,
                )
                self._kinds[cell.id] = known.setdefault(kind, kind)
                if is_probe:
                    known_states |= states | {None}

    def add(self, cell: NamedCell, seconds: Mapping[str, float]) -> None:
        """Adds a finished cell with the seconds in its record."""
        total = seconds.get("total", 0.0)
        load = seconds.get("load", 0.0)
        self._loads[cell.base_key] = max(load, self._loads.get(cell.base_key, 0.0))
        self._loaded.add(cell.base_key)
        if cell.flop <= 0 or total <= load:
            return
        kind = self._kinds[cell.id]
        if kind not in self._measured or self._measured[kind].is_earlier:
            self._measured[kind] = _Measured()
        measured = self._measured[kind]
        measured.cells += 1
        measured.seconds += total - load
        measured.flop += self._flop[cell.id]
        self._fit = None

    @property
    def is_guess(self) -> bool:
        """Whether no cell that has FLOP has finished."""
        return not self._measured

    def untimed(self, cells: Iterable[NamedCell]) -> int:
        """Returns how many kinds of these cells have no finished cell."""
        return len({self._kinds[cell.id] for cell in cells} - self._measured.keys())

    def lower_bounds(self, running: Iterable[tuple[NamedCell, float]]) -> Mapping[Kind, float]:
        """Returns seconds per FLOP that kinds without a finished cell of this run take at least.

        A cell that has run for some time is expected to run `LONGER` times as long in all.

        Args:
            running: Cells with the seconds since they started.
        """
        bounds: dict[Kind, float] = {}
        for cell, seconds in running:
            kind = self._kinds[cell.id]
            measured = self._measured.get(kind)
            if (measured is None or measured.is_earlier) and cell.flop > 0:
                least = LONGER * seconds / self._flop[cell.id]
                bounds[kind] = max(bounds.get(kind, 0.0), least)
        return bounds

    def expected(
        self, cell: NamedCell, lower_bounds: Mapping[Kind, float] = NO_BOUNDS
    ) -> float | None:
        """Returns the expected seconds of a cell; None before the first without assumed speed."""
        kind, flop = self._kinds[cell.id], self._flop[cell.id]
        least = flop * lower_bounds.get(kind, 0.0)
        measured = self._measured.get(kind)
        if measured is not None:
            return max(flop * measured.seconds / measured.flop, least)
        speed = self._assumed_speed
        if self.is_guess and speed is None:
            return None
        if kind.reuses_states:
            return max(FIT_SECONDS, least)
        if self.is_guess and speed is not None:
            return max(flop / speed, least)
        if self._fit is None:
            self._fit = _Fit(
                {k: (m.flop / m.cells, m.seconds / m.cells) for k, m in self._measured.items()}
            )
        return max(self._fit.seconds(kind, flop), least)

    def loading(self, cell: NamedCell) -> float:
        """Returns the expected seconds to load a cell's base model; 0 if a worker has loaded it."""
        if cell.base_key in self._loaded or not self._loads:
            return 0.0
        mean = sum(self._loads.values()) / len(self._loads)
        return self._loads.get(cell.base_key, mean)


def _recipe_text(recipe: Any) -> str:
    return f"{recipe.method} {recipe.model_dump_json(exclude=_LABEL_COUNTS)}"


class _Fit:
    """The regression of log seconds on log FLOP, method and base model."""

    def __init__(self, measured: Mapping[Kind, tuple[float, float]]) -> None:
        methods = dict.fromkeys(kind.method for kind in measured)
        models = dict.fromkeys(kind.model for kind in measured)
        self._columns = {key: i for i, key in enumerate((*methods, *models), 2)}
        self._centre = math.log(next(iter(measured.values()))[0])
        rows = np.array([self._row(kind, flop) for kind, (flop, _) in measured.items()])
        seconds = np.log([seconds for _, seconds in measured.values()])
        spread = [1e3, EXPONENT_SD, *[METHOD_SD] * len(methods), *[MODEL_SD] * len(models)]
        precision = rows.T @ rows / NOISE_SD**2 + np.diag(np.array(spread) ** -2.0)
        rest = seconds - EXPONENT * rows[:, 1]
        self._weights = np.linalg.solve(precision, rows.T @ rest / NOISE_SD**2)

    def seconds(self, kind: Kind, flop: float) -> float:
        """Returns the predicted seconds of a cell."""
        row = self._row(kind, flop)
        return float(np.exp(row @ self._weights + EXPONENT * row[1]))

    def _row(self, kind: Kind, flop: float) -> np.ndarray:
        row = np.zeros(2 + len(self._columns))
        row[0], row[1] = 1.0, math.log(max(flop, 1.0)) - self._centre
        for key in (kind.method, kind.model):
            if key in self._columns:
                row[self._columns[key]] = 1.0
        return row


@dataclass(frozen=True, kw_only=True, slots=True)
class Remaining:
    """Expected seconds of the units that have not ended."""

    in_progress: Sequence[float]
    """Of each unit with a running cell, from now on."""
    queued: Sequence[float]
    """Of each other unit, in the order of the queue."""

    @property
    def total(self) -> float:
        """Sum over all units."""
        return sum(self.in_progress) + sum(self.queued)

    def time(self, at_once: int) -> float:
        """Returns the time until the last unit ends.

        Each worker that becomes free takes the next unit of the queue.

        Args:
            at_once: Number of workers; at least those of the units in progress.
        """
        ends = [*self.in_progress, *[0.0] * (max(at_once, 1) - len(self.in_progress))]
        heapq.heapify(ends)
        for seconds in self.queued:
            heapq.heapreplace(ends, ends[0] + seconds)
        return max(ends)


def remaining(
    units: Iterable[tuple[NamedCell, ...]], running: Mapping[str, float], pace: Pace
) -> Remaining | None:
    """Returns the expected seconds of units; None as in `Pace.expected`.

    Args:
        units: Cells that have not ended, in the order of the queue.
        running: Id of each running cell -> seconds since it started.
        pace: Expected seconds of cells.
    """
    units = tuple(units)
    bounds = pace.lower_bounds(
        (cell, running[cell.id]) for unit in units for cell in unit if cell.id in running
    )
    in_progress: list[float] = []
    queued: list[float] = []
    loaded: set[tuple[str, str, str]] = set()
    for unit in units:
        seconds = 0.0
        for cell in unit:
            expected = pace.expected(cell, bounds)
            if expected is None:
                return None
            if cell.base_key not in loaded:
                loaded.add(cell.base_key)
                expected += pace.loading(cell)
            seconds += max(expected - running.get(cell.id, 0.0), 0.0)
        (in_progress if any(cell.id in running for cell in unit) else queued).append(seconds)
    return Remaining(in_progress=in_progress, queued=queued)
