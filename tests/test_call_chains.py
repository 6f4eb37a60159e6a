"""Counts the functions on the path of an item to its scores, and of a space to a cell's record."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType

import pytest
import torch
from transformers import AutoTokenizer

from search_spaces.cell import Cell, cell_id
from search_spaces.registry import find_space
from search_spaces.space import Space
from study import sweep
from study.planning.planner import make_plan
from tests.support.small_study import TINY_SPACE, SmallStudy
from tests.support.stations import Trace, traced
from trainables.cells.planned import PlannedCell
from trainables.data.items import Item

ITEM_STATIONS = 14
"""From a row of a data file to its scores. A function that receives a whole task, and passes it on
without looking at items, does not count."""

CELL_STATIONS = 10
"""From a space to the record of a cell."""


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, Trace]:
    """Returns the traces of a test item and of a cell through a study of five cells."""
    folder = tmp_path_factory.mktemp("study")
    data, file = SmallStudy(folder=folder).folder / "data", folder / "tiny.py"
    file.write_text(TINY_SPACE)
    name = f"{file}:tiny"
    plan, inputs = make_plan(find_space(name), data)
    (task,) = inputs.tasks.values()
    (base,) = inputs.models.values()
    (tested,) = task.by_id(task.split.test[:1])
    planned = next(cell for cell in plan.cells if cell.cell.seed == 0)
    item = Trace(is_value=ItemMatcher(tested, base.source), is_end=_is_model, depth=2)
    cell = Trace(
        is_value=lambda thing: _is_cell(thing, planned.id),
        is_end=lambda code: code.co_name == "write_record",
        is_origin=lambda thing: isinstance(thing, Space),
        depth=4,
    )
    arguments = ["--data-root", str(data), "--out", str(folder / "out"), "--address", "in-process"]
    run_cells = sweep.run_cells

    def run_cells_alone(*given: object, **options: object) -> None:
        run_cells(*given, **options)  # type: ignore[arg-type]
        sys.setprofile(None)  # the report takes longest, and is not on either path

    with pytest.MonkeyPatch.context() as patch, traced(item, cell):
        patch.setattr(sweep, "run_cells", run_cells_alone)
        assert sweep.main([name, *arguments]) == 0
    return item, cell


class ItemMatcher:
    """Recognises an item, its copies, its row, its prompts and their tokens."""

    def __init__(self, item: Item, model: str) -> None:
        self._id, self._question = item.id, item.question
        tokens = AutoTokenizer.from_pretrained(model)(self._question, add_special_tokens=False)
        # Tokens at the ends may merge with the surrounding text.
        self._tokens = self._text(tokens["input_ids"][2:-2])

    def __call__(self, thing: object) -> bool:
        if isinstance(thing, Item):
            return thing.id == self._id
        if isinstance(thing, str):
            return self._question in thing
        if isinstance(thing, dict):
            return thing.get("id") == self._id
        if isinstance(thing, torch.Tensor) and thing.dtype == torch.int64:
            thing = thing.flatten().tolist()
        if isinstance(thing, list) and thing and isinstance(thing[0], int):
            return self._tokens in self._text(thing)
        return False

    @staticmethod
    def _text(tokens: list[int]) -> str:
        return "".join(f" {token} " for token in tokens)


def _is_model(code: CodeType) -> bool:
    return "/transformers/models/" in code.co_filename and code.co_name == "forward"


def _is_cell(thing: object, id_: str) -> bool:
    if isinstance(thing, PlannedCell):
        return thing.id == id_
    return isinstance(thing, Cell) and cell_id(thing) == id_


def _report(trace: Trace) -> str:
    return "\n".join((f"{len(trace.stations)} stations:", *trace.stations))


def test_an_item_passes_few_functions_on_its_way_to_its_scores(
    traces: tuple[Trace, Trace],
) -> None:
    item, _ = traces
    assert len(item.stations) <= ITEM_STATIONS, _report(item)
    assert any("loading/files.py" in name for name in item.stations)
    assert any("inference/" in name for name in item.stations)


def test_a_space_passes_few_functions_on_its_way_to_the_record_of_a_cell(
    traces: tuple[Trace, Trace],
) -> None:
    _, cell = traces
    assert len(cell.stations) <= CELL_STATIONS, _report(cell)
    assert any(name.endswith("make_plan") for name in cell.stations)
    assert any(name.endswith("write_record") for name in cell.stations)


def read() -> Item:
    return Item(id="a", question="?", choices=("x", "y"), answer=0)


def read_through_a_wrapper() -> Item:
    return read()


def score(items: list[Item]) -> int:
    return len(items)


def score_through_a_wrapper(items: list[Item]) -> int:
    return measure(len(items)) + score(items)


def measure(number: int) -> int:
    return number


def test_every_wrapper_is_a_station() -> None:
    def stations(make: Callable[[], Item], use: Callable[[list[Item]], int]) -> list[str]:
        trace = Trace(
            is_value=lambda thing: isinstance(thing, Item),
            is_end=lambda code: code.co_name == "score",
            depth=1,
            packages=(__file__,),
        )
        with traced(trace):
            use([make()])
        return [name.rpartition(" ")[2] for name in trace.stations]

    assert stations(read, score) == ["read", "score"]
    assert stations(read_through_a_wrapper, score_through_a_wrapper) == [
        "read",
        "read_through_a_wrapper",
        "score_through_a_wrapper",
        "score",
    ]
