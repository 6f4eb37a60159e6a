"""UltraFeedback-style pairs: `chosen` and `rejected` are message lists with a common context."""

from __future__ import annotations

from typing import Any

from trainables.data.loading.files import Row
from trainables.data.loading.hub import HubSource
from trainables.data.loading.preference_pairs import Pair, hub_and_files_task
from trainables.data.loading.task_spec import number_field, wrong_columns
from trainables.errors import DataError


def parse_row(row: Row) -> Pair | None:
    """Returns the pair of a row; None where both responses have one score: neither is better.

    `closeness` is minus the distance of the two scores, if they are given. Without its sign, which
    would say which response is the better one.

    Raises:
        DataError: If a message list is wrong, or the two have different contexts.
    """
    chosen, rejected = _messages(row, "chosen"), _messages(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise DataError(
            f"{row.where}: chosen and rejected differ before their last message; they must answer "
            "one prompt"
        )
    hardness = {}
    if row.values.get("score_chosen") is not None and row.values.get("score_rejected") is not None:
        gap = number_field(row, "score_chosen") - number_field(row, "score_rejected")
        if gap == 0:
            return None
        hardness["closeness"] = -abs(gap)
    return Pair(
        prompt=_context(chosen[:-1]),
        chosen=chosen[-1][1],
        rejected=rejected[-1][1],
        topic=str(row.values.get("source") or "") or None,
        hardness=hardness,
    )


def _messages(row: Row, name: str) -> list[tuple[str, str]]:
    messages: Any = row.values.get(name)
    try:
        pairs = [(str(message["role"]), str(message["content"])) for message in messages]
    except (KeyError, TypeError) as error:
        raise wrong_columns(row, name, "a list of {role, content}") from error
    if len(pairs) < 2 or pairs[-1][0] != "assistant":
        raise wrong_columns(row, name, "a prompt and an assistant's answer at its end")
    return pairs


def _context(messages: list[tuple[str, str]]) -> str:
    """Returns a single user message unchanged, a conversation with its roles."""
    if len(messages) == 1:
        return messages[0][1]
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in messages)


TASK = hub_and_files_task(
    name="ultrafeedback",
    title="model-judged preferences, chosen and rejected message lists",
    licence="MIT",
    accepts=(
        "DIR/ultrafeedback/{train,test}_prefs.parquet (chosen, rejected message lists; also "
        "{train,test}, .jsonl, .json, .gz)"
    ),
    hub=HubSource(
        name="HuggingFaceH4/ultrafeedback_binarized",
        revision="3949bf5f8c17c394422ccfab0c31ea9c20bdeb85",
        splits=("train_prefs", "test_prefs"),
    ),
    parts={"train": "train(_prefs)?", "test": "test(_prefs)?"},
    parse=parse_row,
    left_out="pairs whose responses have one score were dropped: neither is the better one.",
)
