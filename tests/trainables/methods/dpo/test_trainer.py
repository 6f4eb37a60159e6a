"""DPO: preferred answers become likelier, and the base is as it was afterwards."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import log_softmax

from search_spaces.cell import Cell
from search_spaces.recipes import PolicyDPO
from trainables.data.items import Item
from trainables.data.lab.preferences import preference_questions
from trainables.data.prompts.formats import get_prompt
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.interface import CellContext, Example, Execution, Log
from trainables.methods.dpo.candidates import LabelledPair
from trainables.methods.dpo.trainer import trained_policy
from trainables.methods.training.loop import learning_rate_factor
from trainables.methods.training.objectives import preference_objective
from trainables.models.chat import with_chat_template
from trainables.models.loading import Base
from trainables.storage.checkpoints import Checkpoint
from trainables.storage.filesystem import open_storage

PROMPT = get_prompt("micro")
RECIPE = PolicyDPO(labels="gold", epochs=2, batch_size=4)
QUESTIONS = preference_questions()[:8]
PAIRS = [
    LabelledPair(
        id=question.id,
        question=question.text,
        chosen=str(question.problem.answer),
        rejected=str(question.problem.answer + 3),
    )
    for question in QUESTIONS
]


def context_of(
    recipe: PolicyDPO,
    seed: int = 1,
    log: Log = lambda row: None,
    prompt: object = PROMPT,
    execution: Execution | None = None,
) -> CellContext:
    drawn = {"recipe": recipe, "training_hash": "h", "seed": seed, "version": 1}
    names = ("model", "task", "data_hash", "split_hash", "prompt")
    return CellContext(
        cell=Cell(**dict.fromkeys(names, "x"), dtype="float32", **drawn),
        prompt=prompt,  # type: ignore[arg-type]
        items=(),
        states=StateCache(),
        log=log,
        execution=execution or Execution(),
    )


@contextmanager
def training(
    base: Base, recipe: PolicyDPO = RECIPE, pairs: Sequence[LabelledPair] = PAIRS, **context: object
) -> Iterator[Base]:
    with trained_policy(context_of(recipe, **context), recipe, base, pairs):  # type: ignore[arg-type]
        yield base


def trained_weights(base: Base, recipe: PolicyDPO = RECIPE, **context: object) -> dict[str, Tensor]:
    with training(base, recipe, **context) as policy:
        return weights(policy)


def weights(policy: Base) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in policy.model.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def log_ratio(policy: Base, pair: LabelledPair) -> float:
    """Log-probability of the chosen answer less that of the rejected one, text by text."""
    sums = []
    for answer in (pair.chosen, pair.rejected):
        prompt = policy.tokenizer(f"{pair.question}\nAnswer:").input_ids
        rest = policy.tokenizer(f" {answer}\n", add_special_tokens=False).input_ids
        logits = policy.model(input_ids=torch.tensor([prompt + rest])).logits[0, :-1]
        log_probs = log_softmax(logits, dim=-1)[torch.arange(len(prompt + rest) - 1)]
        places = range(len(prompt) - 1, len(prompt + rest) - 1)
        sums.append(sum(float(log_probs[p, (prompt + rest)[p + 1]]) for p in places))
    return sums[0] - sums[1]


def test_the_first_loss_is_that_of_no_preference_and_updates_are_counted(base: Base) -> None:
    rows: list[Mapping[str, float]] = []
    trained_weights(base, log=rows.append)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert abs(rows[0]["loss"] - np.log(2)) < 1e-4


@pytest.mark.parametrize("changes", [{}, {"rank": 4, "learning_rate": 1e-3}])
def test_preferred_answers_become_likelier_and_the_base_is_restored(
    base: Base, changes: dict[str, object]
) -> None:
    before, names = weights(base), [name for name, _ in base.model.named_modules()]
    ratios = [log_ratio(base, pair) for pair in PAIRS]
    with training(base, RECIPE.model_copy(update=changes)) as policy:
        after = [log_ratio(policy, pair) for pair in PAIRS]
    assert min(b - a for a, b in zip(ratios, after, strict=True)) > 0
    assert same(weights(base), before)
    assert [name for name, _ in base.model.named_modules()] == names
    assert not base.model.training
    assert not any(weight.requires_grad for weight in base.model.parameters())


def test_the_cells_names_draw_the_order_and_that_of_the_pairs_does_not(base: Base) -> None:
    first = trained_weights(base)
    assert not same(trained_weights(base, seed=2), first)
    assert same(trained_weights(base, pairs=PAIRS[::-1]), first)


def test_training_leaves_the_global_random_state(base: Base) -> None:
    state = torch.get_rng_state()
    trained_weights(base, RECIPE.model_copy(update={"rank": 2}))
    assert torch.equal(torch.get_rng_state(), state)


def test_no_pairs_are_refused(base: Base) -> None:
    with pytest.raises(ValueError, match="no pairs to train a policy on"), training(base, pairs=[]):
        pass


class LostWorkerError(BaseException):
    """The process of a training is gone."""


@pytest.mark.parametrize("rank", [None, 2])
def test_an_interrupted_training_ends_with_the_same_bytes(
    base: Base, tmp_path: Path, rank: int | None
) -> None:
    recipe, rows = RECIPE.model_copy(update={"rank": rank}), []
    wanted = trained_weights(base, recipe, log=rows.append)
    checkpoint = Checkpoint(
        storage=open_storage(str(tmp_path)), cell_id="c", execution={}, is_due=lambda: True
    )
    execution = Execution(checkpoint=checkpoint)

    def lose(row: Mapping[str, float]) -> None:
        if row["step"] == 3:
            raise LostWorkerError

    with pytest.raises(LostWorkerError):
        trained_weights(base, recipe, log=lose, execution=execution)
    progress = checkpoint.read_progress()
    assert progress is not None and progress.update == 2
    again: list[Mapping[str, float]] = []
    assert same(trained_weights(base, recipe, log=again.append, execution=execution), wanted)
    assert again == rows


def test_a_policy_in_bf16_is_trained_as_far_as_one_in_fp32(base: Base) -> None:
    """Its masters are stepped in fp32 and cast after each update."""
    half = replace(base, model=copy.deepcopy(base.model).bfloat16())
    start, exact_start, exact = weights(half), weights(base), trained_weights(base)
    size = wanted = 0.0
    for name, weight in trained_weights(half).items():
        assert weight.dtype == torch.bfloat16
        cast = (start[name].float() + exact[name] - exact_start[name]).bfloat16()
        size += float((weight.float() - start[name].float()).abs().sum())
        wanted += float((cast.float() - start[name].float()).abs().sum())
    assert wanted > 0
    assert size == pytest.approx(wanted, rel=0.05)


def pair_margins(
    base: Base, weights: Mapping[str, Tensor], pairs: Sequence[LabelledPair]
) -> Tensor:
    """Returns chosen less rejected log-probabilities, a pair each, differentiable."""
    margins = []
    for pair in pairs:
        sums = []
        for answer in (pair.chosen, pair.rejected):
            prompt = base.tokenizer(f"{pair.question}\nAnswer:").input_ids
            rest = base.tokenizer(f" {answer}\n", add_special_tokens=False).input_ids
            ids = torch.tensor([prompt + rest])
            logits = functional_call(base.model, dict(weights), (ids,)).logits[0, :-1]
            scored = log_softmax(logits, dim=-1).gather(1, ids[0, 1:, None])[:, 0]
            sums.append(scored[len(prompt) - 1 :].sum())
        margins.append(sums[0] - sums[1])
    return torch.stack(margins)


def trained_by_hand(base: Base, pairs: Sequence[LabelledPair], recipe: PolicyDPO) -> list[float]:
    """Returns the loss of every update of all weights by AdamW, one batch an epoch."""
    now = {name: value.detach().clone() for name, value in base.model.named_parameters()}
    with torch.no_grad():
        reference = pair_margins(base, now, pairs)
    first = {name: torch.zeros_like(value) for name, value in now.items()}
    second = {name: torch.zeros_like(value) for name, value in now.items()}
    losses = []
    for update in range(recipe.epochs):
        leaves = {name: value.clone().requires_grad_(True) for name, value in now.items()}
        difference = pair_margins(base, leaves, pairs) - reference
        loss = (1.0 + (-recipe.beta * difference).exp()).log().mean()
        losses.append(float(loss.detach()))
        found = torch.autograd.grad(loss, list(leaves.values()))
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in found))
        clip = min(1.0, recipe.max_grad_norm / norm)
        rate = recipe.learning_rate * learning_rate_factor(update, recipe.epochs, 0.1)
        for name, gradient in zip(now, found, strict=True):
            first[name] = 0.9 * first[name] + 0.1 * gradient * clip
            second[name] = 0.999 * second[name] + 0.001 * (gradient * clip).square()
            spread = (second[name] / (1 - 0.999 ** (update + 1))).sqrt()
            now[name] -= rate * first[name] / (1 - 0.9 ** (update + 1)) / (spread + 1e-8)
    return losses


BY_HAND = PolicyDPO(labels="gold", beta=0.2, learning_rate=2e-4, epochs=4, batch_size=4)


@pytest.mark.parametrize(
    "change",
    [
        {"beta": 2.0},
        {"learning_rate": 5e-5},
        {"epochs": 3},
        {"max_grad_norm": 1e-6},  # Adam notices a gradient's size near its epsilon alone
    ],
)
def test_updates_are_those_of_adamw_on_the_papers_loss(
    base: Base, change: dict[str, float]
) -> None:
    recipe = BY_HAND.model_copy(update=change)
    pairs = sorted(PAIRS[:4], key=lambda pair: pair.id)
    rows: list[Mapping[str, float]] = []
    trained_weights(base, recipe, pairs=pairs, log=rows.append)
    losses, others = trained_by_hand(base, pairs, recipe), trained_by_hand(base, pairs, BY_HAND)
    # The loss that an update starts from shows where the updates before it have led.
    assert [row["loss"] for row in rows] == pytest.approx(losses, rel=0.02, abs=2e-4)
    assert len(losses) != len(others) or abs(losses[2] - others[2]) > 0.05


def test_one_update_is_adams_first_step_on_the_papers_loss(base: Base) -> None:
    """Adam's first step moves a weight by the learning rate, against the gradient's sign."""
    start = {name: value.detach().clone() for name, value in base.model.named_parameters()}
    with torch.no_grad():
        reference = pair_margins(base, start, PAIRS)
    leaves = {name: value.clone().requires_grad_(True) for name, value in start.items()}
    margins = pair_margins(base, leaves, PAIRS) - reference
    loss = (1.0 + (-RECIPE.beta * margins).exp()).log().mean()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    clip = min(1.0, 1.0 / math.sqrt(sum(float(g.double().square().sum()) for g in gradients)))
    one = RECIPE.model_copy(update={"epochs": 1, "batch_size": 8})
    with training(base, one) as policy:
        after = dict(policy.model.named_parameters())
        for (name, before), gradient in zip(start.items(), gradients, strict=True):
            slope = clip * gradient
            step = one.learning_rate * slope / (slope.abs() + 1e-8)
            is_clear = slope.abs() > 1e-5  # below, rounding may decide the sign
            found = (before - after[name])[is_clear]
            torch.testing.assert_close(found, step[is_clear], rtol=2e-2, atol=1e-7)


def test_a_batch_holds_its_pairs(base: Base) -> None:
    rows: list[Mapping[str, float]] = []
    trained_weights(base, RECIPE.model_copy(update={"epochs": 1, "batch_size": 3}), log=rows.append)
    assert [row["step"] for row in rows] == [1, 2, 3]  # 8 pairs: 3, 3 and 2


@pytest.mark.parametrize("rank", [2, 5])
def test_an_adapters_update_has_its_rank_and_grows_with_alpha(base: Base, rank: int) -> None:
    # One update moves the up factor alone, by Adam's sign: the down factor's gradient is 0.
    changes, layer = [], "model.layers.0.mlp.down_proj"
    for alpha in (32.0, 64.0):
        changed = {"epochs": 1, "batch_size": 8, "rank": rank, "learning_rate": 1e-3}
        with training(base, RECIPE.model_copy(update={**changed, "alpha": alpha})) as policy:
            changes.append(policy.model.get_submodule(layer).get_delta_weight("default").double())
    values = torch.linalg.svdvals(changes[1])
    assert int((values > 1e-3 * values[0]).sum()) == rank
    torch.testing.assert_close(changes[1], 2.0 * changes[0], rtol=0.05, atol=float(values[0]) / 100)


def test_a_chat_template_that_writes_the_bos_trains_on_one(base: Base) -> None:
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ (bos_token if m.role == 'user' else ' ') + m.content }}"
        "{% endfor %}"
    )
    chat = with_chat_template(PROMPT, tokenizer)
    assert same(trained_weights(base, prompt=chat), trained_weights(base))


def test_pairs_of_a_chat_end_with_the_templates_end_of_turn(base: Base) -> None:
    """Outside a chat they end with a line end."""
    tokenizer = copy.deepcopy(base.tokenizer)
    end = next(id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special)
    mark = tokenizer.convert_ids_to_tokens(end)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ (bos_token if m.role == 'user' else ' ') + m.content }}"
        "{% if m.role == 'assistant' %}{{ '" + mark + "' }}{% endif %}{% endfor %}"
    )
    pair = PAIRS[0]
    item = Item(id="q", question=pair.question, choices=(pair.chosen, pair.rejected), answer=0)
    examples = [Example(item=item, answer=0)]
    (line_end,) = tokenizer("\n", add_special_tokens=False).input_ids
    for prompt, last in ((with_chat_template(PROMPT, tokenizer), end), (PROMPT, line_end)):
        context = context_of(RECIPE, prompt=prompt)
        (row,) = preference_objective(context, base, examples, RECIPE.beta).tokens.items
        for answer, choice, number in zip(row.answers, item.choices, row.num_scored, strict=True):
            texts = tokenizer(f" {choice}", add_special_tokens=False).input_ids
            assert answer == [*texts, last]
            assert number == len(answer)
