"""plan.json: the typed content of a plan, readable without any data."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import Field, ValidationError

from search_spaces.explain import explain
from search_spaces.frozen import FrozenModel
from search_spaces.space import Space
from study.artifacts.costs import StudyCost
from study.artifacts.points import Point
from study.artifacts.policies import PolicyComparison
from trainables.cells.planned import CellSummary, PlannedCell
from trainables.invocation import command_line
from trainables.models.source import ModelSource
from trainables.storage import layout
from trainables.storage.filesystem import Storage, UnreadableError


def program_version() -> str:
    """Returns the version of this program; `unknown` if it is not installed."""
    try:
        return version("scarce-labels")
    except PackageNotFoundError:
        return "unknown"


class LevelSize(FrozenModel):
    """Numbers of pool and test items of a level."""

    level: str
    low: float | None
    high: float | None
    pool: int
    test: int
    """Test items that the cells are scored on."""
    whole_test: int
    """Test items of the level, scored or not (`TaskAxis.test_items`)."""


class PlannedTask(FrozenModel):
    """Source, hashes and counts of a task, by one measure."""

    task: str
    measure: str
    scale: str
    source: str
    licence: str
    data_hash: str
    split_hash: str
    num_test: int
    levels: tuple[LevelSize, ...]
    notes: tuple[str, ...]
    num_skipped: int = 0
    """Unusable rows that `--skip-bad-rows` left out."""
    num_states: float = 0.0
    """Hidden states per layer: items of test and pool times their choices."""
    mean_tokens: float = 0.0
    """Of a question with all its choices, estimated from characters; 0: unknown."""
    longest_tokens: float = 0.0
    """Of the longest of them."""


class ModelFacts(FrozenModel):
    """Identity and size of a base model; None: unknown."""

    name: str
    content: str
    dtype: Literal["float32", "bfloat16", "float16"]
    num_params: int | None
    num_layers: int | None = None
    hidden_size: int | None = None
    vocab_size: int | None = None
    num_expert_params: int = 0
    is_mapped: bool = False
    """Whether `dtype` is the format of the model's files, whose pages workers then share."""

    @classmethod
    def of(cls, name: str, source: ModelSource) -> ModelFacts:
        """Returns the facts of a resolved model.

        Args:
            name: As tables name it.
            source: The model.
        """
        return cls(
            name=name,
            content=source.content,
            dtype=source.dtype,
            num_params=source.num_params,
            num_layers=source.num_layers,
            hidden_size=source.hidden_size,
            vocab_size=source.vocab_size,
            num_expert_params=source.num_expert_params,
            is_mapped=source.dtype == source.stored_dtype,
        )


class Plan(FrozenModel):
    """The content of plan.json."""

    version: str = Field(default_factory=program_version)
    """Version of the program that wrote the plan, for messages of other versions."""
    space: Space
    tasks: tuple[PlannedTask, ...]
    models: tuple[ModelFacts, ...]
    cells: tuple[PlannedCell, ...]
    units: tuple[tuple[str, ...], ...]
    """Ids of the cells that one worker runs in sequence, in queue order. A run divides the queue
    into as many blocks as the cluster has slots."""
    points: tuple[Point, ...]
    policies: tuple[PolicyComparison, ...] = ()
    cost: StudyCost | None = None
    """Cost of all cells, including finished ones; None: not priced."""

    @property
    def flop(self) -> float:
        """Expected floating-point operations of all cells."""
        return sum(cell.flop for cell in self.cells)


class PlanSummary(FrozenModel, extra="ignore"):
    """The parts of plan.json that progress reporting shows."""

    version: str = ""
    """Empty: unknown."""
    cells: tuple[CellSummary, ...]
    units: tuple[tuple[str, ...], ...]
    cost: StudyCost | None = None


def write_plan(storage: Storage, plan: Plan) -> None:
    """Writes plan.json and its checksum; replaces an older plan of the study."""
    content = plan.model_dump_json(indent=1).encode()
    storage.write_bytes(layout.plan(plan.space.name), content)
    storage.write_bytes(layout.plan_checksum(plan.space.name), _checksum(content))


def read_plan(storage: Storage, space: str) -> Plan:
    """Returns the plan of a study.

    Raises:
        ValueError: If plan.json is missing, damaged or of another version.
    """
    content = _content(storage, space)
    try:
        with collector_paused():
            return Plan.model_validate_json(content)
    except ValidationError as error:
        raise _unusable(storage, space, content, error) from error


def read_plan_summary(storage: Storage, space: str) -> PlanSummary:
    """Returns what progress needs of a plan, in a fraction of the time of `read_plan`.

    The rest is valid if this version wrote the file and its checksum agrees, and else validated.

    Raises:
        ValueError: As `read_plan`.
    """
    content = _content(storage, space)
    try:
        with collector_paused():
            summary = PlanSummary.model_validate_json(content)
            if summary.version != program_version() or not _is_as_written(storage, space, content):
                Plan.model_validate_json(content)
    except ValidationError as error:
        raise _unusable(storage, space, content, error) from error
    return summary


def _checksum(content: bytes) -> bytes:
    """Returns the content of plan.sha256, which `sha256sum --check` reads."""
    return f"{hashlib.sha256(content).hexdigest()}  plan.json\n".encode()


def _is_as_written(storage: Storage, space: str, content: bytes) -> bool:
    """Returns whether plan.json is the file that `write_plan` left."""
    try:
        return storage.read_bytes(layout.plan_checksum(space)) == _checksum(content)
    except (FileNotFoundError, UnreadableError):
        return False


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses the garbage collector: a plan makes values by the hundred thousand and drops few."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()


def _content(storage: Storage, space: str) -> bytes:
    try:
        return storage.read_bytes(layout.plan(space))
    except FileNotFoundError as error:
        inside = [
            name for name in storage.list(space) if storage.exists(layout.plan(f"{space}/{name}"))
        ]
        advice = f"run `{command_line('sweep')}` first"
        if inside:
            advice = f"studies of this run folder are {', '.join(inside)}: name one of them"
        path = storage.path(layout.plan(space))
        raise ValueError(f"{path} does not exist: {advice}") from error


def _unusable(storage: Storage, space: str, content: bytes, error: ValidationError) -> ValueError:
    return ValueError(
        f"{storage.path(layout.plan(space))} was written by {_version_in(content)} of this "
        f"program, or is damaged, and this is version {program_version()}: {explain(error)}. Run "
        f"`{command_line('sweep')}` again with this version: it rewrites the plan and keeps all "
        "valid records"
    )


def _version_in(content: bytes) -> str:
    try:
        written_by = json.loads(content)["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "an unknown version"
    return f"version {written_by}" if isinstance(written_by, str) else "an unknown version"
