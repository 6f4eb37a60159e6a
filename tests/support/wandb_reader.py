"""Reads the .wandb file of an offline run with W&B's own reader, `wandb leet inspect`."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.util import get_core_path


@dataclass
class OfflineRun:
    """Content of one or several files of a run."""

    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """Project, group, job type, name."""
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of a metric -> how it was defined."""
    num_files: int = 0


def read_offline_runs(folder: Path) -> dict[str, OfflineRun]:
    """Returns the offline runs of a wandb folder by id; files of one id are read in order."""
    runs: dict[str, OfflineRun] = defaultdict(OfflineRun)
    for file in sorted(folder.glob("offline-run-*/run-*.wandb")):
        run = runs[file.stem.removeprefix("run-")]
        run.num_files += 1
        for record in _records(file):
            _add(run, record)
    return dict(runs)


def _records(file: Path) -> list[dict[str, Any]]:
    options = ["--no-observability", "--json", "--run-file", str(file), str(file.parent.parent)]
    command = [get_core_path(), "leet", "inspect", *options]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def _add(run: OfflineRun, record: dict[str, Any]) -> None:
    content = record.get(record["type"])
    match record["type"]:
        case "run":
            run.config |= content["config"].get("update", {})
            run.facts |= {k: v for k, v in content.items() if isinstance(v, str | bool)}
        case "history":
            run.history.append(content["item"])
        case "summary":
            run.summary |= content.get("update", {})
        case "metric":
            run.metrics[content.get("name", content.get("glob_name"))] = content
