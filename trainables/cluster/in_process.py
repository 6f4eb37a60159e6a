"""Runs cells and trials in this process, one after the other, without Ray.

For tests and for debugging a method: tracebacks are the method's own and a debugger works.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from search_spaces.base_models import Footprint
from search_spaces.tuning import Trial, num_epochs, with_parameters
from trainables import stop_signals
from trainables.cells.planned import Block, RunContext
from trainables.cells.runner import CellRunner
from trainables.cells.worker import Worker
from trainables.cluster.capacity import Capacity
from trainables.inference.hidden_states import StateCache
from trainables.models.cpu import set_up_cpu
from trainables.models.loading import Base
from trainables.tuning.optuna_sampler import ask, should_prune
from trainables.tuning.search import OnTrial, Search
from trainables.tuning.trial import load_search_base, run_trial


class InProcessExecutor:
    """An `Executor` of one slot on one CPU core."""

    def fit(self, footprint: Footprint) -> Capacity:
        """Returns one worker on one core, whatever the footprint."""
        del footprint
        return Capacity(slots=1, workers=1, cpus_per_worker=1, gpus_per_worker=0)

    def run_blocks(self, blocks: Sequence[Block], run_context: RunContext) -> Sequence[str]:
        """Runs every block's units in their order.

        Raises:
            DataError: If a function of the user's file returns other items than in the plan.
        """
        run_context = run_context.with_items()
        worker = Worker(CellRunner(run_context=run_context, must_stop=stop_signals.is_asked))
        for block in blocks:
            worker.run(block.units, range(len(block.units)))
        return ()

    def run_search(
        self, search: Search, num_trials: int, on_trial: OnTrial, *, fits: Capacity
    ) -> None:
        """Runs trial after trial; interruptions do not change the history."""
        del fits
        set_up_cpu(1)
        base = load_search_base(search, "cpu")
        states = StateCache()
        history = search.history
        while len(history.trials) < num_trials:
            started = time.perf_counter()
            trial = _run_trial(replace(search, history=history), base, states)
            on_trial(trial, time.perf_counter() - started)
            history = history.model_copy(update={"trials": (*history.trials, trial)})


class _Pruned(Exception):
    """Ends a trial that is worse than most others."""


def _run_trial(search: Search, base: Base, states: StateCache) -> Trial:
    history = search.history
    parameters = ask(history)
    recipe = with_parameters(history.start, parameters)
    values: list[float] = []

    def report(value: float) -> None:
        values.append(value)
        is_last = len(values) == num_epochs(recipe)
        if not is_last and should_prune(values, [trial.values for trial in history.trials]):
            raise _Pruned

    try:
        run_trial(search, recipe, base, report, states)
    except _Pruned:
        return Trial(parameters=parameters, values=tuple(values), state="pruned")
    except Exception as error:  # a recipe that cannot be trained does not end the search
        reason = f"{type(error).__name__}: {error}"
        return Trial(parameters=parameters, values=tuple(values), state="failed", reason=reason)
    return Trial(parameters=parameters, values=tuple(values), state="complete")
