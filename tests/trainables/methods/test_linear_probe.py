"""Linear probes: what they learn, solved beside others or alone, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.recipes import LinearProbe, ZeroShot
from tests.support.small_cells import (
    ITEMS,
    LONG,
    POOL,
    PROMPT,
    RECIPES,
    TEST,
    answers_of,
    bytes_of,
    frozen,
    inputs_of,
    run,
)
from trainables.cells.run import make_examples, run_cell
from trainables.data.items import Item
from trainables.data.prompts.formats import PromptFormat
from trainables.inference import hidden_states
from trainables.inference.hidden_states import StateCache
from trainables.methods import linear_probe
from trainables.methods.dispatch import fit
from trainables.models.loading import Base


def test_the_probe_learns_what_the_states_hold(base: Base) -> None:
    marked = tuple(
        Item(
            id=item.id,
            question=item.question,
            choices=("ab ab", "ab ce", "ab cf")[: len(item.choices)],
            answer=0,
        )
        for item in ITEMS
    )
    rows: list[Mapping[str, float]] = []
    recipe = LinearProbe(n_train=40)
    inputs = inputs_of(recipe, marked[20:], marked[:20], log=rows.append, items=marked)
    scores = answers_of(inputs, base)
    assert all(int(row.argmax()) == 0 for row in scores.log_probs)
    assert all(np.exp(row).sum() == pytest.approx(1.0) for row in scores.log_probs)
    assert rows[-1]["loss"] < 0.3


@pytest.mark.parametrize(
    ("layers", "numbers", "l2"),
    [
        ((2,), (2,), 1.0),
        ((2,), (2,), 50.0),
        (("middle", "last"), (2, 3), 1.0),
        ((0, 1), (0, 1), 4.0),
    ],
)
def test_a_probe_is_the_ridge_logit_of_the_hidden_states_that_its_recipe_names(
    base: Base, layers: tuple[Any, ...], numbers: tuple[int, ...], l2: float
) -> None:
    labelled, test = POOL[:20], TEST[:6]

    def rows(items: Sequence[Item]) -> list[torch.Tensor]:
        return [
            torch.stack([state(item, text) for text in PROMPT.choice_texts(item)]) for item in items
        ]

    def state(item: Item, text: str) -> torch.Tensor:
        encoded = base.tokenizer(PROMPT.question(item) + text, add_special_tokens=False)[
            "input_ids"
        ]
        ids = torch.tensor([[base.tokenizer.bos_token_id, *encoded]])
        states = base.model(ids, output_hidden_states=True).hidden_states
        return torch.cat([states[number][0, -1] for number in numbers]).double()

    with torch.no_grad():
        train, asked = rows(labelled), rows(test)
    every = torch.cat(train)
    mean, std = every.mean(dim=0), every.std(dim=0, correction=0)
    weight = torch.zeros(len(mean), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = [(row - mean) / std @ weight for row in train]
        wrong = [s.logsumexp(dim=0) - s[i.answer] for s, i in zip(scores, labelled, strict=True)]
        total = torch.stack(wrong).sum() + l2 / 2 * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    recipe = LinearProbe(n_train=20, layers=layers, l2=l2)
    found = answers_of(inputs_of(recipe, labelled, test), base).log_probs
    for row, given in zip(asked, found, strict=True):
        expected = ((row - mean) / std @ weight.detach()).log_softmax(dim=0)
        np.testing.assert_allclose(given, expected.numpy(), atol=5e-3)


def test_the_solver_of_the_paper_takes_its_hundred_steps(base: Base) -> None:
    rows: list[Mapping[str, float]] = []
    for solver in ("paper", "converged"):
        recipe = LinearProbe.model_validate({"n_train": 20, "solver": solver})
        answers_of(inputs_of(recipe, POOL[:20], log=rows.append), base)
    assert rows[0]["step"] == 100 and rows[1]["step"] < 50


def test_zero_shot_has_the_same_bytes_with_and_without_probes(base: Base) -> None:
    def scores(layers: tuple[str, ...], states: StateCache) -> list[bytes]:
        inputs = inputs_of(ZeroShot(), states=states)
        context = replace(inputs.context, test=TEST, probe_layers=layers)
        return bytes_of(answers_of(replace(inputs, context=context), base))

    assert scores((), StateCache()) == scores(("middle", "last"), StateCache())


def test_a_probe_learns_from_weights_and_smoothed_labels(base: Base) -> None:
    context = inputs_of(LinearProbe(n_train=20)).context
    plain = make_examples(context, POOL[:20])
    variants = {
        "plain": plain,
        "unweighted": [replace(e, weight=float(i < 10)) for i, e in enumerate(plain)],
        "smoothed": [replace(e, smoothing=0.3) for e in plain],
        "first half": plain[:10],
    }
    found = {}
    for name, examples in variants.items():
        with fit(context, base, examples) as fitted:
            found[name] = np.concatenate(fitted.answer(TEST).log_probs)
    assert np.abs(found["plain"] - found["unweighted"]).max() > 1e-3
    assert np.abs(found["smoothed"]).max() < np.abs(found["plain"]).max()


def test_an_item_that_does_not_fit_is_refused_to_the_probe_that_draws_it(base: Base) -> None:
    with pytest.raises(ValueError, match=r"item 'too-long': .* context"):
        run_cell(frozen("linear probe", (*POOL[:19], LONG), TEST), base)


def test_an_item_that_no_cell_uses_may_be_of_any_length(base: Base) -> None:
    expected = run(base, "linear probe", items=ITEMS)
    found = answers_of(inputs_of(RECIPES["linear probe"], POOL[:20], items=(*ITEMS, LONG)), base)
    for got, wanted in zip(found.log_probs, expected.log_probs, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert answers_of(frozen("linear probe", POOL[:20], TEST), base).log_probs is not None


@pytest.mark.parametrize("num_constant", [0, 3, 5, 7])
def test_features_that_do_not_vary_leave_the_others_scale_alone(
    base: Base, monkeypatch: pytest.MonkeyPatch, num_constant: int
) -> None:
    context = inputs_of(RECIPES["linear probe"]).context
    real = linear_probe._features(context, LinearProbe(n_train=20), base, POOL[:20])
    row_RF = real.row_RF[:, :8].clone()
    row_RF[:, 7] *= 1e-6  # hardly varies
    row_RF[:, :num_constant] = 3.0
    few = replace(real, row_RF=row_RF)
    monkeypatch.setattr(linear_probe, "_features", lambda *args: few)
    with fit(context, base, make_examples(context, POOL[:20])) as fitted:
        std_F = fitted.state()["std"]
    own_F = row_RF.std(dim=0, correction=0)[num_constant:]
    assert torch.equal(std_F[:num_constant], torch.ones(num_constant, dtype=torch.float64))
    assert torch.equal(std_F[num_constant:-1], own_F[:-1])
    expected = float(own_F[0]) if num_constant == 7 else 1e-3 * float(own_F.median())
    assert float(std_F[-1]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("template", "num_passes"), [("{question}", 1), ("{question}{options}", 2)]
)
def test_pools_in_any_orders_share_a_pass_if_the_prompt_does_not_show_their_choices(
    base: Base, monkeypatch: pytest.MonkeyPatch, template: str, num_passes: int
) -> None:
    prompt = PromptFormat(template=template, option=" {choice}")
    inputs = inputs_of(RECIPES["linear probe"])
    context = replace(inputs.context, prompt=prompt, states=StateCache())
    turned = tuple(replace(item, choices=item.choices[::-1]) for item in POOL[:20])
    rotated = tuple(
        replace(item, choices=(*item.choices[1:], item.choices[0])) for item in POOL[:20]
    )
    passes = []
    run_forward = hidden_states.run_forward

    def counted(base: Base, items: Sequence[Item], *args: Any, **options: Any) -> Any:
        passes.append(len(items))
        return run_forward(base, items, *args, **options)

    monkeypatch.setattr(hidden_states, "run_forward", counted)
    recipe = LinearProbe(n_train=20)
    found = linear_probe._features(context, recipe, base, turned)
    linear_probe._features(context, recipe, base, rotated)
    assert len(passes) == num_passes
    stored = linear_probe._features(context, recipe, base, POOL[:20])
    blocks = zip(found.row_RF.split(found.counts), stored.row_RF.split(stored.counts), strict=True)
    same = [torch.allclose(mine, its.flip(0), atol=1e-4) for mine, its in blocks]
    assert all(same) == (num_passes == 1)
