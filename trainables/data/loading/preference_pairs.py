"""Preference pairs as two-choice items: what the five preference data sets have in common.

A pair's id and the order of its responses come from their texts alone, never from which is better:
exchanging `chosen` and `rejected` in the data changes only the gold answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from search_spaces.levels import Level
from trainables.data.items import Item, text_hash
from trainables.data.loading.files import Row, read_parts
from trainables.data.loading.hub import HubSource, hub_rows
from trainables.data.loading.task_spec import (
    Loaded,
    Request,
    TaskSpec,
    usable,
    without_repeats,
)
from trainables.data.seeding import seed_of
from trainables.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A prompt and two responses to it."""

    prompt: str
    chosen: str
    rejected: str
    id: str | None = None
    """The data's own; None: made of the content."""
    topic: str | None = None
    hardness: Mapping[str, float] = field(default_factory=dict)


def pair_item(pair: Pair, where: str) -> Item:
    """Returns the item of a pair. An empty response is a response; two equal ones are no pair.

    Raises:
        DataError: If the prompt is empty or the responses are the same.
    """
    prompt, chosen, rejected = pair.prompt.strip(), pair.chosen.strip(), pair.rejected.strip()
    if not prompt:
        raise DataError(f"{where}: the prompt is empty; fill it in or remove the row")
    if chosen == rejected:
        raise DataError(f"{where}: chosen and rejected are the same text; remove the row")
    first, second = sorted((chosen, rejected))
    id_ = pair.id or text_hash(prompt, first, second)
    if seed_of("position", id_) & 1:
        first, second = second, first
    return Item(
        id=id_,
        question=prompt,
        choices=(first, second),
        answer=0 if first == chosen else 1,
        hardness=pair.hardness,
        # Pairs of one prompt stay on one side of the split.
        group=text_hash(" ".join(prompt.casefold().split())),
        topic=pair.topic,
    )


def hub_and_files_task(
    *,
    name: str,
    title: str,
    licence: str,
    accepts: str,
    hub: HubSource,
    parts: Mapping[str, str],
    parse: Callable[[Row], Pair | None],
    left_out: str = "",
    cuts: Mapping[str, Mapping[str, tuple[Level, ...]]] | None = None,
) -> TaskSpec:
    """Returns the task of a preference data set that the Hub has.

    Rows of a part whose name begins with `test` are its own test.

    Args:
        name: The task's name, and its folder under the data root.
        title: One line for lists.
        licence: The data's.
        accepts: File names and schema of a local copy, for messages.
        hub: Where it is on the Hub.
        parts: Part -> pattern of its files (`find_parts`); a part may be many files.
        parse: Returns a row's pair; None leaves the row out.
        left_out: What such rows are and why they are left out, for a note with their number.
        cuts: Measure -> name of a cut -> levels.
    """

    def rows(request: Request) -> Iterator[Row]:
        if request.data_root is None:
            return hub_rows(hub, f"put {accepts} and pass --data-root DIR")
        return read_parts(request.data_root / name, parts, request.bad, several=True)

    def load(request: Request) -> Loaded:
        test: set[str] = set()
        num_left_out = 0

        def noted(row: Row) -> Item | None:
            nonlocal num_left_out
            pair = parse(row)
            if pair is None:
                num_left_out += 1
                return None
            item = pair_item(pair, row.where)
            if row.part.startswith("test"):
                test.add(item.id)
            return item

        source = (
            f"Hub {hub.name}@{hub.revision}"
            if request.data_root is None
            else str(request.data_root / name)
        )
        items, notes = without_repeats(usable(rows(request), noted, request.bad, unique=False))
        if num_left_out:
            notes += (f"{num_left_out:,} {left_out}",)
        return Loaded(items=items, source=source, notes=notes, test=frozenset(test))

    return TaskSpec(
        name=name,
        title=title,
        licence=licence,
        accepts=accepts,
        load=load,
        cuts=cuts or {},
    )
