from __future__ import annotations

from collections import Counter

import pytest

from search_spaces.levels import Level
from trainables.data.draws import Draw
from trainables.data.seeding import draw_ids, generator, ids_hash, seed_of

POOL = [f"item-{n}" for n in range(400)]


def test_draws_are_nested() -> None:
    assert draw_ids(POOL, 80, 0, "train", 1) == draw_ids(POOL, 160, 0, "train", 1)[:80]


def test_draw_depends_on_ids_alone_not_on_their_order() -> None:
    assert draw_ids(POOL, 50, "a") == draw_ids(list(reversed(POOL)), 50, "a")


def test_draws_of_other_names_are_other_draws() -> None:
    first, second = set(draw_ids(POOL, 100, "easy", 0)), set(draw_ids(POOL, 100, "easy", 1))
    assert 5 < len(first & second) < 50  # 25 expected of independent draws


def test_every_item_is_drawn_about_as_often() -> None:
    drawn = Counter(id_ for seed in range(400) for id_ in draw_ids(POOL, 100, "x", seed))
    assert len(drawn) == len(POOL)
    assert min(drawn.values()) > 60 and max(drawn.values()) < 145  # 100 expected, sd 8.7


def test_first_place_is_uniform() -> None:
    """A draw is a random order, not only a random set: k-shot takes its beginning."""
    firsts = Counter(draw_ids(POOL[:10], 5, "x", seed)[0] for seed in range(1000))
    assert len(firsts) == 10 and max(firsts.values()) < 150


def test_draw_larger_than_its_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="401 items from a pool of 400"):
        draw_ids(POOL, 401, "x")


def test_names_are_kept_apart() -> None:
    assert seed_of("ab", "c") != seed_of("a", "bc")
    assert seed_of(1, "a") != seed_of("1", "a")
    assert 0 <= seed_of("x") < 2**63


def test_generators_do_not_touch_the_global_one() -> None:
    assert generator("a").random() == generator("a").random() != generator("b").random()


def test_ids_hash_knows_order() -> None:
    assert ids_hash(["a", "b"]) != ids_hash(["b", "a"])


def draw(**changes: object) -> Draw:
    level = Level(name="easy", low=1, high=2)
    fields = {"task": "t", "measure": "m", "level": level, "n": 8, "study_seed": 0, "seed": 0}
    return Draw.model_validate(fields | changes)


def test_draw_id_is_shared_by_nested_draws_and_renamed_levels() -> None:
    renamed = Level(name="simple", low=1.0, high=2)
    assert draw().id == draw(n=160).id == draw(level=renamed).id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"study_seed": 1},
        {"task": "u"},
        {"measure": "n"},
        {"level": None},
        {"level": Level(name="easy", low=1, high=3)},
    ],
)
def test_draw_id_differs_for_other_draws(change: dict[str, object]) -> None:
    assert draw(**change).id != draw().id
