"""The in-process twin of `trainables.tuning.ray_tune`: trial after trial in this process.

Its history is the same on every run, and the same with and without interruptions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from search_spaces.tuning import History, Trial, num_epochs, with_parameters
from trainables.models.loading import Base
from trainables.tuning.optuna_sampler import ask, should_prune
from trainables.tuning.trial import Search, load_search_base, run_trial

OnTrial = Callable[[Trial, float], None]
"""Receives a trial that has ended, and its seconds."""


class _Behind(Exception):
    """Ends a trial that others have left behind."""


def run_search(search: Search, num_trials: int, on_trial: OnTrial) -> None:
    """Runs trials until the history has `num_trials`, those of earlier runs counted.

    Args:
        search: What is searched.
        num_trials: In all.
        on_trial: Called after each.
    """
    torch.set_num_threads(1)
    base = load_search_base(search, "cpu")
    history = search.history
    while len(history.trials) < num_trials:
        started = time.perf_counter()
        trial = _run(replace(search, history=history), base)
        on_trial(trial, time.perf_counter() - started)
        history = history.model_copy(update={"trials": (*history.trials, trial)})


def _run(search: Search, base: Base) -> Trial:
    history: History = search.history
    parameters = ask(history)
    recipe = with_parameters(history.start, parameters)
    values: list[float] = []

    def report(value: float) -> None:
        values.append(value)
        is_last = len(values) == num_epochs(recipe)
        if not is_last and should_prune(values, [trial.values for trial in history.trials]):
            raise _Behind

    try:
        run_trial(search, recipe, base, report)
    except _Behind:
        return Trial(parameters=parameters, values=tuple(values), state="pruned")
    except Exception as error:  # a recipe that cannot be trained is a finding, not the end
        reason = f"{type(error).__name__}: {error}"
        return Trial(parameters=parameters, values=tuple(values), state="failed", reason=reason)
    return Trial(parameters=parameters, values=tuple(values), state="complete")
