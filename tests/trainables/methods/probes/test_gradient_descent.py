"""The paper's recipe against torch's own optimizer, schedule and clipping."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trainables.methods.probes.test_conditional_logit import draw
from trainables.methods.probes.conditional_logit import smooth_targets
from trainables.methods.probes.gradient_descent import fit_sgd


def first_weights(num_features: int) -> torch.Tensor:
    """Returns where a fit begins: features of zero never move them, but for the penalty's 0."""
    features = torch.zeros(1, 2, num_features, dtype=torch.float64)
    is_choice = torch.ones(1, 2, dtype=torch.bool)
    fit = fit_sgd(features, is_choice, torch.tensor([0]), 0.0, names=("a", 1))
    return fit.weight_F


def reference(
    features: torch.Tensor,
    is_choice: torch.Tensor,
    answers: torch.Tensor,
    penalty: float,
    weights: torch.Tensor,
) -> torch.nn.Parameter:
    """Returns the weights after 100 steps of torch's SGD."""
    weight = torch.nn.Parameter(first_weights(features.shape[2]))
    optimizer = torch.optim.SGD([weight], lr=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1.0, end_factor=0.1, total_iters=100
    )
    for _ in range(100):
        optimizer.zero_grad()
        loss = torch.zeros((), dtype=torch.float64)
        for rows, kept, answer, share in zip(features, is_choice, answers, weights, strict=True):
            log_probs = (rows[kept] @ weight).log_softmax(0)
            loss = loss - share * log_probs[answer]
        (loss / weights.sum() + penalty * weight.norm()).backward()
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
        optimizer.step()
        schedule.step()
    return weight


@pytest.mark.parametrize(("scale", "penalty"), [(1.0, 1.0), (1.0, 0.1), (20.0, 1.0)])
def test_the_steps_are_those_of_the_paper(scale: float, penalty: float) -> None:
    features, is_choice, answers = draw(12, 30)
    features = scale * features
    weights = torch.linspace(0.5, 2.0, 12, dtype=torch.float64)
    fit = fit_sgd(features, is_choice, answers, penalty, weights, names=("a", 1))
    expected = reference(features, is_choice, answers, penalty, weights)
    np.testing.assert_allclose(fit.weight_F, expected.detach(), atol=1e-8)
    assert fit.num_steps == 100


def test_the_loss_is_the_mean_cross_entropy_and_the_norm() -> None:
    features, is_choice, answers = draw(12, 30)
    fit = fit_sgd(features, is_choice, answers, 0.3, names=("a", 1))
    scores = (features @ fit.weight_F).masked_fill(~is_choice, -torch.inf)
    mean = torch.nn.functional.cross_entropy(scores, answers)
    assert fit.loss == pytest.approx(float(mean + 0.3 * fit.weight_F.norm()), rel=1e-12)


def test_the_first_weights_are_named_and_as_torch_begins_a_linear_layer() -> None:
    data = draw(12, 400)
    torch.manual_seed(1)
    one = fit_sgd(*data, names=("a", 1))
    torch.manual_seed(2)
    assert torch.equal(one.weight_F, fit_sgd(*data, names=("a", 1)).weight_F)
    assert not torch.equal(one.weight_F, fit_sgd(*data, names=("a", 2)).weight_F)
    weight = first_weights(400)
    bound = 1 / 400**0.5
    assert float(weight.abs().max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert abs(float(weight.mean())) < 0.1 * bound


def test_places_without_a_choice_have_no_say() -> None:
    features, is_choice, answers = draw(30, 5)
    fit = fit_sgd(features, is_choice, answers, names=(1,))
    features[~is_choice] = torch.nan
    assert torch.equal(fit.weight_F, fit_sgd(features, is_choice, answers, names=(1,)).weight_F)


def test_soft_targets_are_the_mean_of_hard_ones_in_the_first_step() -> None:
    features, is_choice, answers = draw(10, 5)
    soft = fit_sgd(features, is_choice, smooth_targets(answers, is_choice, 1.0), 0.0, names=(1,))
    hard = fit_sgd(features, is_choice, answers, 0.0, names=(1,))
    even = is_choice / is_choice.sum(dim=1, keepdim=True)
    scores = (features @ soft.weight_F).masked_fill(~is_choice, -torch.inf)
    worst = (scores.softmax(dim=1) - even).abs().max()
    assert worst < 0.2  # pulled to even, where the gold answers would pull away
    assert float(soft.weight_F.norm()) < float(hard.weight_F.norm())


def test_bad_input_is_refused() -> None:
    features, is_choice, answers = draw(5, 3)
    with pytest.raises(ValueError, match="item weights"):
        fit_sgd(features, is_choice, answers, 1.0, torch.zeros(5), names=(1,))
    features[0, 0] = torch.inf
    with pytest.raises(ValueError, match="finite"):
        fit_sgd(features, is_choice, answers, names=(1,))
