from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.levels import Level
from tests.support.real_data import ROOT, needs
from trainables.data.items import Item, data_hash, duplicate_key, prompt_key
from trainables.data.level_cuts import fixed_cut, standard_cuts
from trainables.data.measures import MADE_OF_GOLD, item_measures
from trainables.data.splits import make_split, paper_split, untrained_ids
from trainables.data.task import Split, TaskData
from trainables.data.tasks.registry import load_task

BANDS = fixed_cut({"easy": (1, 2), "medium": (3, 4), "hard": (5, 6)})


def item(number: int, **changed: object) -> Item:
    made = Item(
        id=f"i{number:04d}",
        question=" ".join([f"question {number}", *["word"] * (number * 7 % 30)]),
        choices=(f"answer {number}", "other"),
        answer=0,
        hardness={"steps": float(1 + number % 6), "grade": float(1 + number // 6 % 3)},
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def task(items: list[Item], **fixed: tuple[Level, ...]) -> TaskData:
    measures = item_measures(items)
    return TaskData(
        name="t",
        items=tuple(sorted(items, key=lambda it: it.id)),
        measures=measures,
        data_hash=data_hash(items),
        source="s",
        licence="l",
        cuts=standard_cuts(measures, fixed or {"steps": BANDS}),
    )


def counts(data: TaskData, ids: tuple[str, ...], measure: str, low: float, high: float) -> int:
    return sum(low <= data.measures[measure].get(id_, -1.0) <= high for id_ in ids)


LAB = task([item(n) for n in range(3600)])


def test_bands_have_twice_n_train_and_every_single_value_200_test_items() -> None:
    split = make_split(LAB, n_train=160)
    for low, high in ((1, 2), (3, 4), (5, 6)):
        assert counts(LAB, split.pool, "steps", low, high) >= 320
    for steps in range(1, 7):
        assert counts(LAB, split.test, "steps", steps, steps) >= 200
        assert counts(LAB, split.pool, "steps", steps, steps) >= 320


def test_test_and_pool_are_disjoint_sorted_and_complete() -> None:
    split = make_split(LAB, n_train=160)
    assert list(split.pool) == sorted(split.pool) and list(split.test) == sorted(split.test)
    assert sorted(split.pool + split.test) == [it.id for it in LAB.items]


def test_pool_is_a_fair_share_of_every_joint_stratum() -> None:
    split = make_split(LAB, n_train=160)
    share = len(split.pool) / len(LAB.items)
    steps, grade = LAB.measures["steps"], LAB.measures["grade"]
    for value in range(1, 7):
        for year in range(1, 4):
            both = [id_ for id_ in steps if steps[id_] == value and grade[id_] == year]
            assert len(set(both) & set(split.pool)) / len(both) == pytest.approx(share, abs=0.05)


def test_split_does_not_depend_on_order_and_does_on_the_study_seed() -> None:
    shuffled = replace(LAB, items=LAB.items[::-1])
    first = make_split(LAB, n_train=160)
    assert make_split(shuffled, n_train=160) == first
    other = make_split(LAB, n_train=160, study_seed=1)
    assert other.split_hash != first.split_hash and other.test != first.test


def test_hash_is_of_the_ids() -> None:
    first = make_split(LAB, n_train=160)
    renamed = task([replace(it, choices=("changed", "other")) for it in LAB.items])
    same = make_split(renamed, n_train=160)
    assert (same.test, same.split_hash) == (first.test, first.split_hash)
    assert make_split(LAB, n_train=170).split_hash != first.split_hash


def test_groups_are_never_parted() -> None:
    items = [item(n, group=f"g{n // 7}") for n in range(2000)]
    split = make_split(task(items), n_train=100)
    pool = set(split.pool)
    for number in range(0, 2000, 7):
        members = [it.id in pool for it in items[number : number + 7]]
        assert len(set(members)) == 1
    assert len(pool) + len(split.test) == 2000


def asked_twice(split: Split, items: list[Item]) -> set[str]:
    pool, test = set(split.pool), set(split.test)
    return {prompt_key(it) for it in items if it.id in pool} & {
        prompt_key(it) for it in items if it.id in test
    }


def test_what_asks_the_same_is_never_parted_where_no_group_is_named() -> None:
    """Three items of one question with other choices: on one side, and none is removed."""
    items = [
        item(n, question=f"{'WHICH ' if n % 3 else 'which  '}{n // 3}?", choices=(f"a{n}", "b"))
        for n in range(900)
    ]
    split = make_split(task(items), n_train=80)
    assert asked_twice(split, items) == set()
    assert split.pool and len(split.pool) + len(split.test) == 900
    pool = set(split.pool)
    assert all(
        len({it.id in pool for it in items[first : first + 3]}) == 1 for first in range(0, 900, 3)
    )
    turned = replace(task(items), items=tuple(items[::-1]))
    assert make_split(turned, n_train=80) == split


def test_data_of_one_question_says_why_it_cannot_be_split() -> None:
    items = [item(n, question="Which is better?", choices=(f"a{n}", "b")) for n in range(300)]
    with pytest.raises(
        ValueError, match=r"all 300 items have the question 'Which is better\?', and"
    ):
        make_split(task(items), n_train=20)
    apart = [replace(it, group=it.id) for it in items]
    assert make_split(task(apart), n_train=20).pool == ()


def test_questions_of_a_test_item_in_other_groups_leave_the_pool_and_are_counted() -> None:
    items = [item(n) for n in range(1200)]
    items += [
        replace(
            it,
            id=f"copy-{it.id}",
            group=f"copies of {it.id}",
            question=f"  {it.question.upper().replace(' ', '  ')}\n",
            choices=it.choices[::-1],
            answer=1,
        )
        for it in items[:200]
    ]
    data = task(items)
    split = make_split(data, n_train=80)
    assert asked_twice(split, items) == set()
    num_removed = len(items) - len(split.pool) - len(split.test)
    assert num_removed > 20
    assert split.notes[0] == (
        f"{num_removed} items with the question of a test item were removed from the pool."
    )
    for low, high in ((1, 2), (3, 4), (5, 6)):
        assert counts(data, split.pool, "steps", low, high) >= 160


@pytest.mark.parametrize(
    ("question", "choices", "same"),
    [
        ("what is  3 + 4?\n", ("SEVEN", "Eight"), True),
        ("What is 3 + 4?", ("eight", "seven"), True),
        ("What is 3 - 4?", ("seven", "eight"), False),
        ("What is 34?", ("seven", "eight"), False),
        ("What is 3 + 4?", ("seven", "nine"), False),
        ("What is 3 + -4?", ("seven", "eight"), False),
    ],
)
def test_copies_differ_in_letter_case_and_white_space_only(
    question: str, choices: tuple[str, ...], same: bool
) -> None:
    first = item(1, question="What is 3 + 4?", choices=("seven", "eight"))
    second = item(2, question=question, choices=choices)
    assert (duplicate_key(first) == duplicate_key(second)) is same


def test_small_easiest_level_is_kept_for_training_and_a_small_hard_one_for_testing() -> None:
    items = [item(n, hardness={"grade": 1.0}) for n in range(190)]
    items += [item(n, hardness={"grade": 2.0}) for n in range(190, 2000)]
    items += [item(n, hardness={"grade": 3.0}) for n in range(2000, 2190)]
    grades = fixed_cut({"third": (1, 1), "middle": (2, 2), "last": (3, 3)})
    data = task(items, grade=grades)
    split = make_split(data, n_train=160)
    assert counts(data, split.pool, "grade", 1, 1) >= 160
    assert counts(data, split.test, "grade", 3, 3) > counts(data, split.pool, "grade", 3, 3)
    assert any("grade third (" in note for note in split.notes)


def test_data_too_small_to_train_on_is_all_test() -> None:
    split = make_split(task([item(n) for n in range(30)]), n_train=160)
    assert (split.pool, len(split.test)) == ((), 30)
    assert "all: 30 items, fewer than n_train = 160." in split.notes


def test_paper_mode_tests_on_all_that_a_seed_did_not_train_on() -> None:
    split = paper_split(LAB)
    assert split.test == split.pool and len(split.test) == 3600
    labelled = split.pool[10:170]
    assert set(untrained_ids(split.test, labelled)) == set(split.test) - set(labelled)
    assert split.split_hash != make_split(LAB, n_train=160).split_hash


def test_n_train_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        make_split(LAB, n_train=0)


def own(low: float, high: float, name: str = "own") -> Level:
    return Level(name=name, low=low, high=high)


def test_a_band_of_the_space_has_a_pool_like_a_standard_level() -> None:
    items = [item(n, hardness={"grade": float(1 + n % 10)}) for n in range(5000)]
    data = task(items, grade=fixed_cut({"easy": (1, 5), "hard": (6, 10)}))
    words = own(10, 12)
    before = make_split(data, n_train=400)
    assert counts(data, before.pool, "question_words", 10, 12) < 300
    split = make_split(data, n_train=160, bands={"grade": (own(1, 1), own(2, 3))})
    assert counts(data, split.pool, "grade", 1, 1) >= 320
    assert counts(data, make_split(data, n_train=160).pool, "grade", 1, 1) < 320
    assert counts(data, split.pool, "grade", 2, 3) >= 320
    split = make_split(data, n_train=160, bands={"question_words": (words,)})
    assert counts(data, split.pool, "question_words", 10, 12) >= 320
    assert counts(data, split.test, "question_words", 10, 12) >= 150


@pytest.mark.parametrize("easiest", [own(1, 1), own(0, 1)])
def test_an_easiest_band_with_too_few_items_has_one_draw(easiest: Level) -> None:
    items = [item(n, hardness={"grade": 1.0 if n < 250 else 2.0 + n % 2}) for n in range(6000)]
    data = task(items, grade=fixed_cut({"easy": (1, 2), "hard": (3, 3)}))
    assert counts(data, make_split(data, n_train=160).pool, "grade", 1, 1) < 80
    split = make_split(data, n_train=160, bands={"grade": (own(3, 3), easiest)})
    assert 160 <= counts(data, split.pool, "grade", 1, 1) < 200


def test_bands_change_no_split_that_has_them_already_nor_one_without_the_measure() -> None:
    split = make_split(LAB, n_train=160)
    standard = {measure: cut[:2] for measure, cut in LAB.cuts.items()}
    for bands in ({}, standard, {"no_such": (own(1, 2),)}, {"steps": (own(1, 1), own(6, 6))}):
        assert make_split(LAB, n_train=160, bands=bands) == split


def test_the_order_of_bands_does_not_matter() -> None:
    bands = (own(10, 14), own(12, 20))
    first, turned = (
        make_split(LAB, n_train=160, bands={"question_words": order})
        for order in (bands, bands[::-1])
    )
    assert first == turned != make_split(LAB, n_train=160)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("micro", "21172597d57fc9f3eafce2379acf80fb4e363ec4a0072f5033e6d3834820ccf2"),
        pytest.param(
            "arc",
            "4bd855355ff416dd931c408b93ce203bea8ea47bc5fa4e9cda86e137f44e49ff",
            marks=needs("arc"),
        ),
        ("micro_preferences", "02a73c368ab8b6ff9404a2dafa58a9f9506837e474ac0cbbf27c5f546ad3c240"),
        pytest.param(
            "gsm8k",
            "580361ae56ae12a087490423badc9a835108e4263804633e50db2aa3fdf9e3ec",
            marks=needs("gsm8k"),
        ),
        pytest.param(
            "pandalm",
            "a45c3bc436380d7417e93f7fa729de190f1c82635d61acc051470ca9e39663ae",
            marks=needs("pandalm"),
        ),
        pytest.param(
            "llmbar",
            "4522c56a4f14d9dc646d73f5f91bb9eb3afe321d1653d2684731de0e27147aed",
            marks=needs("llmbar"),
        ),
    ],
)
def test_splits_of_shipped_tasks_stay_what_they_are(name: str, expected: str) -> None:
    data = load_task(name, ROOT)
    split = make_split(data, n_train=160)
    assert split.split_hash == expected
    bands = {name: cut for name, cut in data.cuts.items() if name not in MADE_OF_GOLD}
    assert make_split(data, n_train=160, bands=bands) == split


def test_gold_answers_shape_a_split_only_where_they_are_asked_for() -> None:
    data = load_task("micro", ROOT)
    items = tuple(replace(item, answer=(item.answer + 1) % 4) for item in data.items)
    turned = replace(data, items=items, measures=item_measures(items))
    assert turned.measures["answer_chars"] != data.measures["answer_chars"]
    assert make_split(turned, n_train=160) == make_split(data, n_train=160)
    bands = {"answer_chars": data.cuts["answer_chars"]}
    assert make_split(data, n_train=160, bands=bands) != make_split(data, n_train=160)


def test_a_micro_band_of_the_space_can_be_trained_on() -> None:
    data = load_task("micro")
    band = own(10, 24)
    split = make_split(data, n_train=160, bands={"question_words": (band,)})
    size = counts(data, [it.id for it in data.items], "question_words", 10, 24)  # type: ignore[arg-type]
    assert counts(data, split.pool, "question_words", 10, 24) >= min(320, size)


@needs("arc")
def test_arc_grades_3_and_4_can_be_trained_on() -> None:
    data = load_task("arc", ROOT)
    assert counts(data, make_split(data, n_train=160).pool, "grade", 3, 4) < 160
    split = make_split(data, n_train=160, bands={"grade": (own(3, 4), own(8, 8))})
    assert counts(data, split.pool, "grade", 3, 4) >= 320


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from([None, *"abcdefgh"])),
        min_size=1,
        max_size=120,
    ),
    st.integers(1, 30),
)
def test_any_data_is_parted_whole_and_without_leaks(
    rows: list[tuple[int, str | None]], n_train: int
) -> None:
    items = [
        # Questions of equal steps are the same for many, with the same choices or others.
        item(n, question=f"q{n % 9} {steps}", choices=("a", "bc"[n % 2]), group=group,
             hardness={"steps": float(steps)})
        for n, (steps, group) in enumerate(rows)
    ]  # fmt: skip
    split = make_split(task(items), n_train=n_train)
    pool, test = set(split.pool), set(split.test)
    assert not pool & test
    assert asked_twice(split, items) == set()
    for group in {it.group for it in items} - {None}:
        members = {it.id for it in items if it.group == group}
        assert not (pool & members and test & members)


@needs("arc")
def test_arc_levels_have_their_pools_and_tests() -> None:
    data = load_task("arc", ROOT)
    split = make_split(data, n_train=160)
    for measure in ("grade", "difficulty", "bloom", "question_words", "answer_chars"):
        for level in data.cuts[measure]:
            assert counts(data, split.pool, measure, level.low, level.high) >= 320
            assert counts(data, split.test, measure, level.low, level.high) >= 200
    assert 2800 < len(split.test) < 3300


def own_file(measure: str, values: tuple[float, ...] = (1.0, 2.0)) -> TaskData:
    """470 easy and 620 hard items of a user's own, whose lengths have nothing to do with it."""
    sizes = dict(zip(values, (470, 620), strict=True))
    hardness = [value for value, size in sizes.items() for _ in range(size)]
    items = [item(n, hardness={measure: value}) for n, value in enumerate(hardness)]
    measures = item_measures(items)
    return replace(task(items), is_own_data=True, cuts=standard_cuts(measures, {}))


@pytest.mark.parametrize("measure", ["difficulty", "steps"])  # before and after question_words
def test_own_data_keeps_pools_for_the_levels_that_are_trained_on_alone(measure: str) -> None:
    data = own_file(measure)
    bands = {measure: (own(1, 1, "easy"), own(2, 2, "hard"))}
    split = make_split(data, n_train=160, bands=bands)
    of_easy, of_hard = ((counts(data, split.pool, measure, n, n)) for n in (1, 2))
    assert (of_easy, of_hard) == (320, 320)
    assert counts(data, split.test, measure, 1, 1) == 150
    assert counts(data, split.test, measure, 2, 2) == 300
    shipped = make_split(replace(data, is_own_data=False), n_train=160, bands=bands)
    assert len(shipped.test) < 250, "every level of question_words has a pool there"


def test_own_data_keeps_no_pool_for_a_standard_level_of_the_measure_that_is_not_trained_on() -> (
    None
):
    items = [item(n, hardness={"steps": float(1 + n % 6)}) for n in range(1090)]
    data = replace(task(items), is_own_data=True, cuts=standard_cuts(item_measures(items), {}))
    bands = {"steps": (own(1, 3, "easy"), own(4, 6, "hard"))}
    assert all(level not in data.cuts["steps"] for level in bands["steps"])
    split = make_split(data, n_train=160, bands=bands)
    for low, high in ((1, 3), (4, 6)):
        assert counts(data, split.pool, "steps", low, high) == 320
        assert counts(data, split.test, "steps", low, high) >= 544 - 320


def test_levels_of_own_data_without_a_pool_are_balanced() -> None:
    data = own_file("steps")
    split = make_split(data, n_train=160, bands={"steps": (own(1, 1), own(2, 2))})
    pool = set(split.pool)
    for value, share in ((1.0, 320 / 470), (2.0, 320 / 620)):
        of_level = {id_ for id_, steps in data.measures["steps"].items() if steps == value}
        for length in data.cuts["question_words"]:
            held = {id_ for id_ in of_level if length.holds(data.measures["question_words"][id_])}
            assert len(held & pool) == pytest.approx(share * len(held), abs=2)


def test_small_easiest_level_of_own_data_has_one_draw() -> None:
    items = [item(n, hardness={"steps": 1.0 if n < 250 else 2.0}) for n in range(1000)]
    data = replace(task(items), is_own_data=True, cuts=standard_cuts(item_measures(items), {}))
    split = make_split(data, n_train=160, bands={"steps": (own(2, 2), own(1, 1))})
    assert counts(data, split.pool, "steps", 1, 1) == 160
    assert counts(data, split.pool, "steps", 2, 2) == 320


def test_one_item_is_all_there_is_and_no_repeated_question() -> None:
    split = make_split(task([item(0)]), n_train=1)
    assert split.pool + split.test == ("i0000",)


def test_a_single_value_that_could_have_had_its_test_items_is_noted() -> None:
    items = [item(n, hardness={"grade": 3.0 if n < 200 else 1.0 + n % 2}) for n in range(1000)]
    data = task(items, grade=fixed_cut({"easy": (1, 2), "hard": (3, 4)}))
    split = make_split(data, n_train=60)
    tested = counts(data, split.test, "grade", 3, 3)
    assert tested < 200
    assert f"grade 3 ({tested} of 200)" in split.notes[-1]
