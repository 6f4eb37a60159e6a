"""Every file name of a run folder. No other module joins a path below `--out`.

<out>/cells/<cell_id>/  record.json, scores.parquet, curve.jsonl; adapter.safetensors where the cell
                        is a parent; selection.parquet where it labelled a pool; rewards.parquet
                        and pairs.parquet of a policy; failure.json if it failed
<out>/running/          <cell_id>.json while a cell runs
<out>/checkpoints/      <cell_id>/: progress.json and a share a worker, while a cell trains
<out>/states/           <key>.safetensors: hidden states that later probes read
<out>/measures/<task>/  <name>.parquet and <name>.json: a model-based measure and its sources
<out>/sweep.json        which sweep works on the folder now
<out>/<space>/          plan.json, items.parquet, surface.parquet, audit.parquet,
                        detectors.parquet, reliability.parquet, selective.parquet,
                        rewards.parquet, alignment.parquet, report/, ray/, wandb/, tune/
"""

from __future__ import annotations

import re

CELLS = "cells"

LOCK = "sweep.json"
"""Which sweep works on the run folder now."""


def cell(cell_id: str) -> str:
    """Folder of what a cell leaves."""
    return f"{CELLS}/{cell_id}"


def record(cell_id: str) -> str:
    """The record of a finished cell: written last, so that it vouches for the rest."""
    return f"{CELLS}/{cell_id}/record.json"


def scores(cell_id: str) -> str:
    """One row a test item."""
    return f"{CELLS}/{cell_id}/scores.parquet"


def curve(cell_id: str) -> str:
    """Loss curve: JSON lines, one an optimizer step."""
    return f"{CELLS}/{cell_id}/curve.jsonl"


def trained(cell_id: str) -> str:
    """The trained state that children start from: of an adapter, a probe, or a prompt."""
    return f"{CELLS}/{cell_id}/adapter.safetensors"


def rewards(cell_id: str) -> str:
    """A policy's answers to the test questions with their gold rewards: one row an answer."""
    return f"{CELLS}/{cell_id}/rewards.parquet"


def pairs(cell_id: str) -> str:
    """The labelled pairs that a policy was trained on."""
    return f"{CELLS}/{cell_id}/pairs.parquet"


def selection(cell_id: str) -> str:
    """A round of self-training: what it thought of every unlabelled item, and what it kept."""
    return f"{CELLS}/{cell_id}/selection.parquet"


RUNNING = "running"


def running(cell_id: str) -> str:
    """Who runs the cell now, since when; gone when it ends. All in one folder: quick to list."""
    return f"{RUNNING}/{cell_id}.json"


CHECKPOINTS = "checkpoints"

MEASURES = "measures"

FOLDERS = frozenset({CELLS, RUNNING, CHECKPOINTS, MEASURES, "states"})
"""Of a run folder, beside those of its spaces."""


_RESERVED = re.compile(rf"({'|'.join(sorted(FOLDERS))}|{re.escape(LOCK)}.*)|.*\.measures", re.I)


def check_space_name(name: str) -> None:
    """Refuses a space whose folder would be something else's.

    Raises:
        ValueError: If the run folder has a file or folder of this name, in any letter case, or
            `study.measure` of another space has it.
    """
    if _RESERVED.fullmatch(name):
        raise ValueError(
            f"a space may not be named {name!r}: the run folder keeps that name for itself; give "
            "the space another name"
        )


def checkpoint(cell_id: str) -> str:
    """How far a cell's training is; gone when it ends. All in one folder: quick to list."""
    return f"{CHECKPOINTS}/{cell_id}"


def checkpoint_progress(cell_id: str) -> str:
    """Which update the checkpoint is of: written last, so that it vouches for the shares."""
    return f"{checkpoint(cell_id)}/progress.json"


def checkpoint_share(cell_id: str, update: int, rank: int) -> str:
    """What one worker holds of the training after an update."""
    return f"{checkpoint(cell_id)}/{update}-{rank}.safetensors"


def failure(cell_id: str) -> str:
    """Why the cell's last run failed; gone once it succeeds."""
    return f"{CELLS}/{cell_id}/failure.json"


def states(key: str) -> str:
    """Hidden states of one layer of some items of a task, for probes that come later."""
    return f"states/{key}.safetensors"


def measure_values(task: str, name: str) -> str:
    """A model-based measure of a task: one row an item that has a value."""
    return f"{MEASURES}/{task}/{name}.parquet"


def measure_facts(task: str, name: str) -> str:
    """What a model-based measure comes from: written last, so that it vouches for the values."""
    return f"{MEASURES}/{task}/{name}.json"


def measures_of(task: str) -> str:
    """Folder of a task's model-based measures."""
    return f"{MEASURES}/{task}"


def plan(space: str) -> str:
    """All cells, blocks and points of a study."""
    return f"{space}/plan.json"


def items(space: str) -> str:
    """The items of a study's tasks: id, measures, levels, group, gold, split."""
    return f"{space}/items.parquet"


def surface(space: str) -> str:
    """One row a point."""
    return f"{space}/surface.parquet"


def audit(space: str) -> str:
    """Rounds of self-training held against gold: a row a cell, set of items, moment and level."""
    return f"{space}/audit.parquet"


def alignment(space: str) -> str:
    """Win rates between policies: a row a comparison."""
    return f"{space}/alignment.parquet"


def reward_models(space: str) -> str:
    """Reward models on preference tasks: a row an arm and set, and one for each subset."""
    return f"{space}/rewards.parquet"


def detectors(space: str) -> str:
    """Failure detectors of self-training: a row a source and detector."""
    return f"{space}/detectors.parquet"


def reliability(space: str) -> str:
    """Reliability before and after each round of self-training: a row a bin."""
    return f"{space}/reliability.parquet"


def selective(space: str) -> str:
    """Accuracy of the most confident pseudo-labels: a row a coverage."""
    return f"{space}/selective.parquet"


def report(space: str, name: str) -> str:
    """A file of the report."""
    return f"{space}/report/{name}"


def tune(space: str) -> str:
    """Folder of the recipe searches."""
    return f"{space}/tune"


def tuned(space: str, *parts: str, ending: str = "json") -> str:
    """A recipe search, named by what it is of: its file, or a drawing of it (`svg`, `png`)."""
    names = (re.sub(r"[^A-Za-z0-9._-]+", "_", part).strip("_.") for part in parts)
    return f"{tune(space)}/{'-'.join(names)}.{ending}"


def ray(space: str) -> str:
    """Ray's own files while a study runs; removed when it ends."""
    return f"{space}/ray"


def wandb(space: str) -> str:
    """Folder of the W&B runs (offline ones wait here for `wandb sync`)."""
    return f"{space}/wandb"
