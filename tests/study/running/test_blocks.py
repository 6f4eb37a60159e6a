from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.cell import Cell
from search_spaces.recipes import LinearProbe, LoRA, Recipe, ZeroShot
from study.planning.units import make_units
from study.running.blocks import pack_blocks
from trainables.cells.planned import PlannedCell
from trainables.cluster.capacity import Capacity


def planned(
    id_: str, *, model: str = "a", recipe: Recipe | None = None, flop: float = 1.0, parent: str = ""
) -> PlannedCell:
    cell = Cell(
        model=model,
        dtype="float32",
        task="t",
        data_hash="d",
        split_hash="s",
        prompt="p",
        recipe=recipe or LoRA(),
        training_hash=None if isinstance(recipe, ZeroShot) else "h",
        seed=None if isinstance(recipe, ZeroShot) else 0,
        parent=parent or None,
        version=1,
    )
    return PlannedCell(id=id_, cell=cell, model_name=model, condition="easy", flop=flop)


def capacity(slots: int, *, workers: int = 1) -> Capacity:
    return Capacity(slots=slots, workers=workers, cpus_per_worker=1, gpus_per_worker=0)


def ids(units: Sequence[Sequence[PlannedCell]]) -> list[list[str]]:
    return [[cell.id for cell in unit] for unit in units]


def test_larger_base_and_longer_unit_come_first_and_bases_stay_together() -> None:
    cells = [
        planned("s1", model="small", flop=1),
        planned("l1", model="large", flop=10),
        planned("s2", model="small", flop=3),
        planned("l2", model="large", flop=20),
    ]
    assert ids(make_units(cells)) == [["l2"], ["l1"], ["s2"], ["s1"]]


def test_what_every_point_needs_comes_first_of_its_base() -> None:
    """A report of a study that was stopped early would else have no point at all."""
    zero = planned("z", recipe=ZeroShot(), flop=0.1)
    cells = [planned("q", flop=5), zero, planned("l", model="large", flop=9)]
    assert ids(make_units(cells)) == [["l"], ["z"], ["q"]]


def test_probes_of_one_base_are_one_unit() -> None:
    cells = [planned("p1", recipe=LinearProbe()), planned("q"), planned("p2", recipe=LinearProbe())]
    assert sorted(ids(make_units(cells))) == [["p1", "p2"], ["q"]]


def test_child_follows_its_parent_in_its_unit() -> None:
    cells = [planned("a"), planned("b", parent="a"), planned("c", parent="b"), planned("d")]
    assert ["a", "b", "c"] in ids(make_units(cells))


@given(
    flops=st.lists(st.floats(0.1, 100), min_size=1, max_size=30),
    slots=st.integers(1, 8),
)
def test_blocks_hold_every_unit_once_in_order(flops: list[float], slots: int) -> None:
    units = make_units(planned(f"{n}", flop=flop) for n, flop in enumerate(flops))
    blocks = pack_blocks(units, capacity(slots, workers=2))
    assert len(blocks) == min(len(units), slots)
    assert all(block.units for block in blocks)
    assert [unit for block in blocks for unit in block.units] == list(units)
    assert all(1 <= block.workers <= 2 for block in blocks)


def test_equal_units_are_shared_out_evenly() -> None:
    units = make_units(planned(f"{n}") for n in range(12))
    blocks = pack_blocks(units, capacity(3))
    assert [len(block.units) for block in blocks] == [4, 4, 4]


def test_no_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        pack_blocks((), capacity(0))
