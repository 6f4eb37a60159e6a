"""Groups cells that must run on one worker: shared hidden states, or a parent and its children."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from search_spaces.recipes import LinearProbe, ZeroShot
from study.cost.flops import PROBE_SHARE
from trainables.cells.planned import PlannedCell, Unit


def make_units(cells: Iterable[PlannedCell]) -> tuple[Unit, ...]:
    """Returns the cells as units, sorted by base model, the larger base first.

    The probes of one base and task share the hidden states of one pass, which also gives the
    zero-shot scores, so they form one unit. A cell with a parent follows it in its unit. Every
    other cell forms a unit alone. Units with zero-shot cells come first, because every point needs
    them, then long units, so that workers finish together.
    """
    cells = tuple(cells)
    probed = {_states_key(c) for c in cells if isinstance(c.cell.recipe, LinearProbe)}
    units: dict[tuple[str, ...], list[PlannedCell]] = {}
    root: dict[str, tuple[str, ...]] = {}
    for cell in cells:
        key = root.get(cell.cell.parent or "") or _unit_key(cell, probed)
        root[cell.id] = key
        units.setdefault(key, []).append(cell)
    work_of_base: dict[tuple[str, str, str], float] = {}
    for unit in units.values():
        base = unit[0].base_key
        work_of_base[base] = max(work_of_base.get(base, 0.0), work_of(unit))
    return tuple(
        tuple(unit)
        for unit in sorted(
            units.values(),
            key=lambda unit: (
                -work_of_base[unit[0].base_key],
                unit[0].base_key,
                not any(isinstance(cell.cell.recipe, ZeroShot) for cell in unit),
                -work_of(unit),
                unit[0].id,
            ),
        )
    )


def share_passes(cells: Iterable[PlannedCell], units: Iterable[Unit]) -> tuple[PlannedCell, ...]:
    """Returns the cells with the FLOP of one pass, at most, for all probes of a unit.

    A round of self-training with more work than probes on gold labels makes additional passes, over
    a pool whose choices its prompt lists in another order; its work stays.
    """
    share: dict[str, float] = {}
    for unit in units:
        probes = [cell for cell in unit if isinstance(cell.cell.recipe, LinearProbe)]
        plain = {cell.flop for cell in probes if cell.cell.self_training is None}
        sharing = [cell.id for cell in probes if cell.flop in plain]
        share |= dict.fromkeys(sharing, min(1.0, 1.0 / (PROBE_SHARE * max(len(sharing), 1))))
    return tuple(
        cell.model_copy(update={"flop": cell.flop * share[cell.id]})
        if share.get(cell.id, 1.0) < 1.0
        else cell
        for cell in cells
    )


def _unit_key(cell: PlannedCell, probed: Container[tuple[str, ...]]) -> tuple[str, ...]:
    key = _states_key(cell)
    recipe = cell.cell.recipe
    if isinstance(recipe, LinearProbe) or (isinstance(recipe, ZeroShot) and key in probed):
        return key
    return ("cell", cell.id)


def _states_key(cell: PlannedCell) -> tuple[str, ...]:
    """Returns the key that cells with the same hidden states share."""
    return ("states", *cell.base_key, cell.cell.task, cell.cell.prompt)


def work_of(unit: Sequence[PlannedCell]) -> float:
    """Returns the FLOP of a unit's cells."""
    return sum(cell.flop for cell in unit)
