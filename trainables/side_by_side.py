"""Cells of a unit that train side by side: trained when the first of them is run, then kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trainables.adapter_groups import is_group
from trainables.block import PlannedCell, Unit
from trainables.cells import CellInputs, make_examples
from trainables.memory import halve_until_it_fits, halved_note
from trainables.methods import TrainedState, fit_many
from trainables.methods.training import TrainingError
from trainables.models import Base

MakeInputs = Callable[[PlannedCell, list[Mapping[str, float]]], CellInputs]
"""Makes a cell's inputs, whose training logs to the list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What one cell of a group got from the training of all."""

    state: TrainedState | TrainingError
    curve: Sequence[Mapping[str, float]]
    token_share: float
    """Of the usual tokens of a batch, halved where memory ran out."""
    execution: Mapping[str, Any]
    """Entries of the record's `execution`; none where it was trained alone after all (class A),
    because the architecture needs it."""
    notes: tuple[str, ...]

    def given_to(self, inputs: CellInputs) -> CellInputs:
        """Returns the cell's inputs with its trained state, to answer in batches as large."""
        execution = replace(inputs.setting.execution, token_share=self.token_share)
        return replace(
            inputs,
            trained=self.state,
            setting=replace(inputs.setting, execution=execution),
            restart=lambda: None,  # what training logged stays: only the answering begins anew
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SideBySide:
    """The trained states of a group whose cells have not all been answered for yet."""

    _kept: dict[str, Trained] = field(default_factory=dict)

    def take(
        self, planned: PlannedCell, unit: Unit, base: Base, inputs_of: MakeInputs
    ) -> Trained | None:
        """Returns the cell's share of its group's training; None where it trains alone.

        Args:
            planned: The cell.
            unit: The unit in hand; a group is a unit of its own, finished cells included.
            base: The base model of the unit.
            inputs_of: Makes the inputs of any cell of the unit.
        """
        if not is_group(unit):
            return None
        if planned.id not in self._kept:
            self._kept.clear()
            self._kept.update(_train(planned, unit, base, inputs_of))
        return self._kept.pop(planned.id)


def _train(
    planned: PlannedCell, unit: Unit, base: Base, inputs_of: MakeInputs
) -> dict[str, Trained]:
    curves: list[list[Mapping[str, float]]] = [[] for _ in unit]
    inputs = list(map(inputs_of, unit, curves))
    examples = [make_examples(each.setting, each.labelled) for each in inputs]
    usual = inputs[0].setting.execution.token_share
    # The cell in hand keeps it: its sign says how far on its worker died.
    checkpoint = inputs[unit.index(planned)].setting.execution.checkpoint
    fault: str | None = None
    notes: tuple[str, ...] = ()

    def attempt(share: float) -> tuple[TrainedState | TrainingError, ...]:
        nonlocal fault
        for curve in curves:
            curve.clear()
        settings = [
            replace(each.setting, execution=replace(each.setting.execution, token_share=share))
            for each in inputs
        ]
        found = fit_many(settings, base, examples, checkpoint)
        fault = found.fault
        return found.states

    states, share = halve_until_it_fits(attempt, usual, base.device)
    execution: dict[str, Any] = {}
    if fault is None:
        execution = {"class": "B", "side_by_side": len(unit)}
    if share != usual:
        execution |= {"class": "B", "token_share": share}
        notes = (halved_note(share),)
    return {
        other.id: Trained(
            state=state,
            curve=tuple(curve),
            token_share=share,
            execution=execution,
            notes=notes,
        )
        for other, state, curve in zip(unit, states, curves, strict=True)
    }
