"""Adapters side by side against one at a time (class B), and the groups that the plan makes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.cell import Cell, cell_id
from search_spaces.recipes import QLoRA
from tests.trainables.small_cells import FAST, ITEMS, POOL, TEST, inputs_of, load, logits_of
from trainables import layout
from trainables.adapter_groups import adapter_groups, may_train_together
from trainables.checkpoints import Checkpoint
from trainables.draws import ids_hash
from trainables.items import Item
from trainables.methods import Example, Setting, fit, restore
from trainables.methods.adapter_stacks import Stacks
from trainables.methods.execution import Execution
from trainables.methods.inputs import Log
from trainables.methods.many_adapters import TrainedGroup, fit_many
from trainables.methods.training import TrainingError
from trainables.models import Base
from trainables.storage import open_storage

TOLERANCE = 5e-3
"""Largest difference of a log-probability (nats, fp32) from training alone: AdamW's first steps
have one size whatever the gradient's, so rounding in a gradient near 0 turns into a step."""

RECIPE = FAST.model_copy(update={"learning_rate": 3e-3})


def examples_of(items: tuple[Item, ...]) -> list[Example]:
    return [Example(item=item, answer=item.answer) for item in items]


def cells(
    recipe: QLoRA, number: int = 3, log: Log = lambda row: None
) -> tuple[list[Setting], list[list[Example]]]:
    settings, examples = [], []
    for seed in range(number):
        inputs = inputs_of(recipe, seed=seed, training_hash=ids_hash(str(seed)), log=log)
        settings.append(inputs.setting)
        examples.append(examples_of(ITEMS[20 + 6 * seed : 32 + 6 * seed]))
    return settings, examples


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("loss", ["choices", "text"])
def test_side_by_side_is_one_at_a_time_within_the_tolerance(
    tmp_path: Path, name: str, loss: str
) -> None:
    torch.set_num_threads(1)
    base = load(tmp_path, name)
    before = logits_of(base)
    settings, examples = cells(RECIPE.model_copy(update={"loss": loss}))
    group = fit_many(settings, base, examples)
    states = group.states
    assert group.fault is None
    assert torch.equal(logits_of(base), before)
    found = []
    for setting, state, own in zip(settings, states, examples, strict=True):
        assert not isinstance(state, TrainingError)
        with restore(setting, base, state) as together:
            got = together.answer(TEST).log_probs or []
        with fit(setting, base, own) as alone:
            wanted = alone.answer(TEST).log_probs or []
            assert {key: value.shape for key, value in alone.state().items()} == {
                key: value.shape for key, value in state.items()
            }
        worst = max(np.abs(a - b).max() for a, b in zip(got, wanted, strict=True))
        assert worst < TOLERANCE
        for a, b in zip(got, wanted, strict=True):
            if np.sort(b)[-1] - np.sort(b)[-2] > 2 * TOLERANCE:
                assert a.argmax() == b.argmax()
        found.append(np.concatenate(got))
    assert np.abs(found[0] - found[1]).max() > 20 * TOLERANCE  # each learnt its own


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    torch.set_num_threads(1)
    return load(tmp_path_factory.mktemp("base"))


def test_each_cell_logs_what_it_would_log_alone(base: Base) -> None:
    curves: dict[str, list[list[Mapping[str, float]]]] = {"alone": [], "together": []}
    settings, examples = cells(RECIPE)
    for setting, own in zip(settings, examples, strict=True):
        rows: list[Mapping[str, float]] = []
        with fit(replace(setting, log=rows.append), base, own):
            curves["alone"].append(rows)
    logs: list[list[Mapping[str, float]]] = [[], [], []]
    logged = [replace(s, log=rows.append) for s, rows in zip(settings, logs, strict=True)]
    fit_many(logged, base, examples)
    for rows, wanted in zip(logs, curves["alone"], strict=True):
        assert [row["step"] for row in rows] == [row["step"] for row in wanted]
        assert [row["learning_rate"] for row in rows] == [row["learning_rate"] for row in wanted]
        np.testing.assert_allclose([r["loss"] for r in rows], [r["loss"] for r in wanted], 1e-3)


def test_gradients_are_clipped_one_adapter_at_a_time(base: Base) -> None:
    recipe = RECIPE.model_copy(update={"max_grad_norm": 1e-3, "epochs": 1, "weight_decay": 0.1})
    settings, examples = cells(recipe)
    examples[0] = [replace(example, weight=1e4) for example in examples[0]]
    states = fit_many(settings, base, examples).states
    for place in (0, 1):
        with fit(settings[place], base, examples[place]) as alone:
            for name, wanted in alone.state().items():
                torch.testing.assert_close(states[place][name], wanted, atol=2e-4, rtol=2e-2)


def test_micro_batches_and_checkpointing_change_nothing(base: Base) -> None:
    settings, examples = cells(RECIPE)
    usual = fit_many(settings, base, examples).states
    for execution in (Execution(token_share=0.05), Execution(checkpointing=True)):
        other = [replace(setting, execution=execution) for setting in settings]
        for got, wanted in zip(fit_many(other, base, examples).states, usual, strict=True):
            for name in wanted:
                torch.testing.assert_close(got[name], wanted[name], atol=2e-3, rtol=1e-2)


def test_a_loss_that_is_not_finite_stops_its_own_cell_alone(base: Base) -> None:
    settings, examples = cells(RECIPE)
    examples[1] = [replace(example, weight=float("inf")) for example in examples[1]]
    states = fit_many(settings, base, examples).states
    error = states[1]
    assert isinstance(error, TrainingError)
    assert "the loss is inf at update 1 of 6" in str(error) and examples[1][0].item.id in str(error)
    for place in (0, 2):
        with fit(settings[place], base, examples[place]) as alone:
            for name, wanted in alone.state().items():
                torch.testing.assert_close(states[place][name], wanted, atol=2e-3, rtol=1e-2)


def test_a_gradient_that_is_not_finite_at_the_end_stops_its_own_cell_alone(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, examples = cells(RECIPE)
    wanted = fit_many(settings, base, examples).states
    clip, calls = Stacks.clip, [0]

    def spoilt(self: Stacks, largest: float) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 6:  # the last update
            next(p.grad for p in self.parameters if p.grad is not None)[1] = float("inf")
        return clip(self, largest)

    monkeypatch.setattr(Stacks, "clip", spoilt)
    states = fit_many(settings, base, examples).states
    assert isinstance(states[1], TrainingError)
    assert "the gradient is not finite at update 6 of 6" in str(states[1])
    for place in (0, 2):
        for name, value in wanted[place].items():
            assert torch.equal(states[place][name], value)


class LostWorkerError(BaseException):
    """The process of a training is gone."""


@pytest.mark.parametrize("weight", [1.0, float("inf")], ids=["well", "one is no number"])
def test_a_group_that_was_interrupted_goes_on_and_ends_with_the_same_bytes(
    base: Base, tmp_path: Path, weight: float
) -> None:
    settings, examples = cells(RECIPE)
    examples[1] = [replace(example, weight=weight) for example in examples[1]]
    checkpoint = Checkpoint(
        storage=open_storage(str(tmp_path)), cell_id="c", execution={}, is_due=lambda: True
    )

    def run(keeps: bool, lost_at: float | None = None) -> tuple[TrainedGroup | None, list[Any]]:
        logs: list[list[Mapping[str, float]]] = [[] for _ in settings]

        def log(place: int, row: Mapping[str, float]) -> None:
            if row["step"] == lost_at:
                raise LostWorkerError
            logs[place].append(row)

        logged = [replace(s, log=partial(log, place)) for place, s in enumerate(settings)]
        try:
            return fit_many(logged, base, examples, checkpoint if keeps else None), logs
        except LostWorkerError:
            return None, logs

    clip = Stacks.clip
    whole, rows = run(keeps=False)
    assert run(keeps=True, lost_at=4.0)[0] is None
    progress = json.loads((tmp_path / layout.checkpoint_progress("c")).read_text())
    assert progress["update"] == 3
    steps: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stacks, "clip", lambda self, largest: steps.append(1) or clip(self, largest))
        resumed, again = run(keeps=True)
    assert whole is not None and resumed is not None
    assert again == rows and [row["step"] for row in again[0]] == [1, 2, 3, 4, 5, 6]
    assert len(steps) == 3, "updates that were kept are not made again"
    for one, other in zip(whole.states, resumed.states, strict=True):
        if isinstance(one, TrainingError):
            assert str(one) == str(other)
        else:
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_groups_checkpoint_is_of_that_group_alone(base: Base, tmp_path: Path) -> None:
    settings, examples = cells(RECIPE)
    checkpoint = Checkpoint(
        storage=open_storage(str(tmp_path)), cell_id="c", execution={}, is_due=lambda: True
    )
    fit_many(settings, base, examples, checkpoint)
    alone = fit_many(settings[:2], base, examples[:2])
    kept = fit_many(settings[:2], base, examples[:2], checkpoint)
    for one, other in zip(alone.states, kept.states, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)  # type: ignore[index]


def test_what_is_no_group_is_refused(base: Base) -> None:
    settings, examples = cells(RECIPE)
    with pytest.raises(ValueError, match="one recipe and equally many labels"):
        fit_many(settings, base, [examples[0], examples[1][:5], examples[2]])
    other, _ = cells(RECIPE.model_copy(update={"rank": 4}))
    with pytest.raises(ValueError, match="one recipe"):
        fit_many([settings[0], other[1]], base, examples[:2])
    dropping, _ = cells(RECIPE.model_copy(update={"dropout": 0.1}))
    with pytest.raises(ValueError, match="trains alone"):
        fit_many(dropping, base, examples)


@pytest.mark.parametrize(
    ("name", "fault"), [("bloom", "cannot hold an item's answers"), ("mixtral", "no linear layer")]
)
def test_an_architecture_that_cannot_do_it_trains_one_at_a_time(
    tmp_path: Path, name: str, fault: str
) -> None:
    base = load(tmp_path, name)
    settings, examples = cells(RECIPE, 2)
    group = fit_many(settings, base, examples)
    assert fault in (group.fault or "")
    for setting, own, state in zip(settings, examples, group.states, strict=True):
        with fit(setting, base, own) as alone:
            assert all(torch.equal(alone.state()[key], state[key]) for key in state)


def cell_of(**fields: object) -> Cell:
    return inputs_of(fields.pop("recipe", RECIPE), POOL[:2], **fields).setting.cell  # type: ignore[arg-type]


def test_groups_follow_from_the_planned_cells_alone() -> None:
    planned = [cell_of(seed=seed, training_hash=ids_hash(str(seed))) for seed in range(10)]
    groups = adapter_groups(planned, 4)
    assert [len(group) for group in groups] == [4, 4, 2]
    assert [cell_id(cell) for group in groups for cell in group] == sorted(map(cell_id, planned))
    assert adapter_groups(planned[::-1], 4) == groups
    with pytest.raises(ValueError, match="size=0"):
        adapter_groups(planned, 0)


def test_groups_hold_cells_of_one_recipe_model_and_prompt() -> None:
    alike = [cell_of(seed=seed) for seed in range(2)]
    others = [
        cell_of(prompt="q"),
        cell_of(model="n"),
        cell_of(task="u"),
        cell_of(dtype="bfloat16"),
        cell_of(recipe=RECIPE.model_copy(update={"rank": 8})),
    ]
    alone = [
        cell_of(recipe=RECIPE.model_copy(update={"dropout": 0.1}), seed=seed) for seed in range(2)
    ]
    groups = adapter_groups([*alike, *others, *alone])
    assert sorted(map(len, groups)) == [1] * 7 + [2]
    assert not may_train_together(alone[0])
    assert not may_train_together(cell_of(recipe=FAST.model_copy(update={"head": "scalar"})))
