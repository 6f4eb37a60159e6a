from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import LinearProbe
from search_spaces.space import Space, TaskAxis
from trainables.data.draws import CellDraws, Draw, axis_test_draw
from trainables.data.draws import TestDraw as Scored  # pytest collects classes named Test*
from trainables.data.seeding import draw_id, draw_ids, generator, ids_hash, seed_of

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


def test_names_give_the_same_numbers_in_every_version_and_on_every_machine() -> None:
    digits = hashlib.sha256(b'[0,"train","t"]').hexdigest()
    assert draw_id(0, "train", "t") == digits[:16]
    assert seed_of(0, "train", "t") == int(digits[:16], 16) // 2
    assert ids_hash(["a", "b"]) == hashlib.sha256(b'["a","b"]').hexdigest()


def test_a_draw_can_take_its_whole_pool() -> None:
    assert sorted(draw_ids(POOL, 400, "x")) == sorted(POOL)


def test_a_draw_is_named_by_the_interval_or_by_the_whole_pool() -> None:
    assert draw().names == (0, "train", "t", "m", "1.0..2.0", 0)
    whole = draw(measure=None, level=None)
    assert whole.names == (0, "train", "t", "every item", "all", 0)
    with pytest.raises(ValueError, match="'easy' has no measure"):
        draw(measure=None)


def test_arms_of_several_levels_share_a_draw_where_they_share_all() -> None:
    easy, hard = draw(), draw(level=Level(name="hard", low=3, high=4))
    assert CellDraws(labelled=(easy,)).id == easy.id
    both = CellDraws(labelled=(easy, hard))
    assert both.id == CellDraws(labelled=(draw(n=160), hard)).id
    assert both.id not in (easy.id, hard.id, CellDraws(labelled=(hard, easy)).id)


def test_test_items_are_drawn_of_the_axis_levels_whatever_their_names() -> None:
    levels = (Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4))
    few = Scored(task="t", measure="m", levels=levels, n=50, study_seed=0)
    assert few.draws_from(Level(name="simple", low=1, high=2))
    assert not few.draws_from(Level(name="easy", low=1, high=3))
    assert not few.draws_from(None)
    more = few.model_copy(update={"n": 100})
    assert few.of_level(POOL) < more.of_level(POOL)
    assert len(more.of_level(POOL)) == 100
    assert few.of_level(POOL[:20]) == frozenset(POOL[:20])


def test_an_axis_draws_its_test_items_by_the_study_seed_where_it_limits_them() -> None:
    levels = (Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4))
    axis = TaskAxis(task="t", measure="m", train_levels=levels, test_levels=levels, test_items=50)
    space = Space(
        name="own",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(axis,),
        methods=(LinearProbe(n_train=8),),
        seeds=2,
        study_seed=7,
    )
    wanted = Scored(task="t", measure="m", levels=levels, n=50, study_seed=7)
    assert axis_test_draw(space, axis) == wanted
    assert axis_test_draw(space, axis.model_copy(update={"test_items": None})) is None
