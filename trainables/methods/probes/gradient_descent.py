"""The linear probe's recipe `paper`: gradient descent with a norm penalty, as it was published.

Loss: the weighted mean over items of the cross-entropy of softmax(X_i w), plus penalty * |w|, the
norm itself and not its square. 100 full-batch steps; the learning rate decays linearly from 0.05
to a tenth, and the gradient's norm is clipped at 1. It does not converge and is not meant to.

Source: arXiv:2401.06751, appendix D, and the released code's `models/probes.py`. They differ from
each other, or from this module, as follows:

* The text calls the penalty l2 regularization with lambda 1; the code adds the norm, whose gradient
  has length 1 however small the weights are. The published numbers come from the code, so this
  module uses the norm. If the mean cross-entropy's gradient at zero weights is shorter than the
  penalty (few features, a small model), the minimum is at zero and all choices are equally likely.
* The code treats the padding after an item's last choice as choices with zero features, which get
  probability. Here they get none.
* The code fits again, with a quarter of the clip and four times the penalty, if weights are not
  finite, because the probability of an answer can round to 0. Log-probabilities cannot.
* The caller normalises features, in the same way for this recipe and the converged solver.

Shape legend: see `trainables.methods.probes.conditional_logit`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.data.seeding import seed_of
from trainables.methods.probes.conditional_logit import ChoiceItems, LogitFit, choice_items

NUM_STEPS = 100
LEARNING_RATE = 0.05
LAST_SHARE = 0.1
"""Share of the learning rate that remains after the last step."""

MAX_GRADIENT_NORM = 1.0
CLIP_FLOOR = 1e-6
"""Added to the norm that is clipped, as `torch.nn.utils.clip_grad_norm_` does."""


def fit_sgd(
    feature_ICF: Tensor,
    is_choice_IC: Tensor,
    target: Tensor,
    penalty: float = 1.0,
    weight_I: Tensor | None = None,
    *,
    names: Sequence[str | int],
) -> LogitFit:
    """Returns the weights after the last step, with the loss that was minimised.

    Args:
        feature_ICF: Features of each choice; places without a choice are ignored.
        is_choice_IC: Which of the C places hold a choice of the item.
        target: Place of the right choice, integers [I], or each choice's probability, [I, C].
        penalty: Factor of the weights' norm; the paper's is 1.
        weight_I: Weight of each item's cross-entropy, 0 or more; None: 1.
        names: Name the draw of the initial weights, the study's seed included.

    Raises:
        ValueError: If targets, weights or features are out of range.
    """
    weight_I = torch.ones(len(feature_ICF)) if weight_I is None else weight_I
    items = choice_items(feature_ICF, is_choice_IC, target, weight_I.double() / weight_I.sum())
    weight_F = _first_weights(feature_ICF.shape[2], names)
    loss, gradient_F = _loss_and_gradient(items, penalty, weight_F)
    for step in range(NUM_STEPS):
        rate = LEARNING_RATE * (1.0 - (1.0 - LAST_SHARE) * step / NUM_STEPS)
        clip = min(1.0, MAX_GRADIENT_NORM / (float(gradient_F.norm()) + CLIP_FLOOR))
        weight_F = weight_F - rate * clip * gradient_F
        loss, gradient_F = _loss_and_gradient(items, penalty, weight_F)
    return LogitFit(weight_F=weight_F, loss=loss, num_steps=NUM_STEPS)


def _loss_and_gradient(
    items: ChoiceItems, penalty: float, weight_F: Tensor
) -> tuple[float, Tensor]:
    cross_entropy, gradient_F = items.cross_entropy(weight_F)
    norm = weight_F.norm()
    gradient_F += penalty * weight_F / norm.clamp_min(1e-300)
    return float(penalty * norm) + cross_entropy, gradient_F


def _first_weights(num_features: int, names: Sequence[str | int]) -> Tensor:
    """Returns uniform weights in +-1 / sqrt(F), torch's initialization of a linear layer."""
    generator = torch.Generator().manual_seed(seed_of("first weights of a probe", *names))
    even_F = torch.rand(num_features, generator=generator, dtype=torch.float64)
    return (2.0 * even_F - 1.0) / num_features**0.5
