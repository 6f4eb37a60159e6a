"""What Tune sees of a recipe search, as trials. Imports Ray: import it after Ray is set up."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback

from search_spaces.tuning import History, Trial, num_epochs, with_parameters
from trainables.tuning.in_process import OnTrial
from trainables.tuning.optuna_sampler import decoded


class Recorder(Callback):  # type: ignore[misc]
    """Collects what trials report and hands each on when it has ended."""

    def __init__(self, *, history: History, on_trial: OnTrial, metric: str) -> None:
        self._history = history
        self._on_trial = on_trial
        self._metric = metric
        self._values: dict[str, dict[int, float]] = {}
        self._started: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Notes when the trial was first started."""
        self._started.setdefault(trial.trial_id, time.perf_counter())

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        """Notes an epoch's value; a trial that begins anew reports its epochs again."""
        if self._metric in result:
            known = self._values.setdefault(trial.trial_id, {})
            known[int(result["epoch"])] = float(result[self._metric])

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Hands on a trial that went to its end, or that ASHA stopped before it."""
        found = self._found(trial)
        wanted = num_epochs(with_parameters(self._history.start, found.parameters))
        if len(found.values) < wanted:
            found = found.model_copy(update={"state": "pruned"})
        self._on_trial(found, self._seconds(trial))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Hands on a trial that failed."""
        reason = str(trial.get_error()).strip().splitlines()[-1]
        found = self._found(trial).model_copy(update={"state": "failed", "reason": reason})
        self._on_trial(found, self._seconds(trial))

    def _found(self, trial: Any) -> Trial:
        values = self._values.get(trial.trial_id, {})
        return Trial(
            parameters=decoded(self._history.ranges, trial.config),
            values=tuple(value for _, value in sorted(values.items())),
            state="complete",
        )

    def _seconds(self, trial: Any) -> float:
        return time.perf_counter() - self._started[trial.trial_id]
