"""HH-RLHF: pairs of whole transcripts that differ in the assistant's last answer."""

from __future__ import annotations

import re
from collections.abc import Callable

from trainables.data.loading.files import Row
from trainables.data.loading.hub import HubSource
from trainables.data.loading.preference_pairs import Pair, hub_and_files_task
from trainables.data.loading.task_spec import TaskSpec, text_field
from trainables.errors import DataError

_TURN = re.compile(r"\n\n(?=(?:Human|Assistant):)")
_ASSISTANT = "Assistant:"


def parse_row(row: Row) -> Pair:
    """Returns the pair of a row: the turns that both transcripts share are the prompt.

    Raises:
        DataError: If a transcript has no turns, or the two share none.
    """
    chosen, rejected = _turns(row, "chosen"), _turns(row, "rejected")
    # The last turn is a response even where one transcript is the beginning of the other.
    num_shared = 0
    for ours, theirs in zip(chosen[:-1], rejected[:-1], strict=False):
        if ours != theirs:
            break
        num_shared += 1
    if num_shared == 0:
        raise DataError(
            f"{row.where}: chosen and rejected share no first turn; they must answer one prompt"
        )
    return Pair(
        prompt="\n\n".join(chosen[:num_shared]),
        chosen=_response(chosen[num_shared:]),
        rejected=_response(rejected[num_shared:]),
    )


def _turns(row: Row, name: str) -> list[str]:
    turns = [turn.strip() for turn in _TURN.split("\n\n" + text_field(row, name)) if turn.strip()]
    if len(turns) < 2 or not turns[0].startswith("Human:"):
        raise DataError(
            f"{row.where}: {name} must be a transcript of '\\n\\nHuman:' and '\\n\\nAssistant:' "
            f"turns, got {row.values.get(name)!r:.60}"
        )
    return turns


def _response(turns: list[str]) -> str:
    return "\n\n".join(turns).removeprefix(_ASSISTANT).strip()


def make_task(parts: tuple[str, ...], parse: Callable[[Row], Pair]) -> TaskSpec:
    """Returns the task with these parts of the data, of `train` and `test`, read in this way."""
    wanted = f"{{{','.join(parts)}}}" if len(parts) > 1 else parts[0]
    return hub_and_files_task(
        name="hh_rlhf",
        title="human preferences on helpfulness and harmlessness",
        licence="MIT",
        accepts=(
            f"DIR/hh_rlhf/[SUBSET/]{wanted}.jsonl (chosen, rejected; also .csv, .parquet, .gz)"
        ),
        hub=HubSource(
            name="Anthropic/hh-rlhf",
            revision="09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa",
            splits=parts,
        ),
        parts={part: part for part in parts},
        parse=parse,
    )


TASK = make_task(("train", "test"), parse_row)
