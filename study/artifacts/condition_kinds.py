"""What a condition is there for: labels alone, self-training, or a control that is held beside."""

from __future__ import annotations

from typing import Literal

from trainables.cells.planned import PlannedCell

ConditionKind = Literal["labels", "self-training", "control"]
"""`control`: shows what a result is not due to (right labels on the selected items, random ones,
more steps, a pool as easy as the labels), so it never stands among results. Labels without content
and targets other than pseudo-labels make one, and any condition that says so of itself."""


def condition_kind(planned: PlannedCell) -> ConditionKind:
    """Returns what the cell's condition is there for."""
    cell, options = planned.cell, planned.cell.self_training
    has_no_content = cell.labels.kind in ("random", "trivial")
    is_other = options is not None and options.targets != "pseudo"
    if planned.is_control or has_no_content or is_other:
        return "control"
    return "labels" if options is None else "self-training"


def condition_label(planned: PlannedCell, *, has_rounds: bool = True) -> str:
    """Returns the condition with what tells it from others of its name, as points name theirs.

    Args:
        planned: The cell.
        has_rounds: False: its study has one round of self-training, which need not be named.
    """
    options = planned.cell.self_training
    name = f"{planned.condition} {planned.variant}" if planned.variant else planned.condition
    if options is None:
        return name
    tau = "" if options.threshold is None else f" tau {options.threshold:g}"
    number = f" round {planned.cell.round}" if has_rounds else ""
    return f"{name}{tau}{number}"
