"""How comparisons of policies are written: a table for the terminal, alignment.parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from study.analysis.preferences.policies import WinRate
from study.analysis.surface_rows import recipe_text
from study.artifacts.policies import PolicyComparison
from study.formatting import aligned
from trainables.storage import layout
from trainables.storage.filesystem import Storage


def write_alignment(storage: Storage, space: str, rows: Sequence[WinRate]) -> None:
    """Writes alignment.parquet, a row a comparison of two policies."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([_columns(row) for row in rows]), buffer)
    storage.write_bytes(layout.alignment(space), buffer.getvalue())


def format_win_rates(rows: Sequence[WinRate]) -> str:
    """Returns the comparisons as a table for the terminal."""
    head = (
        "model",
        "reward model",
        "policy",
        "against",
        "wins %",
        "interval",
        "p",
        "rewards",
        "labels right %",
    )
    return "\n".join(aligned([head, *(_line(row) for row in rows)], indent=2))


def _line(row: WinRate) -> tuple[str, ...]:
    found = row.comparison
    names = (found.model, source_of(found), row.first, row.second)
    rate = row.rate
    if rate.estimate is None:
        return (*names, "-", "", "", row.reason or "", "")
    interval = (
        "-" if rate.low is None or rate.high is None else f"[{_of(rate.low)}, {_of(rate.high)}]"
    )
    p_value = "-" if rate.p_value is None else f"{rate.p_value:.3f}"
    return (
        *names,
        _of(rate.estimate),
        interval,
        p_value,
        f"{row.first_reward:.2f} : {row.second_reward:.2f}",
        labels_text(row),
    )


def source_of(comparison: PolicyComparison) -> str:
    """Returns how a reader knows the reward model: method, condition, threshold and last round."""
    parts = [comparison.recipe.method, comparison.condition]
    if comparison.variant:
        parts.append(comparison.variant)
    if comparison.threshold is not None:
        parts.append(f"tau {comparison.threshold:g}")
    return " ".join([*parts, f"round {comparison.ssrm_round}"])


def labels_text(row: WinRate) -> str:
    """Returns how many labels were right in %, or why none can be told right from wrong."""
    return "pairs of equal rewards" if row.label_accuracy is None else _of(row.label_accuracy)


def _of(share: float) -> str:
    return f"{100 * share:.1f}"


def _columns(row: WinRate) -> dict[str, str | float | int | None]:
    found = row.comparison
    return {
        "model": found.model,
        "task": found.task,
        "reward_recipe": recipe_text(found.recipe),
        "source": source_of(found),
        "condition": found.condition,
        "variant": found.variant,
        "threshold": found.threshold,
        "ssrm_round": found.ssrm_round,
        "first": row.first,
        "second": row.second,
        "win_rate": row.rate.estimate,
        "low": row.rate.low,
        "high": row.rate.high,
        "p_value": row.rate.p_value,
        "first_reward": row.first_reward,
        "second_reward": row.second_reward,
        "label_accuracy": row.label_accuracy,
        "num_questions": row.num_questions,
        "num_samples": row.num_samples,
        "num_seeds": row.num_seeds,
        "reason": row.reason,
    }
