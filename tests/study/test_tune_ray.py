"""The command on a real local Ray: a process a trial, each with the values of the twin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces.registry import find_space
from search_spaces.tuning import FoundRecipe, tuned, with_parameters
from study.running.executor import OK
from study.tune import main
from study.tuning.searches import make_searches
from tests.support.tuning_study import TuningStudy
from trainables.storage.filesystem import open_storage
from trainables.tuning.trial import load_search_base, run_trial

pytestmark = pytest.mark.ray

VALIDATION = ("--validation", "24")


def run(study: TuningStudy, trials: int) -> str:
    arguments = study.arguments("runs", "full-fine-tuning", trials, *VALIDATION)
    done = subprocess.run(
        [sys.executable, "-m", "study.tune", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == OK, done.stdout + done.stderr
    return done.stdout


def test_ray_goes_on_with_a_search_and_its_trials_find_what_the_twin_finds(tmp_path: Path) -> None:
    study = TuningStudy(folder=tmp_path / "study")
    arguments = study.arguments("runs", "full-fine-tuning", 1, *VALIDATION)
    assert main([*arguments, "--address", "in-process"]) == OK
    path = study.file("runs", "full_fine-tuning")
    first = FoundRecipe.model_validate_json(path.read_bytes())
    said = run(study, 4)
    found = FoundRecipe.model_validate_json(path.read_bytes())
    assert "1 of 4 trials done" in said and len(found.history.trials) == 4
    assert found.history.trials[:1] == first.history.trials
    assert tuned(path).search == found.history.hash != first.history.hash
    assert not (study.folder / "runs" / "small" / "ray").exists(), "Ray's files are removed"

    space, storage = find_space(study.space), open_storage(str(study.folder / "runs"))
    ((_, search),) = make_searches(
        space, "full fine-tuning", study.data_root, storage, num_validation=24, seed=0
    )
    base = load_search_base(search, "cpu")
    starts = [with_parameters(search.history.start, t.parameters) for t in found.history.trials]
    assert starts.count(search.history.start) == 1, "the space's own recipe is tried once"
    for recipe, trial in zip(starts, found.history.trials, strict=True):
        values: list[float] = []
        run_trial(search, recipe, base, values.append)
        assert trial.state != "failed", trial.reason
        assert tuple(values[: len(trial.values)]) == trial.values
        assert (len(trial.values) == recipe.epochs) == (trial.state == "complete")
