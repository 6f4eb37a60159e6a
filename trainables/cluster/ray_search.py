"""Recipe searches on Ray: Tune with Optuna (TPE) and ASHA, one process per trial.

Imports Ray: import this module once Ray is set up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler

from search_spaces.tuning import History, Trial, num_epochs, with_parameters
from trainables.cluster.capacity import Capacity
from trainables.cluster.tune_results import PARAMETER
from trainables.data.seeding import seed_of
from trainables.tuning.optuna_sampler import (
    GRACE_EPOCHS,
    REDUCTION_FACTOR,
    decoded,
    distributions,
    encoded,
    first_parameters,
)
from trainables.tuning.search import OnTrial, Search
from trainables.tuning.trial import load_search_base, run_trial

RETRIES = 2
"""Of a trial whose node or process was lost; it starts again from its first epoch."""

METRIC = "accuracy"

FOREVER = 10**6
"""An epoch that no trial reaches: ASHA must not end a trial at its last epoch."""


def run_search(
    search: Search,
    num_trials: int,
    on_trial: OnTrial,
    *,
    fits: Capacity,
    scratch: str,
    callbacks: Sequence[Any] = (),
) -> None:
    """Runs trials on the connected cluster until the history has `num_trials`.

    Concurrent trials do not wait for each other's results, so the history depends on how long they
    take; one at a time it does not.

    Args:
        search: What is searched, with the trials of earlier runs.
        num_trials: In total.
        on_trial: Called in this process after each trial.
        fits: Where one trial takes the resources of one worker.
        scratch: A folder that all nodes can reach, for Ray's own files.
        callbacks: Of Tune.
    """
    resources: dict[str, float] = {"CPU": fits.cpus_per_worker}
    if fits.gpus_per_worker:
        resources["GPU"] = fits.gpus_per_worker
    trainable = tune.with_resources(
        tune.with_parameters(
            _trial, search=search, threads=fits.cpus_per_worker, gpus=fits.gpus_per_worker
        ),
        resources,
    )
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=num_trials - len(search.history.trials),
            max_concurrent_trials=fits.slots * fits.workers,
            search_alg=_sampler(search),
            scheduler=AsyncHyperBandScheduler(
                time_attr="training_iteration",
                max_t=FOREVER,
                grace_period=GRACE_EPOCHS,
                reduction_factor=REDUCTION_FACTOR,
            ),
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=scratch,
            verbose=0,
            callbacks=[_Recorder(search.history, on_trial), *callbacks],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    ).fit()


def _trial(config: Mapping[str, Any], *, search: Search, threads: int, gpus: float) -> None:
    """Runs in its own process; reports a row per epoch."""
    from trainables.models.cpu import set_up_cpu
    from trainables.models.oom import limit_gpu_memory

    set_up_cpu(threads)
    limit_gpu_memory(gpus)
    base = load_search_base(search, "cuda" if gpus else "cpu")
    parameters = decoded(search.history.ranges, config)
    recipe = with_parameters(search.history.start, parameters)
    factors, started, epoch = _factors(search, parameters), time.perf_counter(), 0

    def report(value: float) -> None:
        nonlocal epoch
        epoch += 1
        seconds = time.perf_counter() - started
        tune.report({**factors, "epoch": epoch, METRIC: value, "seconds": seconds})

    run_trial(search, recipe, base, report)


def _factors(search: Search, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a trial's rows have in common, the columns of `tune_results.search_results`."""
    history = search.history
    return {
        "model": search.source.name,
        "parameters": search.source.num_params,
        "task": history.task,
        "measure": history.measure,
        "method": history.start.method,
        "condition": history.level.name,
        "train_level": history.level.name,
        "gap": 0.0,  # it is validated on items of the same level
        "seed": history.seed,
        "threshold": None,
        **{f"{PARAMETER}{name}": value for name, value in parameters.items()},
    }


def _sampler(search: Search) -> Any:
    """Returns Tune's interface to Optuna, with the trials of earlier runs."""
    import optuna  # takes a second, and trials do without it
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
    history = search.history
    first = None if history.trials else first_parameters(history)
    seed = seed_of("search", history.study_seed, history.seed, len(history.trials)) % 2**32
    sampler = OptunaSearch(
        space=distributions(history.ranges),
        metric=METRIC,
        mode="max",
        points_to_evaluate=None if first is None else [first],
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    for trial in history.trials:
        sampler.add_evaluated_point(
            encoded(history.ranges, trial.parameters),
            trial.value,
            error=trial.state == "failed",
            pruned=trial.state == "pruned",
            intermediate_values=list(trial.values),
        )
    return sampler


class _Recorder(tune.Callback):  # type: ignore[misc]
    """Collects what Tune's trials report, and passes each trial on when it has ended."""

    def __init__(self, history: History, on_trial: OnTrial) -> None:
        self._history, self._on_trial = history, on_trial
        self._values: dict[str, dict[int, float]] = {}
        self._started: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._started.setdefault(trial.trial_id, time.perf_counter())

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        # A trial that starts again reports its epochs again.
        if METRIC in result:
            values = self._values.setdefault(trial.trial_id, {})
            values[int(result["epoch"])] = float(result[METRIC])

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        ended = self._trial(trial)
        epochs = num_epochs(with_parameters(self._history.start, ended.parameters))
        if len(ended.values) < epochs:
            ended = ended.model_copy(update={"state": "pruned"})
        self._pass_on(trial, ended)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        reason = str(trial.get_error()).strip().splitlines()[-1]
        failed = self._trial(trial).model_copy(update={"state": "failed", "reason": reason})
        self._pass_on(trial, failed)

    def _trial(self, trial: Any) -> Trial:
        values = self._values.get(trial.trial_id, {})
        return Trial(
            parameters=decoded(self._history.ranges, trial.config),
            values=tuple(value for _, value in sorted(values.items())),
            state="complete",
        )

    def _pass_on(self, trial: Any, ended: Trial) -> None:
        self._on_trial(ended, time.perf_counter() - self._started[trial.trial_id])
