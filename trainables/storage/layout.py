"""Every file name of a run folder. No other module joins a path below `--out`.

<out>/cells/<cell_id>/  record.json, scores.parquet, curve.jsonl; adapter/, the trained state of a
                        parent or of a study that keeps adapters; selection.parquet of a
                        self-training round; rewards.parquet and pairs.parquet of a policy;
                        failure.json if the cell failed
<out>/running/          <cell_id>.json while a cell runs
<out>/checkpoints/      <cell_id>/: progress.json and one share per worker, while a cell trains
<out>/states/           <key>.safetensors: hidden states that probes share
<out>/measures/<task>/  <name>.parquet and <name>.json: a model-based measure and its provenance
<out>/sweep.json        the lock: which sweep uses the folder
<out>/<space>/          plan.json, plan.sha256, items.parquet, surface.parquet, audit.parquet,
                        detectors.parquet, reliability.parquet, selective.parquet,
                        rewards.parquet, alignment.parquet, calibration.parquet,
                        calibration_bins.parquet, comparison.parquet, item_accuracy.parquet,
                        influence.parquet,
                        tune_results.parquet, report/, ray/, wandb/, tune/
"""

from __future__ import annotations

import re

CELLS = "cells"

LOCK = "sweep.json"
"""The lock: which sweep uses the run folder."""


def cell(cell_id: str) -> str:
    """Folder of a cell's files."""
    return f"{CELLS}/{cell_id}"


def record(cell_id: str) -> str:
    """Record of a finished cell; written last, so its existence means that the rest is complete."""
    return f"{CELLS}/{cell_id}/record.json"


def scores(cell_id: str) -> str:
    """Scores: one row per test item."""
    return f"{CELLS}/{cell_id}/scores.parquet"


def curve(cell_id: str) -> str:
    """Loss curve: JSON lines, one per optimizer update."""
    return f"{CELLS}/{cell_id}/curve.jsonl"


def trained(cell_id: str, name: str = "") -> str:
    """A file of a cell's trained state; without a name the start of all of their keys."""
    return f"{CELLS}/{cell_id}/adapter/{name}"


def rewards(cell_id: str) -> str:
    """A policy's answers to the test questions with gold rewards: one row per answer."""
    return f"{CELLS}/{cell_id}/rewards.parquet"


def pairs(cell_id: str) -> str:
    """The labelled pairs that a policy was trained on."""
    return f"{CELLS}/{cell_id}/pairs.parquet"


def selection(cell_id: str) -> str:
    """A self-training round: its predictions for every unlabelled item, and which it selected."""
    return f"{CELLS}/{cell_id}/selection.parquet"


RUNNING = "running"


def running(cell_id: str) -> str:
    """Claim of the worker that runs the cell; deleted when it ends. One folder, to list quickly."""
    return f"{RUNNING}/{cell_id}.json"


CHECKPOINTS = "checkpoints"

MEASURES = "measures"

FOLDERS = frozenset({CELLS, RUNNING, CHECKPOINTS, MEASURES, "states"})
"""Folders of a run folder that belong to no space."""

_RESERVED = re.compile(rf"({'|'.join(sorted(FOLDERS))}|{re.escape(LOCK)}.*)|.*\.measures", re.I)


def check_space_name(name: str) -> None:
    """Checks that the name of a space's folder is not reserved.

    Raises:
        ValueError: If the run folder uses the name itself, in any letter case, or for a measure.
    """
    if _RESERVED.fullmatch(name):
        raise ValueError(
            f"a space may not be named {name!r}, which the run folder reserves; rename the space"
        )


def checkpoint(cell_id: str) -> str:
    """Checkpoint of a cell's training; deleted when it ends. One folder, to list quickly."""
    return f"{CHECKPOINTS}/{cell_id}"


def checkpoint_progress(cell_id: str) -> str:
    """The checkpoint's update; written last, so its existence means that its shares exist."""
    return f"{checkpoint(cell_id)}/progress.json"


def checkpoint_share(cell_id: str, update: int, rank: int) -> str:
    """One worker's share of the training state after an update."""
    return f"{checkpoint(cell_id)}/{update}-{rank}.safetensors"


def failure(cell_id: str) -> str:
    """Why the cell's last run failed; deleted once it succeeds."""
    return f"{CELLS}/{cell_id}/failure.json"


def states(key: str) -> str:
    """Hidden states of one layer for a task's items, which probes share."""
    return f"states/{key}.safetensors"


def measure_values(task: str, name: str) -> str:
    """A model-based measure of a task: one row per item with a value."""
    return f"{MEASURES}/{task}/{name}.parquet"


def measure_facts(task: str, name: str) -> str:
    """Provenance of a model-based measure; written after the values."""
    return f"{MEASURES}/{task}/{name}.json"


def measures_of(task: str) -> str:
    """Folder of a task's model-based measures."""
    return f"{MEASURES}/{task}"


def plan(space: str) -> str:
    """All cells, blocks and points of a study."""
    return f"{space}/plan.json"


def plan_checksum(space: str) -> str:
    """SHA-256 of plan.json: tells whether it is as it was written without validating it."""
    return f"{space}/plan.sha256"


def items(space: str) -> str:
    """The items of a study's tasks: id, measures, levels, group, gold, split."""
    return f"{space}/items.parquet"


def surface(space: str) -> str:
    """The surface: one row per point."""
    return f"{space}/surface.parquet"


def comparison(space: str) -> str:
    """The study compared with another one: one row per accuracy and SGR."""
    return f"{space}/comparison.parquet"


def audit(space: str) -> str:
    """Self-training compared with gold labels: one row per cell, set of items, stage and level."""
    return f"{space}/audit.parquet"


def calibration(space: str) -> str:
    """Calibration of every arm: one row per arm and test level."""
    return f"{space}/calibration.parquet"


def calibration_bins(space: str) -> str:
    """Reliability of every arm: one row per arm, test level and bin of confidence."""
    return f"{space}/calibration_bins.parquet"


def alignment(space: str) -> str:
    """Win rates between policies: one row per comparison."""
    return f"{space}/alignment.parquet"


def reward_models(space: str) -> str:
    """Reward models on preference tasks: one row per arm and set, and per subset."""
    return f"{space}/rewards.parquet"


def detectors(space: str) -> str:
    """Failure detectors of self-training: one row per source and detector."""
    return f"{space}/detectors.parquet"


def reliability(space: str) -> str:
    """Reliability before and after each self-training round: one row per bin."""
    return f"{space}/reliability.parquet"


def selective(space: str) -> str:
    """Accuracy of the most confident pseudo-labels: one row per coverage."""
    return f"{space}/selective.parquet"


def item_accuracy(space: str) -> str:
    """Accuracy by item hardness and by topic: one row per arm and group of items."""
    return f"{space}/item_accuracy.parquet"


def influence(space: str) -> str:
    """The most influential items of every point."""
    return f"{space}/influence.parquet"


def report(space: str, name: str) -> str:
    """A file of the report."""
    return f"{space}/report/{name}"


def tune(space: str) -> str:
    """Folder of the recipe searches."""
    return f"{space}/tune"


def tuned(space: str, *names: str, ending: str = "json") -> str:
    """A recipe search, named after its subject: its file, or a figure of it (`svg`, `png`)."""
    safe = (re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_.") for name in names)
    return f"{tune(space)}/{'-'.join(safe)}.{ending}"


def tune_results(space: str) -> str:
    """The rows that Ray Tune received from a sweep: one per cell."""
    return f"{space}/tune_results.parquet"


def search_results(space: str) -> str:
    """The rows that Ray Tune received from recipe searches: one per trial and epoch."""
    return f"{tune(space)}/tune_results.parquet"


def ray(space: str) -> str:
    """Ray's own files while a study runs; deleted when it ends."""
    return f"{space}/ray"


def wandb(space: str) -> str:
    """Folder of the W&B runs; offline ones wait here for `wandb sync`."""
    return f"{space}/wandb"


def wandb_ledger(space: str, run_id: str) -> str:
    """What a W&B run has been sent."""
    return f"{wandb(space)}/logged/{run_id}.json"
