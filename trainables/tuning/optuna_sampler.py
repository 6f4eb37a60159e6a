"""Proposes and prunes trials: Optuna's TPE and successive halving (ASHA)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.frozen import canonical_json
from search_spaces.recipes import TrainedRecipe
from search_spaces.tuning import Choice, History, IntRange, Range, Trial
from trainables.data.seeding import seed_of

if TYPE_CHECKING:  # importing Optuna costs a second
    import optuna

REDUCTION_FACTOR = 2
"""The inverse of the share of trials that continues beyond a rung: the better half."""

GRACE_EPOCHS = 2
"""The first rung; the reduction factor gives the others (2, 4, 8, ...). A rung at epoch 1 would
compare trials whose learning rate has hardly decayed with finished trials of one epoch."""


def distributions(ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Returns the ranges as Optuna's distributions, with choices as JSON text."""
    from optuna import distributions as kinds

    result: dict[str, Any] = {}
    for name, range_ in ranges.items():
        if isinstance(range_, Choice):
            texts = [canonical_json(value) for value in range_.values]
            result[name] = kinds.CategoricalDistribution(texts)
        elif isinstance(range_, IntRange):
            result[name] = kinds.IntDistribution(range_.low, range_.high)
        else:
            result[name] = kinds.FloatDistribution(range_.low, range_.high, log=True)
    return result


def decoded(ranges: Mapping[str, Range], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns Optuna's parameters as a recipe's values."""
    return {
        name: _choices(range_)[parameters[name]] if isinstance(range_, Choice) else parameters[name]
        for name, range_ in ranges.items()
    }


def encoded(ranges: Mapping[str, Range], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a recipe's values as Optuna's parameters."""
    return {
        name: canonical_json(values[name]) if isinstance(range_, Choice) else values[name]
        for name, range_ in ranges.items()
    }


def first_parameters(history: History) -> dict[str, Any] | None:
    """Returns the space's own values, which the first trial uses; None if a range excludes one."""
    values = _values(history.start, history.ranges)
    if all(range_.holds(values[name]) for name, range_ in history.ranges.items()):
        return encoded(history.ranges, values)
    return None


def ask(history: History) -> dict[str, Any]:
    """Returns the values to try next; equal histories give equal values."""
    first = first_parameters(history)
    if not history.trials and first is not None:
        return decoded(history.ranges, first)
    seed = seed_of("search", history.study_seed, history.seed, len(history.trials))
    trial = past_study(history, seed % 2**32).ask(distributions(history.ranges))
    return decoded(history.ranges, trial.params)


def past_study(history: History, seed: int) -> optuna.Study:
    """Returns an in-memory study of the trials so far, with a freshly seeded sampler."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.add_trials([_frozen(history, trial) for trial in history.trials])
    return study


def importances(history: History) -> dict[str, float]:
    """Returns each hyper-parameter's importance, which sum to 1; empty for few trials.

    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255): fANOVA of the better half against all.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    values = {trial.value for trial in history.trials if trial.value is not None}
    if len(values) < MIN_VALUES or len(history.ranges) < 2:
        return {}
    importance_of = get_param_importances(
        past_study(history, 0),
        evaluator=PedAnovaImportanceEvaluator(target_quantile=0.5, region_quantile=1.0),
    )
    return {name: float(importance_of.get(name, 0.0)) for name in history.ranges}


MIN_VALUES = 4
"""Distinct results below which importances would be noise."""


def should_prune(values: Sequence[float], others: Iterable[Sequence[float]]) -> bool:
    """Returns whether successive halving stops a trial after its latest epoch.

    Follows Ray's ASHA: at a rung, a trial continues if it belongs to the best share of the trials
    that reached the rung before it.

    Args:
        values: The trial's values, one per epoch.
        others: Values of the earlier trials.
    """
    epoch = len(values)
    if epoch not in rungs(epoch):
        return False
    rivals = [other[epoch - 1] for other in others if len(other) >= epoch]
    if not rivals:
        return False
    return bool(values[-1] < np.percentile(rivals, 100 * (1 - 1 / REDUCTION_FACTOR)))


def rungs(last: int) -> list[int]:
    """Returns the epochs, up to the last, after which trials may be stopped."""
    epochs, epoch = [], GRACE_EPOCHS
    while epoch <= last:
        epochs.append(epoch)
        epoch *= REDUCTION_FACTOR
    return epochs


def _frozen(history: History, trial: Trial) -> optuna.trial.FrozenTrial:
    import optuna

    states = optuna.trial.TrialState
    state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}
    return optuna.trial.create_trial(
        state=state[trial.state],
        value=trial.value,
        params=encoded(history.ranges, trial.parameters),
        distributions=distributions(history.ranges),
        intermediate_values=dict(enumerate(trial.values, start=1)),
    )


def _values(recipe: TrainedRecipe, ranges: Mapping[str, Range]) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in ranges}


def _choices(range_: Choice) -> dict[str, Any]:
    return {canonical_json(value): value for value in range_.values}
