"""Offline files, read back with W&B's own reader and sent with its own `wandb sync`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fakes import FakeStudy
from tests.support.tracked_study import SECRET, small_space, track
from tests.support.wandb_reader import OfflineRun, read_offline_runs
from tests.support.wandb_server import wandb_server
from trainables.storage.filesystem import open_storage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offline")


@pytest.fixture
def runs(folder: Path) -> dict[str, OfflineRun]:
    """The runs of a study that was stopped after its first seed, and then resumed."""
    if not (folder / "fake").exists():
        study = FakeStudy(storage=open_storage(str(folder)), space=small_space()).write()
        first = [cell for cell in study.plan.cells if cell.cell.seed == 0]
        track(study.finish(first), first)
        rest = [cell for cell in study.plan.cells if cell not in first]
        track(study.finish(rest), rest)
    return {str(run.facts["display_name"]): run for run in read(folder).values()}


def read(folder: Path) -> dict[str, OfflineRun]:
    return read_offline_runs(folder / "fake" / "wandb")


def test_losses_have_fixed_names_the_step_as_axis_and_the_seed_as_key(
    runs: dict[str, OfflineRun],
) -> None:
    easy = runs["toy small lora easy"]
    assert (easy.facts["run_group"], easy.facts["job_type"]) == ("fake", "cells")
    assert easy.num_files == 2, "one file per session, with the same run id"
    assert easy.metrics["loss"]["step_metric"] == "optimizer_step"
    assert easy.metrics["accuracy"]["step_metric"] == "seed"
    losses = [(row["seed"], row["optimizer_step"]) for row in easy.history if "loss" in row]
    assert losses == [(seed, step) for seed in (0, 1) for step in range(5)]
    assert easy.config["learning_rate"] == 0.0001
    assert easy.config["seeds"] == [0, 1]


def test_wandb_sync_makes_one_run_of_both_sessions(
    folder: Path, runs: dict[str, OfflineRun]
) -> None:
    files = sorted((folder / "fake" / "wandb").glob("offline-run-*"))
    with wandb_server() as (address, received):
        subprocess.run(
            [sys.executable, "-m", "wandb", "sync", *map(str, files)],
            env={**os.environ, "WANDB_BASE_URL": address, "WANDB_API_KEY": SECRET[:40]},
            check=True,
            capture_output=True,
        )
    names = {run["displayName"]: id_ for id_, run in received.runs.items()}
    assert names.keys() == runs.keys()
    rows = received.history[names["toy small lora easy"]]
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert [row["seed"] for row in rows if "cell_id" in row] == [0, 1]
