"""Losses against plain sums of token log-probabilities; engines, checkpointing, reward heads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from search_spaces.recipes import PAPER_LORA, FullFineTuning, LoRA, QLoRA, Reasoning, WeightTraining
from tests.support.small_cells import FAST, POOL, PROMPT, TEST, bytes_of, inputs_of, load
from tests.support.tiny_models import naive_scores
from trainables.data.items import Item
from trainables.data.prompts.formats import PromptFormat
from trainables.distributed.engine import Engine
from trainables.distributed.single_process import plain_engine
from trainables.methods.base.interface import CellContext, Example, Execution, Log
from trainables.methods.dispatch import fit, restore
from trainables.methods.training.adapters import adapter_on
from trainables.methods.training.gradient_checkpointing import checkpointed
from trainables.methods.training.loop import backward, draw_batches
from trainables.methods.training.objectives import (
    choice_losses,
    choice_objective,
    text_objective,
)
from trainables.methods.training.reward_head import fresh_head
from trainables.models.loading import Base

EXAMPLES = tuple(Example(item=item, answer=item.answer) for item in POOL[:12])
SCALAR = FAST.model_copy(update={"head": "scalar"})
REASONED = PromptFormat(template="{question}", answer=" {reasoning} the answer is {choice}")


@pytest.fixture(scope="module", params=["llama", "bloom"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A model whose rows are packed, and one that takes a text at a time."""
    loaded = load(tmp_path_factory.mktemp("base"), request.param)
    loaded.tokenizer.eos_token = "<s>"
    return loaded


def setting_of(
    recipe: WeightTraining,
    *,
    log: Log = lambda row: None,
    prompt: PromptFormat = PROMPT,
    execution: Execution | None = None,
) -> CellContext:
    context = replace(inputs_of(recipe, log=log).context, prompt=prompt)
    return replace(context, execution=execution or Execution())


def labels(items: Sequence[Item] = POOL[:12]) -> tuple[Example, ...]:
    return tuple(Example(item=item, answer=item.answer) for item in items)


def gradient(parameters: Sequence[nn.Parameter]) -> Tensor:
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    for parameter in parameters:
        parameter.grad = None
    return flat


def test_a_smoothed_label_is_spread_over_the_choices_that_an_item_has() -> None:
    # Probabilities 1/8, 2/8, 5/8 and 1/4, 3/4; a place without a choice has none of the label.
    score_BC = torch.tensor(
        [[0.0, math.log(2.0), math.log(5.0)], [0.0, math.log(3.0), -math.inf]],
        dtype=torch.float64,
    )
    examples = [
        Example(item=POOL[0], answer=1, weight=0.5, smoothing=0.3),
        Example(item=POOL[1], answer=1, smoothing=0.2),
    ]
    first = 0.7 * math.log(2 / 8) + 0.1 * (math.log(1 / 8) + math.log(2 / 8) + math.log(5 / 8))
    second = 0.8 * math.log(3 / 4) + 0.1 * (math.log(1 / 4) + math.log(3 / 4))
    assert choice_losses(score_BC, examples).tolist() == pytest.approx([-0.5 * first, -second])


def test_text_loss_is_the_mean_over_items_of_the_right_texts_summed_loss(base: Base) -> None:
    examples = [
        Example(item=item, answer=0, weight=weight)
        for item, weight in zip(POOL[:3], (1.0, 0.5, 0.0), strict=True)
    ]
    naive = naive_scores(
        base.model,
        base.tokenizer,
        [PROMPT.question(example.item) for example in examples],
        [[PROMPT.target(example.item, 0)] for example in examples],
    )
    objective = text_objective(base, examples, PROMPT)
    with (
        adapter_on(base, FAST, 1) as adapter,
        plain_engine(base.model, adapter.parameters, FAST) as engine,
    ):
        loss = backward(objective, engine, [2, 0, 1], 100)
    expected = -(1.0 * naive[0][0] + 0.5 * naive[1][0]) / 3
    assert loss == pytest.approx(expected, rel=1e-4)


def test_a_reasoned_text_ends_with_eos_and_a_scored_one_does_not(base: Base) -> None:
    reasoned = [Example(item=replace(i, reasoning="ab cd. So"), answer=0) for i in POOL[:3]]
    tokens = text_objective(base, reasoned, REASONED).tokens
    plain = text_objective(base, reasoned, PROMPT).tokens
    eos = base.tokenizer.eos_token_id
    for example, item in zip(reasoned, tokens.items, strict=True):
        text = REASONED.question(example.item) + REASONED.target(example.item, 0)
        ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert (tokens.shared + item.context + item.answers[0])[1:] == [*ids, eos]
        assert item.num_scored[0] == len(item.answers[0])
    assert all(item.answers[0][-1] != eos for item in plain.items)


def test_text_loss_refuses_what_it_cannot_mean(base: Base) -> None:
    smoothed = [Example(item=POOL[0], answer=0, smoothing=0.1)]
    with pytest.raises(ValueError, match="label smoothing"):
        text_objective(base, smoothed, PROMPT)
    with pytest.raises(ValueError, match="no worked solution"):
        text_objective(base, labels()[:1], REASONED)


@pytest.mark.parametrize("recipe", ["text", "full text", "scalar"])
def test_each_objective_lowers_its_loss_and_its_state_is_restored(base: Base, recipe: str) -> None:
    recipes = {
        "text": FAST.model_copy(update={"loss": "text", "epochs": 20, "batch_size": 12}),
        "full text": FullFineTuning(
            n_train=12, loss="text", learning_rate=3e-3, epochs=15, batch_size=12
        ),
        "scalar": SCALAR.model_copy(update={"epochs": 12, "batch_size": 12}),
    }
    rows: list[Mapping[str, float]] = []
    context = setting_of(recipes[recipe], log=rows.append)
    with fit(context, base, labels()) as fitted:
        expected, state = fitted.answer(TEST), fitted.state()
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    with restore(context, base, state) as again:
        assert bytes_of(again.answer(TEST)) == bytes_of(expected)


def test_a_reward_is_the_head_on_the_last_tokens_state(base: Base) -> None:
    context = setting_of(SCALAR.model_copy(update={"learning_rate": 1e-30}))
    head = fresh_head(base, 0)
    with fit(context, base, labels()) as fitted:
        answers = fitted.answer(TEST[:5])
        weight = fitted.state()["reward_head.weight"]
    is_packed = "Bloom" not in type(base.model).__name__  # ALiBi positions cannot be packed
    assert (answers.notes == ()) == is_packed
    assert weight.shape == head.weight_H.shape
    assert 0.5 < float(weight.norm()) < 2.0  # variance 1 / H
    for item, scores in zip(TEST[:5], answers.log_probs or [], strict=True):
        for text, score in zip(PROMPT.choice_texts(item), scores, strict=True):
            ids = base.tokenizer(PROMPT.question(item) + text, add_special_tokens=False).input_ids
            with torch.no_grad():
                states = base.model(
                    torch.tensor([[base.tokenizer.bos_token_id, *ids]]), output_hidden_states=True
                ).hidden_states
            assert score == pytest.approx(float(states[-1][0, -1] @ weight), abs=1e-4)


def test_two_choices_make_a_bradley_terry_loss(base: Base) -> None:
    pairs = [replace(item, choices=item.choices[:2], answer=1) for item in POOL[:4]]
    head = fresh_head(base, 3)
    objective = choice_objective(base, labels(pairs), PROMPT, head.scores)
    loss = float(objective.loss(range(4)).detach())
    score_A = head.scores(base, objective.tokens, objective.is_packed)  # type: ignore[attr-defined]
    reward = score_A.detach().reshape(4, 2).numpy().astype(float)
    expected = -np.log(1 / (1 + np.exp(-(reward[:, 1] - reward[:, 0])))).sum()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_heads_first_weights_are_the_seeds(base: Base) -> None:
    assert torch.equal(fresh_head(base, 1).weight_H, fresh_head(base, 1).weight_H)
    assert not torch.equal(fresh_head(base, 1).weight_H, fresh_head(base, 2).weight_H)


def test_checkpointed_training_has_the_same_curve(base: Base) -> None:
    curves: dict[bool, list[float]] = {}
    recipe = FAST.model_copy(update={"dropout": 0.2})
    for wanted in (False, True):
        rows: list[Mapping[str, float]] = []
        execution = Execution(checkpointing=wanted)
        with fit(setting_of(recipe, log=rows.append, execution=execution), base, labels()):
            pass
        curves[wanted] = [row["loss"] for row in rows]
    assert curves[True] == pytest.approx(curves[False], rel=1e-6)


def test_checkpointing_runs_the_layers_again_and_leaves_them(base: Base) -> None:
    calls = []
    layer = next(m for m in base.model.modules() if isinstance(m, GradientCheckpointingLayer))
    part = next(module for module in layer.modules() if isinstance(module, nn.Linear))
    handle = part.register_forward_hook(lambda *_: calls.append(1))
    objective = choice_objective(base, EXAMPLES, PROMPT)
    with adapter_on(base, FAST, 1):
        for wanted, expected in ((False, 1), (True, 2)):
            calls.clear()
            with checkpointed(base, Execution(checkpointing=wanted), 100):
                objective.loss([0, 1]).backward()
            assert len(calls) == expected
    handle.remove()
    assert "forward" not in vars(layer)


@dataclass
class _Worker:
    """One of several workers, run one after the other: it keeps its gradient."""

    rank: int
    world_size: int
    turns: list[bool]

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        loss.backward()
        self.turns.append(is_last)

    def step(self, learning_rate: float) -> bool:
        raise AssertionError

    def mean(self, value: float) -> float:
        return value

    @contextmanager
    def gathered(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize("batch", [[3, 1, 8, 0, 5, 7, 2], [4, 6]])
def test_workers_share_a_batch_and_their_mean_is_its_gradient(base: Base, batch: list[int]) -> None:
    objective = choice_objective(base, EXAMPLES, PROMPT)
    with adapter_on(base, FAST, 1) as adapter:
        with plain_engine(base.model, adapter.parameters, FAST) as engine:
            whole_loss = backward(objective, engine, batch, 10_000)
        whole = gradient(adapter.parameters)
        losses, parts, turns = [], [], []
        for rank in range(3):
            worker = _Worker(rank, 3, [])
            losses.append(backward(objective, worker, batch, 60))
            parts.append(gradient(adapter.parameters))
            turns.append(worker.turns)
    assert np.mean(losses) == pytest.approx(whole_loss, rel=1e-5)
    torch.testing.assert_close(sum(parts) / 3, whole, atol=1e-5, rtol=1e-3)
    assert len({len(row) for row in turns}) == 1
    assert all(row == [False] * (len(row) - 1) + [True] for row in turns)


def test_the_setting_chooses_the_engine(base: Base) -> None:
    steps: list[float] = []

    @contextmanager
    def engine(
        model: PreTrainedModel, parameters: Sequence[nn.Parameter], recipe: WeightTraining
    ) -> Iterator[Engine]:
        with plain_engine(model, parameters, recipe) as inner:
            yield inner
        steps.append(recipe.learning_rate)

    context = setting_of(FAST, execution=Execution(engine=engine))
    with fit(context, base, labels()) as fitted:
        assert fitted.answer(TEST).log_probs is not None and not steps
    assert steps == [FAST.learning_rate]


def test_the_papers_recipe_makes_twelve_updates() -> None:
    assert PAPER_LORA.quantization == "int8"
    assert (PAPER_LORA.rank, PAPER_LORA.alpha, PAPER_LORA.dropout) == (16, 32, 0.1)
    batches = list(draw_batches(PAPER_LORA.n_train, PAPER_LORA, (0, 0, "x")))
    assert [len(batch) for batch in batches] == [50, 50, 50, 10] * 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reasoning": Reasoning()}, "give it loss='text'"),
        ({"head": "scalar", "loss": "text"}, "the loss is 'choices'"),
        ({"head": "scalar", "scoring": "per-char"}, "the scoring is 'sum'"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LoRA(**fields)


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_training_learns_on_a_base_in_each_quantization(tmp_path: Path, quantization: str) -> None:
    base = load(tmp_path, quantization=quantization)
    rows: list[Mapping[str, float]] = []
    fields = {"quantization": quantization, "epochs": 12, "batch_size": 12}
    adapter = QLoRA if quantization == "nf4" else LoRA
    recipe = adapter.model_validate(FAST.model_dump(exclude={"method"}) | fields)
    with fit(setting_of(recipe, log=rows.append), base, labels()):
        pass
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    layer = base.model.model.layers[0].self_attn.q_proj
    assert (
        type(layer).__name__
        == {"none": "Linear", "nf4": "Linear4bit", "int8": "Linear8bitLt"}[quantization]
    )
    if quantization == "nf4":
        assert layer.weight.quant_state.nested  # the scales are quantized too
