"""How far a study is, from its plan and records alone: no Ray, no torch, no cluster."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.failures import Failure, failure_of
from trainables.storage.filesystem import Storage, UnreadableError, map_parallel
from trainables.storage.heartbeat import Heartbeat, read_heartbeat
from trainables.storage.process_identity import has_ended
from trainables.storage.records import InvalidRecordError, Record, read_record

OVERDUE_FACTOR = 5.0
OVERDUE_AT_LEAST_S = 600.0
"""A cell that runs for this many times its expected seconds (and this long) may be lost."""


class Claim(BaseModel):
    """The content of running.json: who runs a cell. Keys that are new are ignored."""

    model_config = ConfigDict(frozen=True)

    host: str
    pid: int
    boot: str = ""
    pid_namespace: str = ""
    started: float
    """Seconds since 1970 by the clock of the worker's machine."""
    token: str | None = None
    """Which sweep runs it: what the run folder's lock says while that sweep is at work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningCell:
    """A cell that a worker has begun and not ended."""

    planned: PlannedCell
    host: str
    seconds: float
    """Since it began."""
    expected_seconds: float | None
    """None where no cell has finished yet."""

    @property
    def is_overdue(self) -> bool:
        """Says whether it runs for so long that its worker may be lost."""
        if self.expected_seconds is None:
            return False
        return self.seconds > max(OVERDUE_AT_LEAST_S, OVERDUE_FACTOR * self.expected_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedCell:
    """A cell whose last run failed."""

    planned: PlannedCell
    failure: Failure


_Found = Record | Claim | Failure | InvalidRecordError | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """Where each cell of a plan is."""

    done: Mapping[str, Record]
    running: Sequence[RunningCell]
    waiting: Sequence[PlannedCell]
    """Not begun, or begun by a worker that is gone."""
    lost: Sequence[PlannedCell]
    """Those of the waiting that were begun."""
    not_valid: Mapping[str, str]
    """Ids of those of the waiting whose record cannot be used, with the reason."""
    sign: Heartbeat | None
    """The last one of the sweep (or another command that runs cells) that holds the run folder."""
    failed: Sequence[FailedCell]
    cell_seconds: float
    """Of the finished cells, and of the failed ones until they failed."""
    gpu_seconds_of: Mapping[str, float]
    """Of these the seconds on GPUs, times the cell's workers, by base model."""
    seconds_left: float | None
    """Expected cell-seconds of what is running or waiting; None while nothing has finished."""

    @property
    def num_cells(self) -> int:
        """All cells of the plan."""
        return len(self.done) + len(self.running) + len(self.waiting) + len(self.failed)

    @property
    def is_at_work(self) -> bool:
        """Whether a sweep gives signs."""
        return self.sign is not None and self.sign.is_alive

    @property
    def gpu_seconds(self) -> float:
        """Cell-seconds times the cell's GPUs; a fraction where a GPU was shared."""
        return sum(self.gpu_seconds_of.values())

    @property
    def eta_seconds(self) -> float | None:
        """Until the rest is done if as many cells run at once as now; None where that is unknown.

        Failed cells are not in it: the run that is under way does not try them again.
        """
        if not self.running and not self.waiting:
            return 0.0
        if self.seconds_left is None or not self.running:
            return None
        return self.seconds_left / len(self.running)


def read_run_state(
    storage: Storage, cells: Sequence[PlannedCell], *, now: float | None = None
) -> RunState:
    """Reads where each cell of a plan is.

    A cell is done when its record is valid; whether its scores are those of the record is not
    looked at here (`study.report` does). A cell that was begun runs only while the very sweep that
    began it gives signs: of a lost machine, that is all that can be known from elsewhere.

    Args:
        storage: The run folder.
        cells: The plan's cells.
        now: Seconds since 1970 by the viewer's clock; None: the time of this machine.
    """
    sign = read_heartbeat(storage, now)
    begun = storage.list_with_mtime(layout.RUNNING)
    found = _look_at_all(storage, cells, begun, sign)
    done = {id_: x for id_, x in found.items() if isinstance(x, Record)}
    pace = _Pace((cell, done[cell.id]) for cell in cells if cell.id in done)
    running, waiting, lost, failed = [], [], [], []
    not_valid: dict[str, str] = {}
    for cell in cells:
        match found.get(cell.id):
            case None:
                waiting.append(cell)
            case InvalidRecordError() as error:
                waiting.append(cell)
                not_valid[cell.id] = str(error)
            case Failure() as failure:
                failed.append(FailedCell(planned=cell, failure=failure))
            case Claim() as claim if sign is not None and _runs(claim, sign):
                since = begun[f"{cell.id}.json"] or claim.started
                running.append(_running(cell, claim, pace, sign.storage_now - since))
            case Claim():
                waiting.append(cell)
                lost.append(cell)
    ended = [(cell.model_name, done[cell.id]) for cell in cells if cell.id in done]
    spent = [(model, *_spent(record)) for model, record in ended]
    spent += [(cell.planned.model_name, *_lost(cell.failure)) for cell in failed]
    return RunState(
        done=done,
        running=running,
        waiting=waiting,
        lost=lost,
        not_valid=not_valid,
        sign=sign,
        failed=failed,
        cell_seconds=sum(seconds for _, seconds, _ in spent),
        gpu_seconds_of={
            model: sum(seconds * gpus for name, seconds, gpus in spent if name == model)
            for model in dict.fromkeys(name for name, _, gpus in spent if gpus)
        },
        seconds_left=_seconds_left(running, waiting, pace),
    )


def _look_at_all(
    storage: Storage, cells: Sequence[PlannedCell], claims: Iterable[str], sign: Heartbeat | None
) -> Mapping[str, _Found]:
    """Returns what there is of each cell that a worker has begun."""
    names = {*storage.list(layout.CELLS), *(name.removesuffix(".json") for name in claims)}
    begun = [cell.id for cell in cells if cell.id in names]
    looks = map_parallel(storage, lambda id_: _look(storage, id_, sign), begun)
    return dict(zip(begun, looks, strict=True))


def _running(cell: PlannedCell, claim: Claim, pace: _Pace, seconds: float) -> RunningCell:
    return RunningCell(
        planned=cell,
        host=claim.host,
        seconds=max(0.0, seconds),
        expected_seconds=pace.expected(cell),
    )


def _look(storage: Storage, id_: str, sign: Heartbeat | None) -> _Found:
    """Returns the cell's record, else who runs it, why it failed, who began it, its fault."""
    fault: InvalidRecordError | None = None
    try:
        return read_record(storage, id_)
    except FileNotFoundError:
        pass
    except InvalidRecordError as error:
        fault = error
    claim = read_claim(storage, id_)
    if claim is not None and sign is not None and _runs(claim, sign):
        return claim
    return failure_of(storage, id_) or claim or fault


def _runs(claim: Claim, sign: Heartbeat) -> bool:
    is_its_own = claim.token == sign.token
    return sign.is_alive and is_its_own and not has_ended(claim.model_dump())


def read_claim(storage: Storage, id_: str) -> Claim | None:
    """Returns who runs a cell, if a worker has said so."""
    try:
        return Claim.model_validate_json(storage.read_bytes(layout.running(id_)))
    except (FileNotFoundError, UnreadableError, ValidationError):
        return None


def _spent(record: Record) -> tuple[float, float]:
    """Returns a cell's seconds, and on how many GPUs they were spent."""
    return record.seconds.get("total", 0.0), record.workers * record.gpus_per_worker


def _lost(failure: Failure) -> tuple[float, float]:
    return failure.seconds, failure.gpus


class _Pace:
    """Seconds a floating-point operation, as measured: of the same base and method, else of all."""

    def __init__(self, finished: Iterable[tuple[PlannedCell, Record]]) -> None:
        groups: dict[tuple[str, str], list[float]] = {}
        for cell, record in finished:
            if cell.flop > 0 and "total" in record.seconds:
                groups.setdefault(_group(cell), []).append(record.seconds["total"] / cell.flop)
        self._of = {group: statistics.fmean(rates) for group, rates in groups.items()}
        rates = [rate for group in groups.values() for rate in group]
        self._of_all = statistics.median(rates) if rates else None

    def expected(self, cell: PlannedCell) -> float | None:
        """Returns the expected seconds of a cell; None while nothing has finished."""
        rate = self._of.get(_group(cell), self._of_all)
        return None if rate is None else rate * cell.flop


def _group(cell: PlannedCell) -> tuple[str, str]:
    return cell.model_name, cell.cell.recipe.method


def _seconds_left(
    running: Sequence[RunningCell], waiting: Sequence[PlannedCell], pace: _Pace
) -> float | None:
    expected = [pace.expected(cell) for cell in waiting]
    rest = [
        None if cell.expected_seconds is None else max(0.0, cell.expected_seconds - cell.seconds)
        for cell in running
    ]
    left = [seconds for seconds in (*expected, *rest) if seconds is not None]
    return sum(left) if len(left) == len(waiting) + len(running) else None
