"""W&B runs of recipe searches: one per trial, so that W&B shows which parameters matter."""

from __future__ import annotations

from typing import Any

from search_spaces.frozen import digest
from search_spaces.tuning import FoundRecipe, with_parameters
from study.analysis.surface_rows import Scalar, recipe_factors
from study.tracking.cell_groups import RUN_ID_LENGTH
from study.tracking.ledger import RunLedger
from study.tracking.mirror import CLOSE_TIMEOUT_S, Closing, Mirror
from study.tracking.wandb_runs import WandbRuns, tracking_mode
from trainables.storage.filesystem import Storage

METRIC = "validation_accuracy"
"""A trial's accuracy on the easy validation items after each epoch, a fraction."""


class SearchTracker(Closing):
    """Mirror of recipe searches, used as a context manager; this base class mirrors nothing."""

    def log(self, found: FoundRecipe) -> None:
        """Logs the trials of a search that W&B was not sent."""


def open_search_tracker(storage: Storage, space: str) -> SearchTracker:
    """Returns the tracker of a space's searches.

    Args:
        storage: The run folder; offline runs are written below it.
        space: Name of the space, which is the group of the runs.
    """
    if tracking_mode() == "disabled":
        return SearchTracker()
    return WandbSearchTracker(storage, space)


class WandbSearchTracker(SearchTracker):
    """Mirrors searches in W&B: a run per trial, with its parameters as the config."""

    def __init__(self, storage: Storage, space: str) -> None:
        self._storage = storage
        self._runs = WandbRuns(storage, space)
        self._mirror = Mirror(self._runs)

    def log(self, found: FoundRecipe) -> None:
        """Logs the new trials of a search."""
        self._mirror.put(lambda: self._log(found))

    def close(self) -> None:
        """Waits for W&B, a minute at most."""
        self._mirror.close(CLOSE_TIMEOUT_S)

    def _log(self, found: FoundRecipe) -> None:
        searched = found.history.model_dump(mode="json", exclude={"trials"})
        search_id = digest([self._runs.space, searched], length=RUN_ID_LENGTH)
        ledger = RunLedger(self._storage, self._runs.space, search_id)
        for number, trial in enumerate(found.history.trials, start=1):
            run_id = digest([search_id, number], length=RUN_ID_LENGTH)
            if run_id not in ledger:
                ledger.add(run_id, ledger.num_rows + len(trial.values))
                self._log_trial(found, number, run_id)

    def _log_trial(self, found: FoundRecipe, number: int, run_id: str) -> None:
        history, trial = found.history, found.history.trials[number - 1]
        run: Any = self._runs.open(
            f"{history.task} {found.model_name} {history.start.method} trial {number}",
            job_type="tuning",
            config=trial_factors(found, number),
            run_id=run_id,
        )
        run.define_metric("epoch", hidden=True)
        run.define_metric(METRIC, step_metric="epoch", summary="none")
        for epoch, value in enumerate(trial.values, start=1):
            run.log({"epoch": epoch, METRIC: value})
        # W&B ranks parameters by a summary value: a pruned trial's last one would be of another
        # number of epochs.
        final = {} if trial.value is None else {METRIC: trial.value}
        run.summary.update(
            {
                **final,
                "state": trial.state,
                "is_pruned": trial.state == "pruned",
                "num_epochs": len(trial.values),
                "seconds": found.seconds[number - 1],
            }
        )
        run.finish()


def trial_factors(found: FoundRecipe, number: int) -> dict[str, Scalar]:
    """Returns the config of a trial: the whole recipe that it ran, and what it was searched for.

    Args:
        found: The search's file.
        number: Of the trial, from 1.
    """
    history = found.history
    recipe = with_parameters(history.start, history.trials[number - 1].parameters)
    return {
        "model": found.model_name,
        "model_content": history.model,
        "dtype": history.dtype,
        "task": history.task,
        "measure": history.measure,
        "method": history.start.method,
        "level": history.level.name,
        "num_labelled": history.num_labelled,
        "num_validation": history.num_validation,
        "study_seed": history.study_seed,
        "seed": history.seed,
        "trial": number,
        **recipe_factors(recipe),
    }
