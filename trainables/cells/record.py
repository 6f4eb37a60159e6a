"""A cell's result as the files of its record: scores, trained state, selection, rewards."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from search_spaces.base_models import EngineName
from trainables.cells.parent_state import selection_bytes
from trainables.cells.planned import PlannedCell
from trainables.cells.run import CellResult
from trainables.cells.trained_state import state_files
from trainables.data.items import Item
from trainables.models.source import ModelSource
from trainables.storage import layout
from trainables.storage.process_identity import host_kind
from trainables.storage.records import generated_table, scores_table

PACKAGES = ("bitsandbytes", "numpy", "peft", "torch", "transformers")
"""A record names their versions: another version may sum in another order."""


def files_of(planned: PlannedCell, source: ModelSource, result: CellResult) -> dict[str, bytes]:
    """Returns the files next to the scores: key -> content.

    Args:
        planned: The cell.
        source: Its base model.
        result: Its result.
    """
    files = {}
    if result.state is not None:
        state = state_files(planned.cell, source, result.state)
        files = {layout.trained(planned.id, name): content for name, content in state.items()}
    if result.round is not None:
        files[layout.selection(planned.id)] = selection_bytes(result.round.rows)
    if result.policy is not None:
        files[layout.rewards(planned.id)] = result.policy.rewards
        if result.policy.pairs is not None:
            files[layout.pairs(planned.id)] = result.policy.pairs
    return files


def scores_of(test: Sequence[Item], result: CellResult) -> pa.Table:
    """Returns a cell's answers in the schema of scores.parquet."""
    ids = [item.id for item in test]
    answers = result.answers
    if answers.log_probs is not None:
        return scores_table(ids, [item.answer for item in test], answers.log_probs)
    generated = answers.generated or []
    return generated_table(
        ids,
        [answer.predicted for answer in generated],
        [answer.is_correct for answer in generated],
        [answer.text for answer in generated],
        [answer.is_readable for answer in generated],
    )


def execution_facts(
    *,
    quantization: str,
    device: str,
    threads: int,
    engine: EngineName,
    offload: bool,
    workers: int,
) -> dict[str, Any]:
    """Returns the entries of a record's `execution` that are known before the cell begins.

    Args:
        quantization: Of the base model.
        device: Of the base model.
        threads: Of torch on the CPU.
        engine: Of the training.
        offload: Whether the engine keeps its shards in CPU memory.
        workers: How many run the cell together.
    """
    # int8 rounding depends on the batch, and sums depend on the number of threads.
    is_exact = quantization != "int8" and threads == 1
    shared: dict[str, Any] = {}
    if engine != "plain":
        is_exact = False
        shared = {"engine": engine, "offload": offload, "workers": workers}
        shared["deepspeed"] = version("deepspeed")
    return {
        "class": "A" if is_exact else "B",
        "host": host_kind(),
        "device": device,
        "threads": threads,
        "python": platform.python_version(),
        **_versions(),
        **shared,
    }


@cache
def _versions() -> Mapping[str, str]:
    """Returns the packages' versions; reading them takes 2 ms a package."""
    return {name: version(name) for name in PACKAGES}
