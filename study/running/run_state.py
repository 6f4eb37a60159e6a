"""Where each cell of a study stands, read from its plan and run folder without Ray or torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from study.running.blocks import units_of
from study.running.pace import Pace, remaining
from trainables.cells.planned import NamedCell
from trainables.storage import layout
from trainables.storage.claims import Claim, read_claim
from trainables.storage.failures import Failure, failure_of
from trainables.storage.filesystem import Storage, map_parallel
from trainables.storage.heartbeat import Heartbeat, read_heartbeat
from trainables.storage.process_identity import has_ended
from trainables.storage.records import InvalidRecordError, Record, parse_record, record_content

OVERDUE_FACTOR = 5.0
OVERDUE_AT_LEAST_S = 600.0
"""A cell that runs this many times longer than expected, and at least this long, may be lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningCell:
    """A cell that a worker has started and not ended."""

    planned: NamedCell
    host: str
    seconds: float
    """Since it started."""
    expected_seconds: float | None
    """None if no cell has finished yet."""

    @property
    def is_overdue(self) -> bool:
        """Whether it has run for so long that its worker may be lost."""
        if self.expected_seconds is None:
            return False
        return self.seconds > max(OVERDUE_AT_LEAST_S, OVERDUE_FACTOR * self.expected_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedCell:
    """What progress shows of a record; whole ones of 30,000 cells take twice as long to keep."""

    seconds: Mapping[str, float]
    """By phase, as in the record."""
    gpus: float
    """Of all workers of the cell; a fraction if they shared one, 0 on CPUs."""
    peak_memory: int | None
    """Bytes; None if unknown."""

    @classmethod
    def of(cls, record: Record) -> FinishedCell:
        """Returns the part of a record."""
        return cls(
            seconds=record.seconds,
            gpus=record.workers * record.gpus_per_worker,
            peak_memory=record.peak_memory,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedCell:
    """A cell whose last run failed."""

    planned: NamedCell
    failure: Failure


_Outcome = FinishedCell | Claim | Failure | InvalidRecordError | None
"""What the run folder has of a cell; None: the cell has not started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """Where each cell of a plan is."""

    done: Mapping[str, FinishedCell]
    running: Sequence[RunningCell]
    waiting: Sequence[NamedCell]
    """Not started, or started by a worker that is gone."""
    lost: Sequence[NamedCell]
    """The waiting cells that a worker had started."""
    not_valid: Mapping[str, str]
    """Ids of the waiting cells whose record cannot be used, with the reason."""
    heartbeat: Heartbeat | None
    """The last one of the command that holds the run folder; None: no command holds it."""
    failed: Sequence[FailedCell]
    cell_seconds: float
    """Of the finished cells, and of the failed cells until they failed."""
    gpu_seconds_of: Mapping[str, float]
    """GPU-seconds of the same cells, by base model."""
    peak_memory_of: Mapping[str, int]
    """Largest peak memory of a finished cell in bytes, by base model, where it was measured."""
    seconds_left: float | None
    """Expected cell-seconds of the running and waiting cells; None until a cell has finished."""
    eta_seconds: float | None
    """Time to completion if as many cells run at once as now; None if unknown, 0 at the end.

    Failed cells do not count: the current run does not try them again."""

    @property
    def num_cells(self) -> int:
        """Cells of the plan."""
        return len(self.done) + len(self.running) + len(self.waiting) + len(self.failed)

    @property
    def is_at_work(self) -> bool:
        """Whether a sweep is alive."""
        return self.heartbeat is not None and self.heartbeat.is_alive

    @property
    def gpu_seconds(self) -> float:
        """Cell-seconds times the cell's GPUs, which is a fraction where workers share a GPU."""
        return sum(self.gpu_seconds_of.values())


def read_run_state(
    storage: Storage, units: Sequence[tuple[NamedCell, ...]], *, now: float | None = None
) -> RunState:
    """Reads where each cell of a plan stands.

    A cell is done when its record is valid; the hash of its scores is not checked (`study.report`
    does that). A claimed cell counts as running while the sweep that claimed it is alive: a lost
    machine shows in no other way.

    Args:
        storage: The run folder.
        units: The plan's cells (`plan_units`).
        now: Seconds since 1970 by the viewer's clock; None: the time of this machine.
    """
    cells = [cell for unit in units for cell in unit]
    heartbeat = read_heartbeat(storage, now)
    claimed_at = storage.list_with_mtime(layout.RUNNING)
    outcomes = _read_outcomes(storage, cells, claimed_at, heartbeat)
    done = {id_: outcome for id_, outcome in outcomes.items() if isinstance(outcome, FinishedCell)}
    pace = Pace(units)
    for cell in cells:
        if cell.id in done:
            pace.add(cell, done[cell.id].seconds)
    running, waiting, lost, failed = [], [], [], []
    not_valid: dict[str, str] = {}
    for cell in cells:
        match outcomes.get(cell.id):
            case None:
                waiting.append(cell)
            case InvalidRecordError() as error:
                waiting.append(cell)
                not_valid[cell.id] = str(error)
            case Failure() as failure:
                failed.append(FailedCell(planned=cell, failure=failure))
            case Claim() as claim if heartbeat is not None and _is_running(claim, heartbeat):
                since = claimed_at[f"{cell.id}.json"] or claim.started
                running.append(
                    RunningCell(
                        planned=cell,
                        host=claim.host,
                        seconds=max(0.0, heartbeat.storage_now - since),
                        expected_seconds=pace.expected(cell),
                    )
                )
            case Claim():
                waiting.append(cell)
                lost.append(cell)
    left_ids = {cell.id for cell in (*(each.planned for each in running), *waiting)}
    left = remaining(
        units_of(units, left_ids), {cell.planned.id: cell.seconds for cell in running}, pace
    )
    spent = [
        (cell.model_name, finished.seconds.get("total", 0.0), finished.gpus)
        for cell in cells
        if (finished := done.get(cell.id)) is not None
    ]
    spent += [(f.planned.model_name, f.failure.seconds, f.failure.gpus) for f in failed]
    gpu_seconds: dict[str, float] = {}
    for model, seconds, gpus in spent:
        if gpus:
            gpu_seconds[model] = gpu_seconds.get(model, 0.0) + seconds * gpus
    peaks: dict[str, int] = {}
    for cell in cells:
        peak = done[cell.id].peak_memory if cell.id in done else None
        if peak is not None:
            peaks[cell.model_name] = max(peak, peaks.get(cell.model_name, 0))
    return RunState(
        done=done,
        running=running,
        waiting=waiting,
        lost=lost,
        not_valid=not_valid,
        heartbeat=heartbeat,
        failed=failed,
        cell_seconds=sum(seconds for _, seconds, _ in spent),
        gpu_seconds_of=gpu_seconds,
        peak_memory_of=peaks,
        seconds_left=None if left is None else left.total,
        eta_seconds=left.time(len(running)) if left and (running or not waiting) else None,
    )


def _read_outcomes(
    storage: Storage,
    cells: Sequence[NamedCell],
    claim_files: Iterable[str],
    heartbeat: Heartbeat | None,
) -> Mapping[str, _Outcome]:
    """Returns what the run folder has of each cell that a worker has started."""
    started = {*storage.list(layout.CELLS), *(name.removesuffix(".json") for name in claim_files)}
    ids = [cell.id for cell in cells if cell.id in started]
    # All are read before the first is checked: in turn, both take a fifth longer.
    contents = map_parallel(storage, lambda id_: _read_content(storage, id_), ids)
    records = (_finished(storage, id_, content) for id_, content in zip(ids, contents, strict=True))
    outcomes: dict[str, _Outcome] = dict(zip(ids, records, strict=True))
    left = [id_ for id_, outcome in outcomes.items() if not isinstance(outcome, FinishedCell)]
    others = map_parallel(storage, lambda id_: _read_unfinished(storage, id_, heartbeat), left)
    for id_, other in zip(left, others, strict=True):
        outcomes[id_] = other or outcomes[id_]
    return outcomes


def _read_content(storage: Storage, id_: str) -> bytes | InvalidRecordError | None:
    """Returns the content of a cell's record, what is wrong with it, or None without one."""
    try:
        return record_content(storage, id_)
    except FileNotFoundError:
        return None
    except InvalidRecordError as error:
        return error


def _finished(
    storage: Storage, id_: str, content: bytes | InvalidRecordError | None
) -> FinishedCell | InvalidRecordError | None:
    if not isinstance(content, bytes):
        return content
    try:
        return FinishedCell.of(parse_record(storage, id_, content))
    except InvalidRecordError as error:
        return error


def _read_unfinished(
    storage: Storage, id_: str, heartbeat: Heartbeat | None
) -> Claim | Failure | None:
    """Returns a living worker's claim on a cell, else its failure, else a claim."""
    claim = read_claim(storage, id_)
    if claim is not None and heartbeat is not None and _is_running(claim, heartbeat):
        return claim
    return failure_of(storage, id_) or claim


def _is_running(claim: Claim, heartbeat: Heartbeat) -> bool:
    is_of_this_sweep = claim.token == heartbeat.token
    return heartbeat.is_alive and is_of_this_sweep and not has_ended(claim)
