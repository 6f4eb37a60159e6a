"""Provenance of the numbers: code, packages, data, models, seeds and hosts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from search_spaces.explain import count
from study.analysis.surface import Surface
from study.artifacts.plan import Plan

PACKAGES = ("scarce-labels", "numpy", "scipy", "pyarrow", "torch", "transformers", "peft", "ray")

NOT_SHOWN = frozenset({"threads"})


def provenance(plan: Plan, surface: Surface) -> list[tuple[str, str]]:
    """Returns what a reader needs to reproduce the numbers, as names with values."""
    facts = [("code", commit() or "not a git checkout"), ("packages of this report", _packages())]
    for task in plan.tasks:
        name = f"{task.task} by {task.measure}"
        facts.append((f"data: {name}", f"{task.source}; licence {task.licence}"))
        facts.append((f"data hash: {name}", task.data_hash))
        facts.append((f"split hash: {name}", f"{task.split_hash} ({task.num_test} test items)"))
        facts += [(f"note: {name}", note) for note in task.notes]
    for model in plan.models:
        facts.append((f"model: {model.name}", f"{model.content}, {model.dtype}"))
    space = plan.space
    facts.append(("seeds", f"{space.seeds} a condition, study seed {space.study_seed}"))
    facts.append(("intervals", f"{100 * space.level:g} %"))
    facts += [(f"cells ran with: {name}", value) for name, value in _executions(surface)]
    return facts


def commit() -> str | None:
    """Returns the commit of the report's code, marked `-dirty` if files were changed."""
    # An installed package may lie in the checkout of another project.
    if not _git("ls-files", "--", Path(__file__).name):
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    """Returns what git prints about the folder of this code; None if it fails or prints nothing."""
    try:
        result = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def _packages() -> str:
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(versions)


def _executions(surface: Surface) -> Iterator[tuple[str, str]]:
    """Yields each host, device and package version among the records, with its number of cells."""
    counts: dict[str, dict[str, int]] = {}
    for record in surface.scores.records.values():
        for name, value in record.execution.items():
            if name not in NOT_SHOWN:
                values = counts.setdefault(name, {})
                values[str(value)] = values.get(str(value), 0) + 1
    for name, values in sorted(counts.items()):
        yield (
            name,
            "; ".join(
                f"{value} ({count(number, 'cell')})" for value, number in sorted(values.items())
            ),
        )
