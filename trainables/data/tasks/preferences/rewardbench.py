"""RewardBench: hand-checked pairs of 23 subsets, for testing rather than for training."""

from __future__ import annotations

from trainables.data.loading.files import Row
from trainables.data.loading.hub import HubSource
from trainables.data.loading.preference_pairs import Pair, hub_and_files_task
from trainables.data.loading.task_spec import text_field


def parse_row(row: Row) -> Pair:
    """Returns the pair of a row; its topic is the subset.

    Raises:
        DataError: If a field is missing.
    """
    return Pair(
        prompt=text_field(row, "prompt"),
        chosen=text_field(row, "chosen", may_be_empty=True),
        rejected=text_field(row, "rejected", may_be_empty=True),
        topic=text_field(row, "subset"),
    )


TASK = hub_and_files_task(
    name="rewardbench",
    title="hand-checked preference pairs of 23 subsets",
    licence="ODC-BY",
    accepts=(
        "DIR/rewardbench/filtered.parquet (prompt, chosen, rejected, subset; also rewardbench, "
        ".jsonl, .json, .csv, .gz)"
    ),
    hub=HubSource(
        name="allenai/reward-bench",
        revision="168d848cdbbea9764fae4a544dc9ca1e6cca4931",
        splits=("filtered",),
    ),
    parts={"filtered": "filtered|reward-?bench"},
    parse=parse_row,
)
