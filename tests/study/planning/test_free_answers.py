"""Free answers in a plan: which labels they can have, and what their cells' ids hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LoRA, Reasoning
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import Condition, Labels
from study.artifacts.plan import Plan
from study.planning import axes
from study.planning.planner import make_plan
from trainables.data.items import Item, data_hash
from trainables.data.task import TaskData

EASY, HARD = Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4)
CHAIN = InContext(k=2, reasoning=Reasoning())


def data_of(items: tuple[Item, ...], *, free_form: bool) -> TaskData:
    return TaskData(
        name="strategyqa",
        items=items,
        measures={"steps": {item.id: float(1 + int(item.id) % 4) for item in items}},
        data_hash=data_hash(items),
        source="made here",
        licence="Apache-2.0",
        free_form=free_form,
    )


def items_of(*choices: str) -> tuple[Item, ...]:
    return tuple(
        Item(id=f"{n:03}", question=f"q {n}?", choices=choices, answer=0, reasoning=f"So {n}.")
        for n in range(160)
    )


def plan_of(
    monkeypatch: pytest.MonkeyPatch,
    data: TaskData,
    *methods: InContext | LoRA,
    labels: tuple[Labels, ...] = (),
) -> Plan:
    monkeypatch.setattr(axes, "load_task", lambda *_: data)
    axis = TaskAxis(
        task="strategyqa",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        conditions=tuple(
            Condition(name="noisy", levels=("easy",), n_train=10, labels=one) for one in labels
        ),
    )
    models = (BaseModelRef(name="micro-s"),)
    space = Space(name="s", models=models, tasks=(axis,), methods=methods, seeds=1)
    return make_plan(space)[0]


@pytest.mark.parametrize("kind", ["noise", "paper noise", "random"])
def test_labels_that_can_be_wrong_are_refused_where_answers_are_free(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    labels = Labels(kind=kind, rate=0.0 if kind == "random" else 0.5)
    message = f"'noisy' of strategyqa has labels of kind '{kind}'.*use labels of kind 'gold'"
    with pytest.raises(ValueError, match=message):
        plan_of(monkeypatch, data_of(items_of("5"), free_form=True), CHAIN, labels=(labels,))
    choosing = data_of(items_of("yes", "no"), free_form=False)
    assert plan_of(monkeypatch, choosing, CHAIN, labels=(labels,)).points
    for fine in (Labels(), Labels(kind="trivial")):
        free = data_of(items_of("5"), free_form=True)
        assert plan_of(monkeypatch, free, CHAIN, labels=(fine,)).points


def test_the_noise_rate_of_a_point_is_the_share_of_wrong_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = data_of(items_of("yes", "no"), free_form=False)
    labels = [Labels(kind="noise", rate=rate) for rate in (0.05, 0.14, 0.04)]
    labels += [Labels(kind="paper noise", rate=0.04), Labels()]
    plan = plan_of(monkeypatch, data, InContext(k=2), labels=tuple(labels))
    rates = [point.noise_rate for point in plan.points if point.condition == "noisy"]
    assert rates == [0.1, 0.1, 0.0, 0.04, None]


def test_another_worked_solution_of_a_drawn_item_changes_cells_that_learn_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    methods = (CHAIN, LoRA(n_train=2, loss="text", reasoning=Reasoning()), InContext(k=2))
    items = items_of("yes", "no")
    before = plan_of(monkeypatch, data_of(items, free_form=False), *methods)
    other = tuple(replace(item, reasoning="Thus " + str(item.reasoning)) for item in items)
    after = plan_of(monkeypatch, data_of(other, free_form=False), *methods)
    pairs = list(zip(before.cells, after.cells, strict=True))
    changed = {a.id: a.cell for a, b in pairs if a.id != b.id}
    learns = {a.id: a.cell for a in before.cells if a.draws is not None and a.cell.recipe.reasoning}
    assert changed == learns and 0 < len(changed) < len(pairs)
    assert all(a.draws == b.draws and a.cell.data_hash == b.cell.data_hash for a, b in pairs)
