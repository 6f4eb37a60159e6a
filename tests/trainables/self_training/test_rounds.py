"""A round's training set: an oracle's is supervised learning, a coin's teaches nothing.

A toy method stands in for the methods: ridge regression on the numbers that a question holds, which
labels of the right answer can teach to the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from search_spaces.cell import Cell
from search_spaces.recipes import InContext, LinearProbe, TrainedRecipe
from search_spaces.supervision import SelfTraining
from trainables.data.items import Item, text_hash
from trainables.methods.base.interface import Answers, Example
from trainables.self_training import rounds
from trainables.self_training.rounds import Teacher, UnlabelledPool, run_round
from trainables.self_training.unlabelled import UnlabelledItem, strip_label, with_label

WIDTH = 12
NUM_LABELLED, NUM_POOL, NUM_TEST = 12, 240, 400


def a_task(seed: int) -> tuple[Item, ...]:
    """Items whose right answer is the side of a plane that their numbers lie on."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(size=WIDTH)
    items = []
    for number in range(NUM_LABELLED + NUM_POOL + NUM_TEST):
        values = rng.normal(size=WIDTH)
        items.append(
            Item(
                id=f"i{number:04}",
                question=" ".join(f"{value:.6f}" for value in values),
                choices=(f"left of {number}", f"right of {number}"),
                answer=int(values @ plane > 0.0),
            )
        )
    return tuple(items)


def numbers(item: Item) -> NDArray[np.float64]:
    return np.array([float(text) for text in item.question.split()])


@dataclass(frozen=True)
class Ridge:
    """A fitted toy."""

    weights: NDArray[np.float64]

    def answer(self, items: Sequence[Item]) -> Answers:
        log_probs = []
        for item in items:
            score = float(numbers(item) @ self.weights)
            scores = [score if text.startswith("right") else -score for text in item.choices]
            log_probs.append(np.array(scores) - np.logaddexp(*scores))
        return Answers(log_probs=log_probs)

    def accuracy(self, items: Sequence[Item]) -> float:
        found = self.answer(items).log_probs or []
        return float(np.mean([s.argmax() == i.answer for s, i in zip(found, items, strict=True)]))


def ridge(examples: Sequence[Example]) -> Ridge:
    x = np.array([numbers(example.item) for example in examples])
    said = [example.item.choices[example.answer] for example in examples]
    y = np.array([1.0 if text.startswith("right") else -1.0 for text in said])
    return Ridge(weights=np.linalg.solve(x.T @ x + np.eye(WIDTH), x.T @ y))


@dataclass(frozen=True)
class Toy:
    """A task in its uses, and its round."""

    labelled: list[Example]
    pool: tuple[Item, ...]
    blanked: tuple[UnlabelledItem, ...]
    test: tuple[Item, ...]
    start: Ridge
    seed: int

    def round(
        self, targets: str, asked: list[tuple[str, ...]]
    ) -> tuple[Ridge, rounds.Round, list[Example]]:
        """Runs a round that selects all but exact ties, and returns what it trained on too."""
        right = {item.id: item.choices[item.answer] for item in self.pool}

        def gold_of(ids: Sequence[str]) -> dict[str, str]:
            asked.append(tuple(ids))
            return {id_: right[id_] for id_ in ids}

        pool = UnlabelledPool(unlabelled=self.blanked, teacher=NOTHING_KEPT, gold_of=gold_of)
        options = SelfTraining.model_validate({"threshold": 0.5, "targets": targets})
        return self.run(pool, a_cell(options))

    def run(
        self, pool: UnlabelledPool, cell: Cell, *, start: Ridge | None = None
    ) -> tuple[Ridge, rounds.Round, list[Example]]:
        """Runs a round of the toy method, and returns what it trained on too."""
        context = SimpleNamespace(cell=cell, names=("toy", self.seed))
        trained: list[Example] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rounds, "restore", fixed(start or self.start))
            patch.setattr(rounds, "fit", learning(trained))
            with run_round(context, None, self.labelled, pool) as (fitted, found):  # type: ignore[arg-type]
                assert isinstance(fitted, Ridge)
                return fitted, found, trained


NOTHING_KEPT = Teacher(state={}, kept={}, confidence=None)


def a_cell(
    options: SelfTraining,
    recipe: TrainedRecipe | None = None,
    classes: Literal["texts"] | None = None,
) -> Cell:
    return Cell(
        model="files:toy",
        dtype="float32",
        task="toy",
        data_hash="d",
        split_hash="s",
        prompt="p",
        recipe=recipe or LinearProbe(n_train=NUM_LABELLED),
        training_hash="t",
        self_training=options,
        round=1,
        unlabelled_hash="u",
        answer_classes=classes,
        round_version=1,
        seed=0,
        parent="0123",
        version=1,
    )


def fixed(model: Ridge) -> object:
    @contextmanager
    def restore(*_: object) -> Iterator[Ridge]:
        yield model

    return restore


def learning(trained: list[Example]) -> object:
    @contextmanager
    def fit(_: object, __: object, examples: Sequence[Example], start: object) -> Iterator[Ridge]:
        trained.extend(examples)
        yield ridge(examples)

    return fit


def toy(seed: int) -> Toy:
    items = a_task(seed)
    with_label = [Example(item=item, answer=item.answer) for item in items[:NUM_LABELLED]]
    pool = items[NUM_LABELLED : NUM_LABELLED + NUM_POOL]
    return Toy(
        labelled=with_label,
        pool=pool,
        blanked=tuple(strip_label(item, seed) for item in pool),
        test=items[NUM_LABELLED + NUM_POOL :],
        start=ridge(with_label),
        seed=seed,
    )


class TestInvariant7:
    def test_an_oracle_is_supervised_learning_on_the_selected_items(self) -> None:
        made = toy(0)
        asked: list[tuple[str, ...]] = []
        fitted, found, trained = made.round("oracle", asked)
        assert {row.item_id for row in found.rows if row.weight} == {i.id for i in made.pool}
        assert asked == [tuple(sorted(item.id for item in made.pool))]
        # The same examples as labels of the pool would be: ids, texts, gold, weight.
        said = [(e.item.id, e.item.choices[e.answer], e.weight, e.smoothing) for e in trained]
        supervised = [Example(item=item, answer=item.answer) for item in made.pool]
        wanted = [*made.labelled, *supervised]
        assert said[:NUM_LABELLED] == [
            (e.item.id, e.item.choices[e.answer], 1.0, 0.0) for e in made.labelled
        ]
        assert sorted(said) == sorted(
            (e.item.id, e.item.choices[e.answer], 1.0, 0.0) for e in wanted
        )
        # And so the same model, whatever the order of items and of their choices.
        np.testing.assert_allclose(fitted.weights, ridge(wanted).weights, rtol=1e-9)
        assert fitted.accuracy(made.test) > made.start.accuracy(made.test) + 0.05

    def test_a_coin_teaches_nothing_that_an_oracle_would(self) -> None:
        gains: dict[str, list[float]] = {"oracle": [], "random": []}
        for seed in range(12):
            made = toy(seed)
            start = made.start.accuracy(made.test)
            for targets, found in gains.items():
                asked: list[tuple[str, ...]] = []
                found.append(made.round(targets, asked)[0].accuracy(made.test) - start)
                assert bool(asked) == (targets == "oracle")
        assert min(gains["oracle"]) > 0.0
        coin = np.array(gains["random"])
        # No gain, and so many wrong labels do harm: 4 standard errors below the oracle's at least.
        assert coin.mean() < 0.0
        error = coin.std(ddof=1) / np.sqrt(len(coin))
        assert coin.mean() + 4.0 * error < np.mean(gains["oracle"])

    def test_a_coin_is_fair_and_does_not_look_at_the_prediction(self) -> None:
        made = toy(3)
        _, found, _ = made.round("random", [])
        same = [row.trained_on == row.label for row in found.rows]
        right = {item.id: text_hash(item.choices[item.answer]) for item in made.pool}
        gold = [row.trained_on == right[row.item_id] for row in found.rows]
        # 4 standard deviations of a fair coin thrown 240 times.
        for heads in (sum(same), sum(gold)):
            assert abs(heads - NUM_POOL / 2) < 4.0 * np.sqrt(NUM_POOL) / 2


def test_fixed_answers_are_balanced_by_text() -> None:
    """The round hands its choices' texts on: yes and no are classes, wherever they stand."""
    made = toy(1)
    turn = {"left": "no", "right": "right"}
    pool = tuple(
        replace(item, choices=tuple(turn[text.split()[0]] for text in item.choices))
        for item in made.blanked
    )
    options = SelfTraining(rule="class-balanced", threshold=0.5)
    kept = {}
    for classes in ("texts", None):
        cell = a_cell(options, classes=classes)  # type: ignore[arg-type]
        _, found, _ = made.run(UnlabelledPool(unlabelled=pool, teacher=NOTHING_KEPT), cell)
        kept[classes] = [row.label for row in found.rows if row.weight]
    said = [row.label for row in found.rows]
    no, right = text_hash("no"), text_hash("right")
    assert said.count(no) != said.count(right)
    rarer = min(said.count(no), said.count(right))
    assert kept["texts"].count(no) == kept["texts"].count(right) == rarer
    # Where another level is mixed the plan says so, and this one is balanced by position too.
    assert kept[None].count(no) != kept[None].count(right)


class TestPrompts:
    """In-context: few items stand in the prompt, and only those were learned from."""

    RECIPE = InContext(k=NUM_LABELLED)

    def prompt_round(
        self, made: Toy, teacher: Teacher = NOTHING_KEPT, **options: object
    ) -> tuple[rounds.Round, list[Example]]:
        asked = SelfTraining.model_validate({"threshold": 0.6, **options})
        pool = UnlabelledPool(unlabelled=made.blanked, teacher=teacher)
        _, found, shown = made.run(pool, a_cell(asked, self.RECIPE))
        return found, shown

    def test_what_has_no_room_is_confident_and_not_trained_on(self) -> None:
        made = toy(2)
        found, shown = self.prompt_round(made)
        confident = {row.item_id for row in found.rows if row.confidence > 0.6}
        assert len(confident) > 5 * NUM_LABELLED
        assert {row.item_id for row in found.rows if row.is_confident} == confident
        in_prompt = {example.item.id for example in shown[NUM_LABELLED:]}
        assert len(in_prompt) == NUM_LABELLED
        assert {row.item_id for row in found.rows if row.trained_on} == in_prompt
        assert {row.item_id for row in found.rows if row.weight} == in_prompt
        assert found.facts["num_confident"] == len(confident)
        assert found.facts["num_selected"] == NUM_LABELLED
        assert any("the prompt has space for 12" in note for note in found.notes)

    def test_the_most_confident_are_shown_first(self) -> None:
        made = toy(2)
        found, shown = self.prompt_round(made)
        sure = {row.item_id: row.confidence for row in found.rows}
        said = [sure[example.item.id] for example in shown[NUM_LABELLED:]]
        assert said == sorted(sure.values(), reverse=True)[:NUM_LABELLED]

    def test_the_control_of_equal_steps_shows_as_many(self) -> None:
        found, shown = self.prompt_round(toy(2), targets="none")
        assert len(shown) == 2 * NUM_LABELLED
        assert sum(row.weight > 0 for row in found.rows) == NUM_LABELLED
        assert not any(row.trained_on for row in found.rows)

    def test_accumulated_examples_stay_and_as_many_again_come(self) -> None:
        made = toy(2)
        first, _ = self.prompt_round(made, memory="accumulate")
        kept = {row.item_id: (row.trained_on, 1.0) for row in first.rows if row.trained_on}
        # The model has changed its mind on one of them.
        id_, label = next((id_, label) for id_, (label, _) in kept.items())
        choices = next(map(text_hash, item.choices) for item in made.blanked if item.id == id_)
        other = next(choice for choice in choices if choice != label)
        kept[id_] = (other, 1.0)
        teacher = Teacher(state={}, kept=kept, confidence=None)  # type: ignore[arg-type]
        second, shown = self.prompt_round(made, teacher, memory="accumulate")
        trained = {row.item_id: row.trained_on for row in second.rows if row.trained_on}
        assert trained.items() >= {id_: label for id_, (label, _) in kept.items()}.items()
        assert len(trained) == second.facts["num_selected"] == 2 * NUM_LABELLED
        assert {e.item.id for e in shown[NUM_LABELLED : 2 * NUM_LABELLED]} == set(kept)


class TestOptions:
    """Each option of self-training, against the selection worked out from the plain scores."""

    @pytest.mark.parametrize(
        ("options", "cut"),
        [
            ({"threshold": 0.7}, 0.7),
            ({"threshold": 0.9}, 0.9),
            ({"threshold": 0.4, "confidence": "chance-normalised"}, 0.7),
        ],
    )
    def test_what_is_more_confident_than_the_threshold_is_trained_on_as_predicted(
        self, options: dict[str, object], cut: float
    ) -> None:
        made = toy(4)
        _, _, trained = made.run(unlabelled(made), a_cell(SelfTraining.model_validate(options)))
        expected = {}
        for item in made.blanked:
            score = float(numbers(with_label(item, 0)) @ made.start.weights)
            if 1.0 / (1.0 + np.exp(-2.0 * abs(score))) > cut:
                expected[item.id] = "right" if score > 0 else "left"
        assert 0 < len(expected) < NUM_POOL
        assert pseudo_labels(trained) == expected

    @pytest.mark.parametrize("share", [0.9, 0.75])
    def test_a_quantile_leaves_its_share_out(self, share: float) -> None:
        made = toy(4)
        options = SelfTraining(rule="quantile", threshold=share)
        _, _, trained = made.run(unlabelled(made), a_cell(options))
        sizes = {i.id: abs(numbers(with_label(i, 0)) @ made.start.weights) for i in made.blanked}
        most = sorted(sizes, key=sizes.__getitem__)[round(share * NUM_POOL) :]
        assert pseudo_labels(trained).keys() == set(most)

    def test_pseudo_labels_alone_are_smoothed(self) -> None:
        made = toy(4)
        options = SelfTraining(threshold=0.7, label_smoothing=0.3)
        _, _, trained = made.run(unlabelled(made), a_cell(options))
        assert [e.smoothing for e in trained[:NUM_LABELLED]] == [0.0] * NUM_LABELLED
        assert len(trained) > NUM_LABELLED
        assert {e.smoothing for e in trained[NUM_LABELLED:]} == {0.3}

    @pytest.mark.parametrize("start", ["restart", "continue"])
    def test_a_round_starts_from_the_base_or_from_the_round_before(
        self, start: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, given = toy(4), []
        state = {"weights": torch.zeros(1)}

        @contextmanager
        def fit(*arguments: object, start: object) -> Iterator[Ridge]:
            given.append(start)
            yield made.start

        monkeypatch.setattr(rounds, "restore", fixed(made.start))
        monkeypatch.setattr(rounds, "fit", fit)
        options = SelfTraining.model_validate({"threshold": 0.7, "start": start})
        context = SimpleNamespace(cell=a_cell(options), names=("toy", 4))
        teacher = Teacher(state=state, kept={}, confidence=None)
        pool = UnlabelledPool(unlabelled=made.blanked, teacher=teacher)
        with run_round(context, None, made.labelled, pool):  # type: ignore[arg-type]
            pass
        assert given == [state if start == "continue" else None]

    @pytest.mark.parametrize("orders", ["given", "all"])
    def test_confidence_is_that_of_one_order_or_the_mean_over_both(self, orders: str) -> None:
        made = toy(4)
        leaning = Leaning(weights=made.start.weights)
        options = SelfTraining.model_validate({"threshold": 0.5, "orders": orders})
        _, found, _ = made.run(unlabelled(made), a_cell(options), start=leaning)
        rows = {row.item_id: row for row in found.rows}
        for item in made.blanked:
            score = float(numbers(with_label(item, 0)) @ made.start.weights)
            own = score if item.choices[0].startswith("right") else -score
            first, last = (1.0 / (1.0 + np.exp(-2.0 * own - lean)) for lean in (1.0, -1.0))
            expected = first if orders == "given" else (first + last) / 2
            assert rows[item.id].probabilities[0] == pytest.approx(expected)


class Leaning(Ridge):
    """A model to which the choice shown first seems likelier than it is."""

    def answer(self, items: Sequence[Item]) -> Answers:
        log_probs = super().answer(items).log_probs or []
        return Answers(log_probs=[row + np.array([1.0, 0.0]) for row in log_probs])


def unlabelled(made: Toy) -> UnlabelledPool:
    return UnlabelledPool(unlabelled=made.blanked, teacher=NOTHING_KEPT)


def pseudo_labels(trained: Sequence[Example]) -> dict[str, str]:
    """Returns what the items beside the labelled ones were trained on: id -> side."""
    return {e.item.id: e.item.choices[e.answer].split()[0] for e in trained[NUM_LABELLED:]}


class TestAfter:
    """Every round scores its pool once more, with the model that it has trained."""

    def test_a_round_says_what_its_model_thinks_and_the_next_one_finds_it_so(self) -> None:
        made = toy(4)
        pool = UnlabelledPool(unlabelled=made.blanked, teacher=NOTHING_KEPT)
        cell = a_cell(SelfTraining(threshold=0.6))
        fitted, first, _ = made.run(pool, cell)
        _, second, _ = made.run(pool, cell, start=fitted)
        for row, later in zip(first.rows, second.rows, strict=True):
            assert row.probabilities_after == later.probabilities
            assert (row.label_after, row.confidence_after) == (later.label, later.confidence)
            assert row.first_position_after == later.first_position
        assert any(row.probabilities_after != row.probabilities for row in first.rows)

    def test_where_nothing_is_kept_nothing_changes(self) -> None:
        made = toy(4)
        pool = UnlabelledPool(unlabelled=made.blanked, teacher=NOTHING_KEPT)
        fitted, found, trained = made.run(pool, a_cell(SelfTraining(threshold=1.0)))
        assert fitted is made.start and trained == []
        assert all(row.probabilities_after == row.probabilities for row in found.rows)

    def test_each_model_has_its_own_temperature_and_is_kept_raw_too(self) -> None:
        made = toy(4)
        # Too few and too alike to fit the range's ends: half of them are labelled wrong.
        validation = tuple(
            Example(item=item, answer=item.answer if number % 4 else 1 - item.answer)
            for number, item in enumerate(made.test[:40])
        )
        plain = UnlabelledPool(unlabelled=made.blanked, teacher=NOTHING_KEPT)
        pool = replace(plain, validation=validation)
        options = SelfTraining(threshold=0.6, calibration="temperature", n_validation=40)
        fitted, found, _ = made.run(pool, a_cell(options))
        _, raw, _ = made.run(plain, a_cell(SelfTraining(threshold=0.6)))
        before, after = (found.facts[name] for name in ("temperature", "temperature_after"))
        assert before["num_labels"] == after["num_labels"] == 40
        assert before["value"] != after["value"]
        for row, untempered in zip(found.rows, raw.rows, strict=True):
            assert row.raw_probabilities == untempered.probabilities
            assert untempered.raw_probabilities is untempered.raw_probabilities_after is None
        for when, temperature, model in (("", before, made.start), ("_after", after, fitted)):
            for row, item in zip(found.rows, sorted(made.blanked, key=by_id), strict=True):
                (scores,) = model.answer([with_label(item, 0)]).log_probs or []
                for name, value in (("", temperature["value"]), ("raw_", 1.0)):
                    expected = np.exp(scores / value) / np.exp(scores / value).sum()
                    said = getattr(row, f"{name}probabilities{when}")
                    np.testing.assert_allclose(said, expected, rtol=1e-9)


def by_id(item: UnlabelledItem) -> str:
    return item.id


@dataclass(frozen=True)
class ByPosition(Ridge):
    """Answers by content, and much more by what is shown first."""

    def answer(self, items: Sequence[Item]) -> Answers:
        found = Ridge.answer(self, items).log_probs or []
        return Answers(log_probs=[scores + np.array([3.0, 0.0]) for scores in found])


class TestFindings:
    """What detectors see without gold stands in the record, and in the log, when a round ends."""

    OPTIONS = SelfTraining(threshold=0.5)

    def test_a_model_that_answers_by_position_is_named(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = toy(5)
        driven = ByPosition(weights=made.start.weights)
        pool = UnlabelledPool(unlabelled=made.blanked, teacher=NOTHING_KEPT)
        with caplog.at_level("WARNING"):
            _, found, _ = made.run(pool, a_cell(self.OPTIONS), start=driven)
        (note,) = [note for note in found.notes if note.startswith("position preference: ")]
        assert "answers by position" in note
        assert note in caplog.text and "round 1" in caplog.text
        by_content = made.run(pool, a_cell(self.OPTIONS))[1]
        assert not any("position preference" in note for note in by_content.notes)
        assert all(abs(row.first_position or 0.0) < 1e-9 for row in by_content.rows)
        one_order = SelfTraining(threshold=0.5, orders="given")
        rows = made.run(pool, a_cell(one_order), start=driven)[1].rows
        assert {row.first_position for row in rows} == {None}

    def test_an_easy_selection_is_named_where_hardness_is_known(self) -> None:
        made = toy(5)
        pool = UnlabelledPool(unlabelled=made.blanked, teacher=NOTHING_KEPT)
        sure = {row.item_id: row.confidence for row in made.run(pool, a_cell(self.OPTIONS))[1].rows}
        graded = replace(
            pool,
            hardness={id_: 1.0 - value for id_, value in sure.items()},
            levels=dict.fromkeys(sure, "hard"),
        )
        cell = a_cell(SelfTraining(threshold=0.9))
        _, found, _ = made.run(graded, cell)
        assert any(note.startswith("easiest of the hard: ") for note in found.notes)
        _, plain, _ = made.run(pool, cell)
        assert plain.rows == found.rows, "no selection depends on hardness"
        assert not any("easiest" in note for note in plain.notes)

    def test_one_class_is_named_and_controls_are_not_judged(self) -> None:
        made = toy(5)
        one_sided = tuple(
            replace(item, choices=tuple(text.split()[0] for text in item.choices))
            for item in made.blanked
        )
        start = Lopsided(weights=made.start.weights)
        pool = UnlabelledPool(unlabelled=one_sided, teacher=NOTHING_KEPT)
        _, found, _ = made.run(pool, a_cell(self.OPTIONS), start=start)
        assert any("all 240 selected labels are of one class" in note for note in found.notes)
        control = SelfTraining(threshold=0.5, targets="random")
        assert made.run(pool, a_cell(control), start=start)[1].notes == ()


@dataclass(frozen=True)
class Lopsided(Ridge):
    """Says `right` whatever is asked."""

    def answer(self, items: Sequence[Item]) -> Answers:
        return Answers(
            log_probs=[
                np.log([0.9 if text.startswith("right") else 0.1 for text in item.choices])
                for item in items
            ]
        )


@pytest.mark.parametrize("uses", list(combinations(("labelled", "validation", "test"), 2)))
def test_uses_beside_the_pool_share_no_question_either(uses: tuple[str, str]) -> None:
    made = toy(6)
    first = replace(made.test[0], question=made.test[1].question.upper(), id="first")
    second = replace(made.test[1], choices=("x", "y"), id="second")
    found: dict[str, list[Item]] = {"labelled": [], "validation": [], "test": []}
    for use, item in zip(uses, (first, second), strict=True):
        found[use].append(item)
    extra = {use: [Example(item=item, answer=0) for item in items] for use, items in found.items()}
    pool = UnlabelledPool(
        unlabelled=made.blanked,
        validation=tuple(extra["validation"]),
        test=tuple(found["test"]),
        teacher=NOTHING_KEPT,
    )
    asked = replace(made, labelled=[*made.labelled, *extra["labelled"]])
    with pytest.raises(ValueError, match=r"'second' is .* 'first' is .*one question"):
        asked.run(pool, a_cell(SelfTraining(threshold=0.5)))
