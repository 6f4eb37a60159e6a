"""The kind of a condition (labels alone, self-training, control) and its label."""

from __future__ import annotations

from typing import Literal

from trainables.cells.planned import PlannedCell

ConditionKind = Literal["labels", "self-training", "control"]
"""`control`: rules out an explanation of a result (right labels on the selected items, random ones,
more steps, a pool as easy as the labels), so it is never shown as a result. Labels without content
and targets other than pseudo-labels are controls; a condition can also declare itself one."""


def condition_kind(planned: PlannedCell) -> ConditionKind:
    """Returns the kind of the cell's condition."""
    cell, options = planned.cell, planned.cell.self_training
    has_no_content = cell.labels.kind in ("random", "trivial")
    is_other = options is not None and options.targets != "pseudo"
    if planned.is_control or has_no_content or is_other:
        return "control"
    return "labels" if options is None else "self-training"


def condition_label(planned: PlannedCell, *, has_rounds: bool = True) -> str:
    """Returns the full name of the cell's condition, as in `Point.source`.

    Args:
        planned: The cell.
        has_rounds: False: leave out the round.
    """
    options = planned.cell.self_training
    name = f"{planned.condition} {planned.variant}" if planned.variant else planned.condition
    if options is None:
        return name
    tau = "" if options.threshold is None else f" tau {options.threshold:g}"
    number = f" round {planned.cell.round}" if has_rounds else ""
    return f"{name}{tau}{number}"
