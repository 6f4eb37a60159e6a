"""What a cell draws: no item, copy, group or question has two uses."""

from __future__ import annotations

from itertools import combinations

import pytest

from search_spaces.levels import Level
from trainables.data.draws import CellDraws, Draw, Use
from trainables.data.items import Item, data_hash, prompt_key
from trainables.data.splits import make_split
from trainables.data.task import SplitTask, TaskData

BAND = Level(name="any", low=0, high=9)


def task(*, are_grouped: bool) -> SplitTask:
    """Pairs of one question each, whose rows have groups of their own or none."""
    items = tuple(
        Item(
            id=f"i{n:03}",
            question=f"which  {n // 2}?" if n % 2 else f"Which {n // 2}?",
            choices=(f"a{n}", "b"),
            answer=0,
            group=f"g{n}" if are_grouped else None,
        )
        for n in range(240)
    )
    data = TaskData(
        name="t",
        items=items,
        measures={"m": {item.id: float(n % 10) for n, item in enumerate(items)}},
        data_hash=data_hash(items),
        source="s",
        licence="l",
    )
    return SplitTask(data=data, split=make_split(data, n_train=60))


def draw(use: Use, n: int | None, seed: int) -> Draw:
    return Draw(task="t", measure="m", level=BAND, n=n, study_seed=0, seed=seed, use=use)


@pytest.mark.parametrize("are_grouped", [True, False])
def test_no_two_uses_share_a_question(are_grouped: bool) -> None:
    found = task(are_grouped=are_grouped)
    for seed in range(5):
        drawn = found.drawn_ids(
            CellDraws(
                labelled=(draw("train", 12, seed),),
                validation=(draw("validation", 12, seed),),
                unlabelled=(draw("unlabelled", None, seed),),
            )
        )
        uses = {
            "labelled": drawn.labelled,
            "validation": drawn.validation,
            "unlabelled": drawn.unlabelled[0],
            "test": found.split.test,
        }
        asked = {use: {prompt_key(item) for item in found.by_id(ids)} for use, ids in uses.items()}
        assert all(len(ids) >= 12 for ids in uses.values())
        for first, second in combinations(uses, 2):
            assert not asked[first] & asked[second], (first, second)


def test_a_pool_that_other_uses_have_emptied_says_what_is_left() -> None:
    found = task(are_grouped=False)
    num_pool = len(found.split.pool)
    draws = CellDraws(
        labelled=(draw("train", num_pool - 4, 0),), validation=(draw("validation", 8, 0),)
    )
    with pytest.raises(
        ValueError, match=r"t: 8 items for validation of seed 0, but the pool of level 'any' has \d"
    ):
        found.drawn_ids(draws)
