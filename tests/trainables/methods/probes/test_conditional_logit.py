"""The probe's solver against an independent optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from trainables.methods.probes.conditional_logit import fit_conditional_logit, smooth_targets


def draw(num_items: int, num_features: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Returns features, which places hold a choice (2 to 4 of 4), and answers."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num_items, 4, num_features, generator=generator, dtype=torch.float64)
    counts = torch.randint(2, 5, (num_items,), generator=generator)
    answers = torch.randint(0, 1000, (num_items,), generator=generator) % counts
    return features, torch.arange(4) < counts[:, None], answers


def reference_loss(
    weight: np.ndarray,
    features: torch.Tensor,
    is_choice: torch.Tensor,
    answers: torch.Tensor,
    l2: float,
) -> float:
    total = l2 / 2 * float(weight @ weight)
    for rows, kept, answer in zip(features.numpy(), is_choice.numpy(), answers, strict=True):
        scores = rows[kept] @ weight
        total += float(logsumexp(scores) - scores[int(answer)])
    return total


@pytest.mark.parametrize("l2", [0.01, 1.0, 100.0])
def test_the_fit_is_the_minimum_of_the_penalised_loss(l2: float) -> None:
    data = draw(40, 6)
    fit = fit_conditional_logit(*data, l2)
    best = minimize(reference_loss, np.zeros(6), args=(*data, l2), tol=1e-12)
    np.testing.assert_allclose(fit.weight_F.numpy(), best.x, atol=1e-4)
    assert fit.loss == pytest.approx(best.fun, rel=1e-9)
    assert reference_loss(fit.weight_F.numpy(), *data, l2) == pytest.approx(best.fun, rel=1e-9)


def test_more_features_than_rows_give_the_same_minimum() -> None:
    features, is_choice, answers = draw(6, 200)
    fit = fit_conditional_logit(features, is_choice, answers, 0.5)
    weight = fit.weight_F.clone().requires_grad_()
    scores = (features @ weight).masked_fill(~is_choice, -torch.inf)
    loss = torch.nn.functional.cross_entropy(scores, answers, reduction="sum")
    loss = loss + 0.25 * weight @ weight
    loss.backward()
    assert weight.grad is not None
    assert float(weight.grad.square().sum()) / (2 * 0.5) < 1e-9 * loss.item()
    assert fit.loss == pytest.approx(loss.item(), rel=1e-9)


def test_places_without_a_choice_have_no_say() -> None:
    features, is_choice, answers = draw(30, 5)
    fit = fit_conditional_logit(features, is_choice, answers, 1.0)
    features[~is_choice] = torch.nan
    again = fit_conditional_logit(features, is_choice, answers, 1.0)
    assert torch.equal(fit.weight_F, again.weight_F)


def test_separable_items_converge() -> None:
    features = torch.zeros(20, 2, 1, dtype=torch.float64)
    features[:, 0] = 1000.0
    fit = fit_conditional_logit(
        features, torch.ones(20, 2, dtype=torch.bool), torch.zeros(20, dtype=torch.long), 1e-6
    )
    assert fit.loss < 1e-3


def test_features_that_say_nothing_get_no_weight() -> None:
    features = torch.ones(10, 3, 4, dtype=torch.float64)
    is_choice = torch.ones(10, 3, dtype=torch.bool)
    fit = fit_conditional_logit(features, is_choice, torch.zeros(10, dtype=torch.long), 1.0)
    assert float(fit.weight_F.norm()) < 1e-12
    assert fit.loss == pytest.approx(10 * np.log(3))


def log_probs(features: torch.Tensor, is_choice: torch.Tensor, weight: torch.Tensor) -> np.ndarray:
    scores = (features @ weight).masked_fill(~is_choice, -torch.inf)
    return np.asarray(scores.log_softmax(dim=1)[is_choice])


def gradient(
    weight: torch.Tensor,
    features: torch.Tensor,
    is_choice: torch.Tensor,
    targets: torch.Tensor,
    l2: float,
    weights: torch.Tensor,
) -> torch.Tensor:
    """Returns the gradient by autograd: of a loss in plain words."""
    weight = weight.clone().requires_grad_()
    scores = (features @ weight).masked_fill(~is_choice, -1e9)
    losses = torch.nn.functional.cross_entropy(scores, targets, reduction="none")
    total = (weights * losses).sum() + l2 / 2 * weight.square().sum()
    return torch.autograd.grad(total, weight)[0]


@pytest.mark.parametrize("num_features", [6, 200])
@pytest.mark.parametrize("l2", [1e-4, 0.3, 1e5])
def test_item_weights_and_soft_targets_are_in_the_loss(num_features: int, l2: float) -> None:
    features, is_choice, answers = draw(20, num_features)
    targets = smooth_targets(answers, is_choice, 0.2)
    weights = torch.linspace(0.1, 3.0, 20, dtype=torch.float64)
    fit = fit_conditional_logit(features, is_choice, targets, l2, weights)
    slope = gradient(fit.weight_F, features, is_choice, targets, l2, weights)
    # The loss is convex with curvature l2 at least: this bounds how far it is above the minimum.
    assert float(slope.square().sum()) / (2 * l2) <= 1e-9 * fit.loss
    assert fit.num_steps > 0


def test_smoothing_spreads_over_the_choices_an_item_has() -> None:
    is_choice = torch.tensor([[True, True, False], [True, True, True]])
    targets = smooth_targets(torch.tensor([1, 2]), is_choice, 0.3)
    np.testing.assert_allclose(targets, [[0.15, 0.85, 0.0], [0.1, 0.1, 0.8]])
    hard = smooth_targets(torch.tensor([1, 2]), is_choice, 0.0)
    assert hard.tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("num_features", [6, 200])
def test_a_weight_of_two_is_the_item_twice_and_of_zero_none(num_features: int) -> None:
    features, is_choice, answers = draw(12, num_features)
    twice = [0, 0, 1, *range(3, 12)]
    weights = torch.tensor([2.0, 1.0, 0.0] + [1.0] * 9)
    weighted = fit_conditional_logit(features, is_choice, answers, 0.5, weights)
    repeated = fit_conditional_logit(features[twice], is_choice[twice], answers[twice], 0.5)
    found, expected = (log_probs(features, is_choice, fit.weight_F) for fit in (weighted, repeated))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_both_forms_of_the_problem_give_the_same_probabilities() -> None:
    features, is_choice, answers = draw(20, 30)
    wide = torch.cat([features, torch.zeros(20, 4, 100, dtype=torch.float64)], dim=2)
    for l2 in (1e-3, 1.0, 1e3):
        narrow_fit = fit_conditional_logit(features, is_choice, answers, l2)
        wide_fit = fit_conditional_logit(wide, is_choice, answers, l2)
        found = log_probs(wide, is_choice, wide_fit.weight_F)
        expected = log_probs(features, is_choice, narrow_fit.weight_F)
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert wide_fit.loss == pytest.approx(narrow_fit.loss, rel=1e-10)


def test_contradicting_items_and_a_small_penalty_converge() -> None:
    features, is_choice, _ = draw(10, 100)
    pair = torch.cat([features, features])
    choices = torch.cat([is_choice, is_choice])
    answers = torch.tensor([0] * 10 + [1] * 10)
    fit = fit_conditional_logit(100.0 * pair, choices, answers, 0.1)
    probs = np.exp(log_probs(100.0 * pair, choices, fit.weight_F))
    np.testing.assert_allclose(probs.max(), 0.5, atol=1e-3)  # one of two answers, at best even


def test_items_of_one_choice_add_nothing() -> None:
    features, is_choice, answers = draw(10, 4)
    more = torch.cat([features, features[:1] * 50])
    lone = torch.tensor([[False, True, False, False]])
    fit = fit_conditional_logit(features, is_choice, answers, 1.0)
    with_lone = fit_conditional_logit(
        more, torch.cat([is_choice, lone]), torch.cat([answers, torch.tensor([1])]), 1.0
    )
    torch.testing.assert_close(with_lone.weight_F, fit.weight_F, atol=1e-5, rtol=0)


def test_bad_input_is_refused() -> None:
    features, is_choice, answers = draw(5, 3)
    with pytest.raises(ValueError, match="l2 must be"):
        fit_conditional_logit(features, is_choice, answers, 0.0)
    with pytest.raises(ValueError, match="item weights"):
        fit_conditional_logit(features, is_choice, answers, 1.0, -torch.ones(5))
    with pytest.raises(ValueError, match="item weights"):
        fit_conditional_logit(features, is_choice, answers, 1.0, torch.zeros(5))
    is_choice[2] = torch.tensor([True, True, False, False])
    with pytest.raises(ValueError, match=r"item \[2\]"):
        fit_conditional_logit(features, is_choice, torch.tensor([0, 0, 3, 0, 0]), 1.0)
    with pytest.raises(ValueError, match="sum to 1"):
        fit_conditional_logit(features, is_choice, 0.4 * is_choice, 1.0)
    features[0, 0] = torch.inf
    with pytest.raises(ValueError, match="finite"):
        fit_conditional_logit(features, is_choice, answers.clamp_max(1), 1.0)
