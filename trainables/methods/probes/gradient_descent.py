"""The linear probe's recipe `paper`: gradient descent with a norm penalty, as it was published.

Loss: the weighted mean over items of the cross-entropy of softmax(X_i w), plus penalty * |w|, the
norm itself and not its square. 100 steps over all items at once, learning rate 0.05 falling in a
line to a tenth, the gradient's norm clipped at 1. It does not converge and is not meant to.

Source: arXiv:2401.06751, appendix D, and the released code's `models/probes.py`. Where they are at
odds, or the code does what the text does not say:

* The text calls the penalty l2 regularization with lambda 1; the code adds the norm, whose gradient
  has length 1 however small the weights are. The published numbers are the code's, so this is the
  norm. Where the mean cross-entropy's gradient at zero weights is shorter than the penalty, the
  minimum is at zero and the probe says nothing: few features, a small model.
* The code lets the places behind an item's last choice take part with features of zero, so they get
  probability. Here they get none.
* The code fits again, with a quarter of the clip and four times the penalty, where weights are not
  finite; there, the probability of an answer rounds to 0. Log-probabilities do not, so no fit needs
  it.
* How features are normalised is the caller's: the same for this recipe and the converged solver.

Shape legend: see `trainables.methods.probes.conditional_logit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trainables.data.seeding import seed_of
from trainables.methods.probes.conditional_logit import ChoiceItems, LogitFit, choice_items

NUM_STEPS = 100
LEARNING_RATE = 0.05
LAST_SHARE = 0.1
"""Of the learning rate that the line would reach after the last step."""

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
        feature_ICF: Features of each choice; what is no choice is ignored.
        is_choice_IC: Which of the C places hold a choice of the item.
        target: Place of the right choice, integers [I], or each choice's probability, [I, C].
        penalty: Factor of the weights' norm; the paper's is 1.
        weight_I: Weight of each item's cross-entropy, 0 or more; None: 1.
        names: Names the draw of the first weights, with the study's seed among them.

    Raises:
        ValueError: If targets, weights or features are not what they must be.
    """
    items = choice_items(feature_ICF, is_choice_IC, target, weight_I)
    items = replace(items, weight_I=items.weight_I / items.weight_I.sum())
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
    """Returns weights drawn evenly from +- 1 / sqrt(F), as torch begins a linear layer."""
    generator = torch.Generator().manual_seed(seed_of("first weights of a probe", *names))
    even_F = torch.rand(num_features, generator=generator, dtype=torch.float64)
    return (2.0 * even_F - 1.0) / num_features**0.5
