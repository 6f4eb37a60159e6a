"""The linear probe's converged solver: a ridge-penalised conditional logit, fitted by L-BFGS.

Loss: the sum over items of weight times the cross-entropy of softmax(X_i w) against the item's
target, plus l2 / 2 * |w|^2. It is strictly convex, so it has one minimum.

Shape legend: I items, C the most choices of an item, R = I * C rows, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

WANTED_GAP = 1e-12
"""A fit ends when its loss is certain to be at most this share above the minimum."""

ACCEPTED_GAP = 1e-6
"""The same for fits that rounding stops earlier, because l2 is small against the curvature."""

MAX_EVALUATIONS = 20_000

MEMORY = 40
"""Earlier steps that L-BFGS approximates the curvature by."""

TARGET_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class LogitFit:
    """A fitted probe."""

    weight_F: Tensor
    """float64."""
    loss: float
    """The minimised loss, penalty included."""
    num_steps: int
    """Evaluations of the loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceItems:
    """Items of some choices: what the cross-entropy depends on besides the weights."""

    feature_ICF: Tensor
    """float64; 0 in places without a choice."""
    mask_IC: Tensor
    """0 in places of a choice; elsewhere the lowest float64, so that its probability is 0."""
    target_IC: Tensor
    """Probability of each choice times the item's weight."""
    weight_I: Tensor

    def cross_entropy(self, weight_F: Tensor) -> tuple[float, Tensor]:
        """Returns the weighted sum of the items' cross-entropies and its gradient, [F]."""
        feature_RF = self.feature_ICF.flatten(0, 1)
        score_IC = torch.mv(feature_RF, weight_F).view_as(self.mask_IC)
        log_prob_IC = (score_IC + self.mask_IC).log_softmax(dim=1)
        error_IC = self.weight_I[:, None] * log_prob_IC.exp() - self.target_IC
        gradient_F = torch.mv(feature_RF.T, error_IC.flatten())
        return -float(self.target_IC.flatten() @ log_prob_IC.flatten()), gradient_F


def fit_conditional_logit(
    feature_ICF: Tensor,
    is_choice_IC: Tensor,
    target: Tensor,
    l2: float,
    weight_I: Tensor | None = None,
) -> LogitFit:
    """Returns the weights that minimise the penalised loss.

    Args:
        feature_ICF: Features of each choice; places without a choice are ignored.
        is_choice_IC: Which of the C places hold a choice of the item.
        target: Place of the right choice, integers [I], or each choice's probability, [I, C].
        l2: Weight of the ridge penalty, above 0.
        weight_I: Weight of each item's cross-entropy, 0 or more; None: 1. Items of weight 0 are
            left out.

    Raises:
        ValueError: If targets, weights, features or l2 are out of range.
        RuntimeError: If the fit does not converge, because l2 is too small for double precision.
    """
    if not 0.0 < l2 < float("inf"):
        raise ValueError(f"l2 must be a finite number above 0, got {l2}")
    items = _centred(choice_items(feature_ICF, is_choice_IC, target, weight_I))
    penalised = _PenalisedLoss(items=items, l2=l2)
    start_F = np.zeros(feature_ICF.shape[2])
    start_loss, _ = penalised(start_F)

    def stop_at_the_minimum(intermediate_result: OptimizeResult) -> None:
        if penalised.gap <= WANTED_GAP * penalised.loss:
            raise StopIteration

    result = minimize(
        penalised,
        start_F,
        jac=True,
        method="L-BFGS-B",
        callback=stop_at_the_minimum,
        options={
            "maxcor": MEMORY,
            "maxfun": MAX_EVALUATIONS,
            "maxiter": MAX_EVALUATIONS,
            "ftol": 0.0,
            "gtol": 0.0,
        },
    )
    loss, _ = penalised(result.x)
    if penalised.gap > ACCEPTED_GAP * max(loss, ACCEPTED_GAP * start_loss):
        raise RuntimeError(
            f"the probe did not converge in {result.nfev} steps with l2 {l2:g}: its loss is "
            f"{loss:.6g}, up to {penalised.gap:.2g} above the minimum; use a larger l2"
        )
    return LogitFit(weight_F=torch.from_numpy(result.x), loss=loss, num_steps=result.nfev)


def _centred(items: ChoiceItems) -> ChoiceItems:
    """Returns the items without what their choices share, which the softmax ignores."""
    is_choice_IC = items.mask_IC == 0
    mean_IF = items.feature_ICF.sum(dim=1) / is_choice_IC.sum(dim=1, keepdim=True)
    shared_ICF = mean_IF[:, None] * is_choice_IC[:, :, None]
    return replace(items, feature_ICF=items.feature_ICF - shared_ICF)


@dataclass(kw_only=True, slots=True)
class _PenalisedLoss:
    """The loss and its gradient, and both at the weights of the last call."""

    items: ChoiceItems
    l2: float
    loss: float = field(init=False)
    gradient_F: Tensor = field(init=False)

    def __call__(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight_F = torch.from_numpy(weights)
        cross_entropy, gradient_F = self.items.cross_entropy(weight_F)
        self.loss = cross_entropy + self.l2 / 2 * float(weight_F @ weight_F)
        self.gradient_F = gradient_F + self.l2 * weight_F
        return self.loss, self.gradient_F.numpy()

    @property
    def gap(self) -> float:
        """Bound on how far the loss is above its minimum: |gradient|^2 / (2 l2).

        The curvature is at least l2 everywhere (Boyd and Vandenberghe 2004, equation 9.9).
        """
        return float(self.gradient_F @ self.gradient_F) / (2.0 * self.l2)


def choice_items(
    feature_ICF: Tensor, is_choice_IC: Tensor, target: Tensor, weight_I: Tensor | None
) -> ChoiceItems:
    """Returns the items of a weight above 0; None: all weigh 1.

    Raises:
        ValueError: If targets, weights or features are out of range.
    """
    weight_I = torch.ones(len(feature_ICF)) if weight_I is None else weight_I
    if not bool((weight_I >= 0).all() & weight_I.isfinite().all() & (weight_I > 0).any()):
        raise ValueError("item weights must be finite, 0 or more, and one of them above 0")
    target_IC = _check_target(target, is_choice_IC)
    feature_ICF = torch.where(is_choice_IC[:, :, None], feature_ICF.double(), 0.0)
    if not bool(feature_ICF.sum().isfinite()):
        raise ValueError("features of choices must be finite numbers")
    kept = (weight_I > 0).nonzero().flatten()
    lowest = torch.finfo(torch.float64).min
    return ChoiceItems(
        feature_ICF=feature_ICF[kept],
        mask_IC=torch.zeros_like(target_IC).masked_fill(~is_choice_IC, lowest)[kept],
        target_IC=(target_IC * weight_I.double()[:, None])[kept],
        weight_I=weight_I[kept].double(),
    )


def _check_target(target: Tensor, is_choice_IC: Tensor) -> Tensor:
    """Returns the targets as probabilities, [I, C]; refuses what is no distribution."""
    if target.ndim == 1:
        target = torch.nn.functional.one_hot(target, is_choice_IC.shape[1])
    target_IC = target.double()
    is_wrong_I = (target_IC.sum(dim=1) - 1.0).abs() > TARGET_TOLERANCE
    is_wrong_I |= (target_IC < 0).any(dim=1) | (target_IC * ~is_choice_IC).bool().any(dim=1)
    if bool(is_wrong_I.any()) or target_IC.shape != is_choice_IC.shape:
        raise ValueError(
            "targets must be probabilities over an item's own choices that sum to 1; see item "
            f"{is_wrong_I.nonzero()[:1].flatten().tolist()} of the call"
        )
    return target_IC


def smooth_targets(answer_I: Tensor, is_choice_IC: Tensor, smoothing: float | Tensor) -> Tensor:
    """Returns (1 - smoothing) on the answer plus smoothing spread evenly over the item's choices.

    Args:
        answer_I: Place of the right choice.
        is_choice_IC: Which places hold a choice.
        smoothing: 0 to 1, or one for each item, [I, 1].
    """
    one_hot_IC = torch.nn.functional.one_hot(answer_I, is_choice_IC.shape[1])
    even_IC = is_choice_IC.double() / is_choice_IC.sum(dim=1, keepdim=True)
    return (1.0 - smoothing) * one_hot_IC + smoothing * even_IC
