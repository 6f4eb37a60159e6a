"""Makes a cell's inputs: its items, its labelled draw, and the state of its parent.

Gold labels of unlabelled items are removed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from search_spaces.cell import Cell
from search_spaces.recipes import LinearProbe, PolicyDPO
from trainables.cells.parent_state import read_teacher
from trainables.cells.planned import PlannedCell, Unit
from trainables.cells.policy import RewardModel, read_reward_model
from trainables.cells.run import CellInputs, label_items
from trainables.data.draws import DrawnIds
from trainables.data.items import Item
from trainables.data.splits import untrained_ids
from trainables.data.task import SplitTask
from trainables.inference.hidden_states import Layer, StateCache
from trainables.methods.base.interface import CellContext, Execution
from trainables.models.chat import find_any_prompt
from trainables.models.loading import Base
from trainables.self_training.rounds import Teacher, UnlabelledPool
from trainables.self_training.training_set import GoldOf
from trainables.self_training.unlabelled import strip_label
from trainables.storage.filesystem import Storage


class ParentMissingError(RuntimeError):
    """The cell's parent has no record: it failed, or its block ended early."""


def make_inputs(
    planned: PlannedCell,
    unit: Unit,
    task: SplitTask,
    storage: Storage,
    *,
    base: Base,
    states: StateCache,
    curve: list[Mapping[str, float]],
    execution: Execution,
) -> CellInputs:
    """Returns the inputs of a planned cell.

    Args:
        planned: The cell.
        unit: The cell's unit: what its cells share is computed once.
        task: The cell's task.
        storage: The run folder, with the states of parents.
        base: The cell's base model.
        states: The hidden states that the cells of this base model share.
        curve: Receives a row per optimizer step.
        execution: How the cell runs.

    Raises:
        ParentMissingError: If the cell starts from one that has not finished.
    """
    cell = planned.cell
    drawn = DrawnIds(labelled=()) if planned.draws is None else task.drawn_ids(planned.draws)
    context = CellContext(
        cell=cell,
        prompt=find_any_prompt(cell.task, cell.prompt, base.tokenizer, task.questions[0]),
        items=_questions(planned, task),
        states=states,
        log=curve.append,
        test=task.by_id(task.tested_ids(planned.test_draw)),
        probe_layers=_probe_layers(unit),
        execution=execution,
    )
    return CellInputs(
        context=context,
        labelled=task.by_id(drawn.labelled),
        test=task.by_id(untrained_ids(task.tested_ids(planned.test_draw), drawn.labelled)),
        pool=None if cell.self_training is None else _pool(planned, task, drawn, storage, context),
        reward_model=_reward_model(context, base, storage),
        keeps_state=planned.keeps_state,
        restart=curve.clear,
    )


def _questions(planned: PlannedCell, task: SplitTask) -> tuple[Item, ...]:
    """Returns the task's questions without the test items that are not scored."""
    if planned.test_draw is None:
        return task.questions
    used = {*task.split.pool, *task.tested_ids(planned.test_draw)}
    return tuple(item for item in task.questions if item.id in used)


def _pool(
    planned: PlannedCell, task: SplitTask, drawn: DrawnIds, storage: Storage, context: CellContext
) -> UnlabelledPool:
    """Returns the unlabelled items without their gold labels."""
    cell = planned.cell
    ids = [id_ for level in drawn.unlabelled for id_ in level]
    draws = () if planned.draws is None else planned.draws.unlabelled
    names_of = [draw.level.name if draw.level is not None else "whole pool" for draw in draws]
    values = task.data.measures.get(planned.measure or "", {})
    names = (cell.study_seed, cell.task, cell.seed or 0)
    return UnlabelledPool(
        unlabelled=tuple(strip_label(item, *names) for item in task.by_id(ids)),
        validation=label_items(context, task.by_id(drawn.validation)),
        test=context.test,
        teacher=_teacher(cell, storage),
        gold_of=_gold_of(cell, task),
        hardness={id_: values[id_] for id_ in ids if id_ in values},
        levels={
            id_: name
            for name, level in zip(names_of, drawn.unlabelled, strict=True)
            for id_ in level
        },
    )


def _reward_model(context: CellContext, base: Base, storage: Storage) -> RewardModel | None:
    cell = context.cell
    if not isinstance(cell.recipe, PolicyDPO) or cell.parent is None:
        return None
    with _requiring_parent(cell):
        return read_reward_model(storage, cell.parent, context, base)


def _teacher(cell: Cell, storage: Storage) -> Teacher:
    with _requiring_parent(cell):
        return read_teacher(storage, cell.parent or "")


@contextmanager
def _requiring_parent(cell: Cell) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ParentMissingError(f"its parent, cell {cell.parent}, has not finished") from error


def _probe_layers(unit: Unit) -> tuple[Layer, ...]:
    recipes = [planned.cell.recipe for planned in unit]
    layers = [layer for r in recipes if isinstance(r, LinearProbe) for layer in r.layers]
    return tuple(dict.fromkeys(layers))


def _gold_of(cell: Cell, task: SplitTask) -> GoldOf | None:
    if cell.self_training is None or cell.self_training.targets != "oracle":
        return None
    return lambda ids: {item.id: item.choices[item.answer] for item in task.by_id(ids)}
