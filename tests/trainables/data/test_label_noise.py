from __future__ import annotations

import pytest

from trainables.data.items import Item
from trainables.data.label_noise import noisy_answers, num_wrong, random_answers

ITEMS = [
    Item(id=f"i{n}", question="q", choices=("a", "b", "c", "d"), answer=n % 4) for n in range(160)
]


def wrong(answers: dict[str, int]) -> set[str]:
    return {item.id for item in ITEMS if answers[item.id] != item.answer}


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.1, 0.3, 0.6, 1.0])
def test_stated_rate_is_the_realised_error_rate(rate: float) -> None:
    assert len(wrong(noisy_answers(ITEMS, rate, 0, "t", 1))) == round(160 * rate)


def test_wrong_labels_are_choices_of_the_item_and_vary() -> None:
    answers = noisy_answers(ITEMS, 1.0, 0)
    assert set(answers.values()) == {0, 1, 2, 3}
    shifts = [(answers[item.id] - item.answer) % 4 for item in ITEMS]
    assert all(30 < shifts.count(shift) < 80 for shift in (1, 2, 3))  # 53 expected


def test_seeds_have_independent_wrong_labels_and_rates_are_nested() -> None:
    first, second = (wrong(noisy_answers(ITEMS, 0.25, 0, seed)) for seed in (0, 1))
    assert len(first & second) < 25  # 10 expected of independent draws, 40 of the same
    assert first < wrong(noisy_answers(ITEMS, 0.5, 0, 0))
    assert noisy_answers(ITEMS, 0.25, 0, 0) == noisy_answers(ITEMS[::-1], 0.25, 0, 0)


def test_papers_variant_redraws_the_right_label_too() -> None:
    rates = [len(wrong(noisy_answers(ITEMS, 0.4, seed, kind="paper"))) / 160 for seed in range(40)]
    assert 0.27 < sum(rates) / 40 < 0.33  # 0.4 x 3/4


def test_gold_stays_in_the_items() -> None:
    before = [item.answer for item in ITEMS]
    noisy_answers(ITEMS, 1.0, 0)
    assert [item.answer for item in ITEMS] == before


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 1\.5"):
        noisy_answers(ITEMS, 1.5, 0)
    with pytest.raises(ValueError, match="each item once"):
        noisy_answers([ITEMS[0], ITEMS[0]], 0.5, 0)
    free = Item(id="f", question="q", choices=("5",), answer=0)
    with pytest.raises(ValueError, match="'f' has no wrong choice"):
        noisy_answers([free], 1.0, 0)


def test_free_answers_have_no_wrong_label_at_any_rate() -> None:
    free = Item(id="f", question="q", choices=("5",), answer=0)
    for kind in ("realised", "paper"):
        with pytest.raises(ValueError, match="use gold labels for free answers"):
            noisy_answers([free], 0.01, 0, kind=kind)
        assert noisy_answers([free], 0.0, 0, kind=kind) == {"f": 0}
    with pytest.raises(ValueError, match="'f' has no wrong choice"):
        random_answers([free], 0)


def test_half_a_label_counts_as_one() -> None:
    numbers = [(0.05, 10), (0.15, 10), (0.25, 10), (0.29, 50), (0.04, 10), (1.0, 7), (0.0, 7)]
    assert [num_wrong(*pair) for pair in numbers] == [1, 2, 3, 15, 0, 7, 0]
    assert len(wrong({i.id: i.answer for i in ITEMS} | noisy_answers(ITEMS[:10], 0.05, 0))) == 1


def test_random_labels_are_uniform_over_the_choices() -> None:
    answers = list(random_answers(ITEMS, 0, "t").values())
    assert all(20 < answers.count(choice) < 60 for choice in range(4))  # 40 expected
    assert answers != list(random_answers(ITEMS, 1, "t").values())
