"""Recipe searches in W&B: a run per trial with its recipe, its values and its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.levels import Level
from search_spaces.recipes import LoRA
from search_spaces.tuning import FoundRecipe, History, Trial, ranges_of
from study.tracking.trial_runs import METRIC, open_search_tracker
from study.tracking.wandb_runs import tracking_mode
from tests.support.wandb_reader import OfflineRun, read_offline_runs
from trainables.storage.filesystem import open_storage

TRIALS = (
    Trial(parameters={"learning_rate": 0.001, "rank": 8}, values=(0.5, 0.75), state="complete"),
    Trial(parameters={"learning_rate": 0.002, "rank": 4}, values=(0.25,), state="pruned"),
    Trial(parameters={"learning_rate": 0.1, "rank": 4}, values=(), state="failed", reason="nan"),
)


def found(num_trials: int) -> FoundRecipe:
    start = LoRA(n_train=16)
    history = History(
        model="files:small",
        dtype="float32",
        task="toy",
        measure="steps",
        level=Level(name="easy", low=1, high=2),
        prompt="prompt",
        start=start,
        ranges=ranges_of(start),
        study_seed=0,
        seed=0,
        items_hash="items",
        num_labelled=16,
        num_validation=24,
        trials=TRIALS[:num_trials],
    )
    return FoundRecipe(
        recipe=None,
        history=history,
        model_name="small",
        num_labels=40,
        num_pruned=history.num_pruned,
        seconds=(1.0, 2.0, 3.0)[:num_trials],
    )


def log(folder: Path, num_trials: int) -> dict[str, OfflineRun]:
    with open_search_tracker(open_storage(str(folder)), "fake") as tracker:
        for number in range(1, num_trials + 1):
            tracker.log(found(number))
    runs = read_offline_runs(folder / "fake" / "wandb")
    return {str(run.facts["display_name"]).rpartition(" ")[2]: run for run in runs.values()}


def test_a_trial_is_a_run_with_its_recipe_its_values_and_its_end(tmp_path: Path) -> None:
    assert tracking_mode() == "offline"
    log(tmp_path, 2)
    runs = log(tmp_path, 3)  # the next command continues the search
    assert [runs[str(number)].num_files for number in (1, 2, 3)] == [1, 1, 1]
    assert {(run.facts["run_group"], run.facts["job_type"]) for run in runs.values()} == {
        ("fake", "tuning")
    }
    complete, pruned, failed = (runs[str(number)] for number in (1, 2, 3))
    assert [(row["epoch"], row[METRIC]) for row in complete.history] == [(1, 0.5), (2, 0.75)]
    assert complete.metrics[METRIC]["step_metric"] == "epoch"
    assert (complete.config["learning_rate"], complete.config["rank"]) == (0.001, 8)
    assert complete.config["batch_size"] == LoRA(n_train=16).batch_size
    assert (complete.summary[METRIC], complete.summary["is_pruned"]) == (0.75, False)
    assert (pruned.summary["state"], pruned.summary["is_pruned"]) == ("pruned", True)
    assert METRIC not in pruned.summary
    assert [run.summary["seconds"] for run in (complete, pruned, failed)] == [1.0, 2.0, 3.0]
    assert [row[METRIC] for row in pruned.history] == [0.25]
    assert (failed.summary["state"], failed.history) == ("failed", [])


def test_disabled_wandb_has_no_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert log(tmp_path, 1) == {}
