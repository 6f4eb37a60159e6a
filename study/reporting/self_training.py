"""The report's section on self-training: gains over the start, audit and failure detectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from study.analysis.names import recipe_labels
from study.analysis.self_training.audit import AuditedRound, AuditRow, audit_rows
from study.analysis.self_training.detectors import DetectorRow, detector_rows, warning_lines
from study.analysis.self_training.rounds import read_rounds
from study.analysis.self_training.tables import reliability_table, selective_table
from study.analysis.surface import Surface
from study.analysis.surface_rows import SurfaceRow
from study.artifacts.plan import Plan
from study.statistics.across_points.multiplicity import false_discovery
from trainables.storage.filesystem import Storage

ALL_LEVELS = "all levels"
"""Level of the lines about all items together."""

MEANS = (
    "num_items",
    "num_selected",
    "coverage",
    "accuracy",
    "selected_accuracy",
    "target_accuracy",
    "mean_confidence",
    "ece_equal_width",
    "ece_equal_mass",
    "brier",
    "selective_area",
)
"""Columns of the audit that the page shows, averaged over seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditLine:
    """A line of the page's audit: a round of a source on one set of items, averaged over seeds."""

    task: str
    measure: str | None
    model: str
    method: str
    condition: str
    """With its variant, if other conditions have the same name."""
    threshold: float | None
    ssrm_round: int
    role: str
    items: str
    moment: str
    level: str
    num_seeds: int
    means: Mapping[str, float | None]
    """Name in `MEANS` -> mean over the seeds that have a value; None if no seed has one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTrainingSection:
    """Content of the section."""

    rows: tuple[SurfaceRow, ...]
    """Self-trained points, controls last."""
    q_values: tuple[float | None, ...]
    """p-values of their gains, adjusted over all of them for the false discovery rate."""
    audit: tuple[AuditRow, ...]
    lines: tuple[AuditLine, ...]
    detectors: tuple[DetectorRow, ...]
    warnings: tuple[str, ...]
    """A line for each detector that warns and for each round that cannot be audited."""
    audited: tuple[AuditedRound, ...]
    reliability: pa.Table
    """Bins of every source, round and level."""
    selective: pa.Table
    """Accuracy against coverage of every source, round and level."""


def gather_self_training(
    storage: Storage, plan: Plan, surface: Surface
) -> SelfTrainingSection | None:
    """Computes the section; None for a study without self-training."""
    rows = [row for row in surface.rows if row.point.start is not None]
    if not rows:
        return None
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    rounds = read_rounds(storage, plan, surface)
    audit = audit_rows(rounds.audited)
    detectors = detector_rows(plan, surface, rounds)
    faults = (f"not audited: {fault}" for fault in rounds.faults)
    lines = tuple(audit_lines(audit, labels))
    rows.sort(key=lambda row: row.role == "control")
    return SelfTrainingSection(
        rows=tuple(rows),
        q_values=tuple(false_discovery([row.ssrm_gain.p_value for row in rows])),
        audit=audit,
        lines=lines,
        detectors=detectors,
        warnings=(*warning_lines(detectors, labels), *faults),
        audited=tuple(rounds.audited),
        reliability=reliability_table(rounds.audited),
        selective=selective_table(rounds.audited),
    )


def audit_lines(rows: Iterable[AuditRow], labels: Mapping[str, str]) -> Iterable[AuditLine]:
    """Yields the audit with seeds averaged, controls last.

    With a single level, the line of all levels together is left out.
    """
    groups: dict[tuple[object, ...], list[AuditRow]] = {}
    for row in rows:
        source = (row.condition, row.variant, row.threshold, row.ssrm_round)
        key = (row.task, row.measure, row.model, row.recipe, *source)
        groups.setdefault((*key, row.items, row.moment, row.level), []).append(row)
    levels: dict[tuple[object, ...], set[object]] = {}
    for where in groups:
        levels.setdefault(where[:-1], set()).add(where[-1])
    for where, seeds in sorted(groups.items(), key=lambda entry: entry[1][0].role == "control"):
        first = seeds[0]
        if first.level is None and len(levels[where[:-1]]) == 2:
            continue
        yield AuditLine(
            task=first.task,
            measure=first.measure,
            model=first.model,
            method=labels.get(first.recipe, first.method),
            condition=" ".join(filter(None, (first.condition, first.variant))),
            threshold=first.threshold,
            ssrm_round=first.ssrm_round,
            role=first.role,
            items=first.items,
            moment=first.moment,
            level=first.level or ALL_LEVELS,
            num_seeds=len(seeds),
            means={name: _mean([getattr(row, name) for row in seeds]) for name in MEANS},
        )


def selected_line(row: SurfaceRow, method: str, lines: Iterable[AuditLine]) -> AuditLine | None:
    """Returns the audit of the pool from which a self-trained point selected its last labels."""
    point = row.point
    condition = " ".join(filter(None, (point.condition, point.variant)))
    source = (point.task, point.measure, point.model, method, condition, point.threshold)
    wanted = (*source, point.ssrm_round, "pool", "before")
    for line in lines:
        found = (line.task, line.measure, line.model, line.method, line.condition, line.threshold)
        if (*found, line.ssrm_round, line.items, line.moment) == wanted:
            return line
    return None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
