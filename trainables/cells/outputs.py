"""What a cell found, as the files that it leaves."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from trainables.cells.parent_state import selection_bytes, state_bytes
from trainables.cells.planned import PlannedCell
from trainables.cells.run import CellResult
from trainables.data.items import Item
from trainables.storage import layout
from trainables.storage.records import generated_table, scores_table


def files_of(planned: PlannedCell, result: CellResult) -> dict[str, bytes]:
    """Returns what a cell leaves beside its scores: name of the file -> content."""
    files = {}
    if result.state is not None:
        files[layout.trained(planned.id)] = state_bytes(result.state)
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
