"""Recipe search on Ray: Tune with Optuna (TPE) and ASHA, a process per trial."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from search_spaces.tuning import with_parameters
from trainables.cluster.capacity import Capacity
from trainables.data.seeding import seed_of
from trainables.tuning.in_process import OnTrial
from trainables.tuning.optuna_sampler import (
    GRACE_EPOCHS,
    REDUCTION_FACTOR,
    decoded,
    distributions,
    encoded,
    first_parameters,
)
from trainables.tuning.trial import Search, load_search_base, run_trial

RETRIES = 2
"""Of a trial whose node or process was lost; it begins anew."""

METRIC = "accuracy"

FOREVER = 10**6
"""Epochs that no trial reaches: ASHA must not end one that is at its last epoch."""


def run_search(
    search: Search, num_trials: int, on_trial: OnTrial, *, fits: Capacity, scratch: str
) -> None:
    """Runs trials on the connected cluster until the history has `num_trials`.

    Trials beside each other do not wait for what the others find, so the history depends on how
    long they take; one at a time it does not.

    Args:
        search: What is searched, with the trials of earlier runs.
        num_trials: In all.
        on_trial: Called in this process after each.
        fits: Of one worker: a trial takes as much.
        scratch: A folder that all nodes can reach, for Ray's own files.
    """
    from ray import tune

    from trainables.tuning.ray_callback import Recorder

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
            scheduler=_scheduler(),
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=scratch,
            verbose=0,
            callbacks=[Recorder(history=search.history, on_trial=on_trial, metric=METRIC)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    ).fit()


def _trial(config: Mapping[str, Any], *, search: Search, threads: int, gpus: float) -> None:
    """Runs in a process of its own; reports a row an epoch."""
    import torch
    from ray import tune

    from trainables.models.oom import limit_gpu_memory

    torch.set_num_threads(threads)
    limit_gpu_memory(gpus)
    base = load_search_base(search, "cuda" if gpus else "cpu")
    history = search.history
    recipe = with_parameters(history.start, decoded(history.ranges, config))
    epoch = 0

    def report(value: float) -> None:
        nonlocal epoch
        epoch += 1
        tune.report({METRIC: value, "epoch": epoch})

    run_trial(search, recipe, base, report)


def _scheduler() -> Any:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    return AsyncHyperBandScheduler(
        time_attr="training_iteration",
        max_t=FOREVER,
        grace_period=GRACE_EPOCHS,
        reduction_factor=REDUCTION_FACTOR,
    )


def _sampler(search: Search) -> Any:
    """Returns Tune's face of Optuna, which knows the trials of earlier runs."""
    import optuna
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
