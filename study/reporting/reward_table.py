"""How reward models are written: rewards.parquet, and the page's words on prior sets and people."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from study.analysis.preferences.reward_models import PRIOR_SETS, Ceiling, RewardRow
from study.analysis.preferences.rewardbench import LEADERBOARD_PRIOR_SETS, SUBSETS
from trainables.storage import layout
from trainables.storage.filesystem import Storage

SCHEMA = pa.schema(
    {
        "task": pa.string(),
        "model": pa.string(),
        "recipe": pa.string(),
        "source": pa.string(),
        "orders": pa.string(),
        "subset": pa.string(),
        "num_pairs": pa.int64(),
        "num_seeds": pa.int64(),
        "accuracy": pa.float64(),
        "tie_share": pa.float64(),
        **dict.fromkeys(map(str, SUBSETS), pa.float64()),
        "Safety (old weights)": pa.float64(),
        "four_sections": pa.float64(),
        "with_prior_sets": pa.float64(),
        "prior_sets": pa.string(),
        "ceiling": pa.float64(),
        "reason": pa.string(),
    }
)
"""Columns of rewards.parquet. `subset` is null in the row of all pairs; the rows of subsets have
accuracies only. `ceiling`: what one annotator scores against the others, null where unknown."""


def write_rewards(
    storage: Storage, space: str, rows: Sequence[RewardRow], ceilings: Sequence[Ceiling]
) -> None:
    """Writes rewards.parquet."""
    known = {ceiling.task: ceiling for ceiling in ceilings}
    table = pa.Table.from_pylist(
        [line for row in rows for line in _lines(row, known.get(row.task))], schema=SCHEMA
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    storage.write_bytes(layout.reward_models(space), buffer.getvalue())


def prior_text(rows: Sequence[RewardRow]) -> str:
    """Returns which prior sets are in the overall means of these rows, in a sentence or two."""
    names = dict.fromkeys(name for row in rows for name in row.prior_sets)
    if not names:
        return "No prior set was answered by the same models, so the last column is empty."
    return (
        f"Prior sets count half; in them is {', '.join(PRIOR_SETS[name] for name in names)}, "
        f"answered by the very same models. The public leaderboard has "
        f"{', '.join(LEADERBOARD_PRIOR_SETS)} there, so its overall score is another number."
    )


def ceiling_text(ceiling: Ceiling) -> str:
    """Returns what people reach, or that it is not known."""
    found = ceiling.agreement
    if found is None:
        return "no ceiling known (one label a pair)."
    return (
        f"one annotator scores {100 * found.accuracy:.1f} % against the others on these "
        f"{found.num_items} pairs."
    )


def _lines(row: RewardRow, ceiling: Ceiling | None) -> Iterator[Mapping[str, object]]:
    names = {name: getattr(row, name) for name in ("task", "model", "recipe", "source", "orders")}
    agreement = None if ceiling is None else ceiling.agreement
    yield {
        **names,
        "num_pairs": row.num_pairs,
        "num_seeds": row.num_seeds,
        "accuracy": row.accuracy,
        "tie_share": row.tie_share,
        **{str(section): mean for section, mean in row.sections.items()},
        "Safety (old weights)": row.sections_old.get("Safety"),
        "four_sections": row.overall,
        "with_prior_sets": row.overall_with_prior,
        "prior_sets": ", ".join(row.prior_sets) or None,
        "ceiling": None if agreement is None else agreement.accuracy,
        "reason": row.reason,
    }
    for subset, accuracy in row.subsets.items():
        yield {**names, "subset": subset, "num_seeds": row.num_seeds, "accuracy": accuracy}
