"""What is tried next and what is stopped, against Ray's own ASHA and made-up results."""

from __future__ import annotations

import math
import random
from statistics import mean

import pytest

from search_spaces.levels import Level
from search_spaces.recipes import LinearProbe, LoRA, TrainedRecipe
from search_spaces.tuning import (
    Choice,
    History,
    IntRange,
    LogUniform,
    Trial,
    ranges_of,
    with_parameters,
)
from study.tuning.results import winner
from trainables.tuning.optuna_sampler import (
    GRACE_EPOCHS,
    REDUCTION_FACTOR,
    ask,
    importances,
    should_prune,
)


def make_history(start: TrainedRecipe, *trials: Trial) -> History:
    return History(
        model="files:0",
        dtype="float32",
        task="t",
        measure="steps",
        level=Level(name="easy", low=1, high=2),
        prompt="p",
        start=start,
        ranges=ranges_of(start),
        study_seed=0,
        seed=0,
        items_hash="i",
        num_labelled=24,
        num_validation=24,
        trials=trials,
    )


def tried(history: History, number: int) -> History:
    """Trials whose value falls with the distance of the learning rate from 1e-3 alone."""
    for _ in range(number):
        parameters = ask(history)
        value = 1.0 / (1.0 + abs(math.log10(parameters["learning_rate"]) + 3.0))
        trial = Trial(parameters=parameters, values=(value,), state="complete")
        history = history.model_copy(update={"trials": (*history.trials, trial)})
    return history


@pytest.fixture(scope="module")
def searched() -> History:
    return tried(make_history(LoRA(learning_rate=2e-5)), 30)


def test_the_space_s_own_recipe_is_tried_first() -> None:
    start = LoRA(learning_rate=2e-4, batch_size=8)
    assert with_parameters(start, ask(make_history(start))) == start


def test_a_recipe_outside_of_the_ranges_is_not_tried() -> None:
    start = LoRA(epochs=38)
    parameters = ask(make_history(start))
    assert all(range_.holds(parameters[name]) for name, range_ in ranges_of(start).items())


def test_every_suggestion_lies_in_the_ranges_and_makes_a_recipe(searched: History) -> None:
    for trial in searched.trials:
        for name, range_ in searched.ranges.items():
            assert range_.holds(trial.parameters[name])
        with_parameters(searched.start, trial.parameters)
    rates = [trial.parameters["learning_rate"] for trial in searched.trials]
    assert len(set(rates)) == len(rates), "nothing is tried twice"


def test_suggestions_come_from_the_history_alone(searched: History) -> None:
    again = History.model_validate_json(searched.model_dump_json())
    assert ask(again) == ask(searched)
    assert ask(searched.model_copy(update={"seed": 1})) != ask(searched)


def test_suggestions_learn_from_results(searched: History) -> None:
    def distance(trials: tuple[Trial, ...]) -> float:
        return mean(abs(math.log10(t.parameters["learning_rate"]) + 3.0) for t in trials)

    assert distance(searched.trials[-10:]) < distance(searched.trials[:10]) / 2


def test_the_hyper_parameter_that_matters_is_the_most_important(searched: History) -> None:
    shares = importances(searched)
    assert set(shares) == set(searched.ranges)
    assert shares["learning_rate"] == max(shares.values()) > 0.4
    assert importances(searched.model_copy(update={"trials": searched.trials[:3]})) == {}


def test_choices_keep_their_kind_through_a_file() -> None:
    history = make_history(LinearProbe())
    trial = Trial(parameters=ask(history), values=(0.5,), state="complete")
    history = history.model_copy(update={"trials": (trial,)})
    again = History.model_validate_json(history.model_dump_json())
    assert ask(again) == ask(history)
    assert with_parameters(again.start, again.trials[0].parameters) == history.start


def test_a_range_that_the_recipe_ignores_is_not_searched() -> None:
    assert set(ranges_of(LinearProbe(solver="paper"))) == {"layers"}


def test_trials_are_stopped_as_ray_s_asha_stops_them() -> None:
    from ray.tune.schedulers.async_hyperband import _Bracket

    class Named:
        def __init__(self, name: int) -> None:
            self.trial_id = str(name)

    rng = random.Random(1)
    num_stopped = 0
    for _ in range(20):
        bracket = _Bracket(min_t=GRACE_EPOCHS, max_t=10**6, reduction_factor=REDUCTION_FACTOR, s=0)
        past: list[list[float]] = []
        for number in range(12):
            values: list[float] = []
            for epoch in range(1, rng.randint(1, 8) + 1):
                values.append(rng.randint(0, 12) / 12)
                theirs = bracket.on_result(Named(number), epoch, values[-1])
                assert should_prune(values, past) == (theirs == "STOP")
                if theirs == "STOP":
                    num_stopped += 1
                    break
            past.append(values)
    assert num_stopped > 20


def test_the_winner_went_to_its_end_and_is_the_first_of_equals() -> None:
    states = [("pruned", 0.9), ("complete", 0.5), ("complete", 0.7), ("complete", 0.7)]
    trials = [
        Trial(parameters={"epochs": number + 1}, values=(0.1, value), state=state)  # type: ignore[arg-type]
        for number, (state, value) in enumerate(states)
    ]
    assert winner(make_history(LoRA(), *trials)) == trials[2]
    assert winner(make_history(LoRA(), trials[0])) is None


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (LogUniform, {"low": 2.0, "high": 1.0}),
        (LogUniform, {"low": 0.0, "high": 1.0}),
        (IntRange, {"low": 3, "high": 2}),
        (Choice, {"values": (1,)}),
    ],
)
def test_a_range_without_room_is_refused(kind: type, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"low|high|greater than 0|at least 2"):
        kind(**arguments)
