"""Training of weights: every item once an epoch, errors with a name, and the base as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import QLoRA
from tests.support.small_cells import (
    FAST,
    NUM_LABELS,
    POOL,
    PROMPT,
    RECIPES,
    answers_of,
    bytes_of,
    inputs_of,
    load,
    logits_of,
    run,
)
from tests.support.tiny_models import naive_scores, save_folder
from trainables.cells.run import make_examples, run_cell
from trainables.data.seeding import ids_hash
from trainables.distributed.single_process import plain_engine
from trainables.methods.base.interface import Example
from trainables.methods.dispatch import fit
from trainables.methods.training import gradient_checkpointing, loop
from trainables.methods.training.adapters import adapter_on
from trainables.methods.training.loop import TrainingError, learning_rate_factor
from trainables.methods.training.objectives import choice_objective
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model


def test_the_learning_rate_follows_the_real_number_of_updates() -> None:
    factors = [learning_rate_factor(update, 20, 0.1) for update in range(20)]
    assert factors[0] == 0.5 and factors[1] == 1.0 and factors[-1] == pytest.approx(0.1)
    steps = np.diff(factors[1:])
    np.testing.assert_allclose(steps, steps[0])
    assert learning_rate_factor(0, 1, 0.1) == 1.0
    paper = [learning_rate_factor(update, 12, 0.0) for update in range(12)]
    np.testing.assert_allclose(paper, np.linspace(1.0, 0.1, 12))
    # A quarter of 5 updates is rounded up to 2.
    few = [learning_rate_factor(update, 5, 0.25) for update in range(5)]
    np.testing.assert_allclose(few, [0.5, 1.0, 0.7, 0.4, 0.1])


@pytest.mark.parametrize(
    ("bounds", "sizes"),
    [
        ({"min_updates": 8}, [5, 5, 2, 5, 5, 2, 5, 5]),
        ({"max_updates": 4}, [5, 5, 2, 5]),
    ],
)
def test_updates_end_where_the_recipe_says_and_the_schedule_with_them(
    base: Base, bounds: dict[str, int], sizes: list[int]
) -> None:
    recipe = FAST.model_copy(update=bounds)
    rows: list[Mapping[str, float]] = []
    answers_of(inputs_of(recipe, POOL[:12], log=rows.append), base)
    assert [row["step"] for row in rows] == list(range(1, len(sizes) + 1))
    assert rows[-1]["learning_rate"] == pytest.approx(0.1 * recipe.learning_rate)
    assert rows[0]["learning_rate"] == pytest.approx(recipe.learning_rate), "warm-up of 1 update"
    batches = list(loop.draw_batches(12, recipe, (0, 0, "x")))
    assert [len(batch) for batch in batches] == sizes
    usual = list(loop.draw_batches(12, FAST, (0, 0, "x")))
    assert all(ours == theirs for ours, theirs in zip(batches, usual, strict=False))


def test_training_takes_every_item_once_an_epoch_and_logs_every_update(base: Base) -> None:
    rows: list[Mapping[str, float]] = []
    answers_of(inputs_of(FAST, POOL[:12], log=rows.append), base)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]  # 12 items in batches of 5, twice
    assert rows[-1]["learning_rate"] == pytest.approx(0.1 * FAST.learning_rate)
    batches = list(loop.draw_batches(12, FAST, (0, 0, "x")))
    assert [len(batch) for batch in batches] == [5, 5, 2] * 2
    epochs = [sorted(chain(*batches[:3])), sorted(chain(*batches[3:]))]
    assert epochs == [list(range(12))] * 2
    assert batches[:3] != batches[3:]


def test_training_lowers_the_loss_on_its_items(base: Base) -> None:
    rows: list[Mapping[str, float]] = []
    recipe = FAST.model_copy(update={"epochs": 15, "batch_size": 12})
    scores = answers_of(inputs_of(recipe, POOL[:12], POOL[:12], log=rows.append), base)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    right = [row.argmax() == i.answer for row, i in zip(scores.log_probs, POOL[:12], strict=True)]
    assert np.mean(right) > 0.8


@pytest.mark.parametrize("name", ["llama", "bloom"])
def test_micro_batches_add_up_to_the_batch(tmp_path: Path, name: str) -> None:
    base = load(tmp_path, name)
    examples = [Example(item=item, answer=item.answer) for item in POOL[:9]]
    gradients = []
    for budget in (1, 10_000):
        with (
            adapter_on(base, FAST, seed=1) as adapter,
            plain_engine(base.model, adapter.parameters, FAST) as engine,
        ):
            objective = choice_objective(base, examples, PROMPT)
            loss = loop.backward(objective, engine, [3, 1, 8, 0, 5], budget)
            flat = torch.cat([p.grad.flatten() for p in adapter.parameters if p.grad is not None])
            gradients.append((loss, flat))
    (loss, gradient), (whole_loss, whole) = gradients
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    torch.testing.assert_close(gradient, whole, atol=1e-5, rtol=1e-3)
    naive = naive_scores(
        base.model,
        base.tokenizer,
        [PROMPT.question(POOL[i]) for i in (3, 1, 8, 0, 5)],
        [PROMPT.choice_texts(POOL[i]) for i in (3, 1, 8, 0, 5)],
    )
    expected = np.mean(
        [
            np.log(np.exp(row - row[POOL[i].answer]).sum())
            for row, i in zip(naive, (3, 1, 8, 0, 5), strict=True)
        ]
    )
    assert loss == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("method", ["lora", "full fine-tuning"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_base_is_as_it_was_after_training(tmp_path: Path, name: str, method: str) -> None:
    base = load(tmp_path, name)
    before, modules = logits_of(base), [id(module) for module in base.model.modules()]
    weights = {key: value.clone() for key, value in base.model.state_dict().items()}
    trained = run(base, method)
    assert torch.equal(logits_of(base), before)
    assert [id(module) for module in base.model.modules()] == modules
    after = base.model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[key], value) for key, value in weights.items())
    assert not any(p.requires_grad or p.grad is not None for p in base.model.parameters())
    assert not any(module.training for module in base.model.modules())
    untrained = run(base, "zero-shot")
    worst = max(
        np.abs(a - b).max() for a, b in zip(trained.log_probs, untrained.log_probs, strict=True)
    )
    assert worst > 0.1  # the adapter did score


def test_merged_and_unmerged_adapters_score_alike(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = run(base, "lora")
    monkeypatch.setattr("trainables.methods.training.adapters.MAX_MERGED_BYTES", 0)
    for got, wanted in zip(run(base, "lora").log_probs, merged.log_probs, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_a_loss_that_is_not_finite_stops_the_cell_and_leaves_the_base(base: Base) -> None:
    before = logits_of(base)
    recipe = FAST.model_copy(update={"learning_rate": 1e30, "epochs": 3})
    with pytest.raises(TrainingError, match=r"the loss is nan at update \d+ of 9.*item-00\d\d"):
        answers_of(inputs_of(recipe, POOL[:12]), base)
    assert torch.equal(logits_of(base), before)
    assert not any(module.training for module in base.model.modules())


@pytest.mark.parametrize("method", ["lora", "full fine-tuning"])
@pytest.mark.parametrize("update", [2, 6])
def test_a_gradient_that_is_not_finite_stops_the_cell_at_its_update(
    base: Base, method: str, update: int
) -> None:
    before, num_passes = logits_of(base), 0

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal num_passes
        num_passes += 1
        return gradient * torch.inf if num_passes == update else gradient

    rows: list[Mapping[str, float]] = []
    inputs = inputs_of(RECIPES[method], POOL[:12], log=rows.append)
    batch = list(loop.draw_batches(12, RECIPES[method], inputs.context.names))[update - 1]

    def watch(module: object, args: object, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(spoil)

    handle = base.model.model.layers[-1].mlp.down_proj.register_forward_hook(watch)
    try:
        with pytest.raises(TrainingError) as caught:
            answers_of(inputs, base)
    finally:
        handle.remove()
    ids = ", ".join(POOL[place].id for place in batch)
    assert f"the gradient is not finite at update {update} of 6" in str(caught.value)
    assert f"items: {ids};" in str(caught.value)
    assert [row["step"] for row in rows] == list(range(1, update))
    assert torch.equal(logits_of(base), before)


def test_seed_and_draw_change_the_adapter(base: Base) -> None:
    cells = [{"seed": 0}, {"seed": 1}, {"study_seed": 1}, {"training_hash": ids_hash("cd")}]
    scores = {tuple(bytes_of(run(base, "lora", **cell))) for cell in cells}
    assert len(scores) == len(cells)


def test_qlora_on_its_nf4_base_trains_and_leaves_the_base(tmp_path: Path) -> None:
    base = load(tmp_path, quantization="nf4")
    before = logits_of(base)
    recipe = QLoRA(n_train=12, rank=2, learning_rate=1e-2, epochs=15, batch_size=12)
    rows: list[Mapping[str, float]] = []
    inputs = inputs_of(recipe, POOL[:12], POOL[:12], log=rows.append)
    first = answers_of(inputs, base)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert torch.equal(logits_of(base), before)
    assert bytes_of(answers_of(inputs, base)) == bytes_of(first)


def test_training_goes_on_from_a_state(base: Base) -> None:
    rows: list[Mapping[str, float]] = []
    context = inputs_of(FAST, log=rows.append).context
    examples = make_examples(context, POOL[:12])
    with fit(context, base, examples) as fitted:
        state = fitted.state()
    with fit(context, base, examples, start=state):
        pass
    first, second = rows[:6], rows[6:]
    assert second[0]["loss"] < first[0]["loss"] - 0.1
    assert second[0]["loss"] < first[-1]["loss"] + 0.2


def test_an_adapter_is_held_in_32_bits_on_a_base_in_16(tmp_path: Path) -> None:
    source = resolve_model(BaseModelRef(name=str(save_folder(tmp_path, "llama", "bytes"))))
    base = load_base(source, "bfloat16", "none", "cpu")
    with adapter_on(base, FAST, seed=1) as adapter:
        assert {p.dtype for p in adapter.parameters} == {torch.float32}
    rows: list[Mapping[str, float]] = []
    recipe = FAST.model_copy(update={"epochs": 10, "batch_size": 12})
    answers_of(inputs_of(recipe, POOL[:12], log=rows.append), base)
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("wanted", [None, False, True])
@pytest.mark.parametrize("method", ["zero-shot", "lora", "full fine-tuning"])
def test_a_model_that_cannot_be_checkpointed_is_said(
    base: Base, monkeypatch: pytest.MonkeyPatch, method: str, wanted: bool | None
) -> None:
    class NoLayer(torch.nn.Module):
        """What an architecture without such layers has none of."""

    inputs = inputs_of(RECIPES[method], POOL[: NUM_LABELS[method]])
    execution = replace(inputs.context.execution, checkpointing=wanted)
    inputs = replace(inputs, context=replace(inputs.context, execution=execution))
    assert run_cell(inputs, base).notes == ()
    monkeypatch.setattr(gradient_checkpointing, "GradientCheckpointingLayer", NoLayer)
    notes = run_cell(inputs, base).notes
    if not wanted or method == "zero-shot":
        assert notes == ()
        return
    (note,) = notes
    assert note.startswith("no gradient checkpointing: LlamaForCausalLM has no layers")
