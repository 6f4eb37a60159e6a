"""A conditional logit as its solver sees it: differences of choices, in the fewer unknowns.

Only differences between an item's choices matter, so one choice per item, the one with the most
target, is the zero of the others' scores. The unknowns are the weights, or, where there are fewer
rows than features, one coefficient per row: the best weights lie in the span of the rows, and
everything is said by the products of rows, [R, R].

Shape legend: see `trainables.methods.probes.conditional_logit`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

REFERENCE_FLOOR = 1e-8
"""Least probability of an item's reference choice in the Hessian's inverse blocks. Below it, the
item's curvature counts for more than it is, which only shortens steps; without it, the blocks could
not be told from singular ones."""

PROBABILITY_FLOOR = 1e-100

TARGET_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Factor:
    """A Hessian that was factored."""

    solve: Callable[[Tensor], Tensor]
    """Gradient -> Newton direction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogitProblem(ABC):
    """Items, their targets and weights; the unknowns' meaning is the subclass's."""

    difference_RF: Tensor
    """Features of each row less those of its item's reference choice."""
    is_row_IC: Tensor
    is_choice_IC: Tensor
    item_R: Tensor
    target_IC: Tensor
    weight_I: Tensor

    @property
    def scale(self) -> float:
        """Mean weighted square of a row: from about this l2 on, the penalty rules."""
        square_R = self.difference_RF.square().sum(dim=1)
        return float((square_R * self.weight_I[self.item_R]).mean())

    def cross_entropy(self, score_R: Tensor) -> tuple[float, Tensor]:
        """Returns the weighted sum of cross-entropies and each choice's probability, [I, C]."""
        score_IC = torch.zeros_like(self.target_IC).masked_scatter_(self.is_row_IC, score_R)
        log_prob_IC = score_IC.masked_fill(~self.is_choice_IC, -torch.inf).log_softmax(dim=1)
        expected_I = (self.target_IC * log_prob_IC.masked_fill(~self.is_choice_IC, 0.0)).sum(dim=1)
        return -float(self.weight_I @ expected_I), log_prob_IC.exp()

    def error(self, prob_IC: Tensor) -> Tensor:
        """Returns the derivative of the cross-entropies by the rows' scores."""
        return (self.weight_I[:, None] * (prob_IC - self.target_IC))[self.is_row_IC]

    @abstractmethod
    def zero(self) -> Tensor:
        """Returns the unknowns of zero weights."""

    @abstractmethod
    def weights(self, unknown_U: Tensor) -> Tensor:
        """Returns the weights, [F]."""

    @abstractmethod
    def scores(self, unknown_U: Tensor) -> Tensor:
        """Returns the rows' scores."""

    @abstractmethod
    def image(self, unknown_U: Tensor) -> Tensor:
        """Returns what makes inner products of weight vectors: those of `left_U @ image`."""

    @abstractmethod
    def gradient(self, prob_IC: Tensor, unknown_U: Tensor, l2: float) -> Tensor:
        """Returns the gradient, in the unknowns' own terms."""

    @abstractmethod
    def factor(self, prob_IC: Tensor, l2: float) -> Factor:
        """Returns the factored Hessian."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrimalProblem(LogitProblem):
    """The unknowns are the weights."""

    def zero(self) -> Tensor:
        """Returns the unknowns of zero weights."""
        return torch.zeros(self.difference_RF.shape[1], dtype=torch.float64)

    def weights(self, unknown_U: Tensor) -> Tensor:
        """Returns the weights, [F]."""
        return unknown_U

    def scores(self, unknown_U: Tensor) -> Tensor:
        """Returns the rows' scores."""
        return self.difference_RF @ unknown_U

    def image(self, unknown_U: Tensor) -> Tensor:
        """Returns the weights: they are what they stand for."""
        return unknown_U

    def gradient(self, prob_IC: Tensor, unknown_U: Tensor, l2: float) -> Tensor:
        """Returns the gradient by the weights."""
        return self.difference_RF.T @ self.error(prob_IC) + l2 * unknown_U

    def factor(self, prob_IC: Tensor, l2: float) -> Factor:
        """Returns the Hessian: each item's covariance of features under its probabilities."""
        prob_R, difference_RF = prob_IC[self.is_row_IC], self.difference_RF
        mean_IF = torch.zeros(len(prob_IC), difference_RF.shape[1], dtype=torch.float64)
        mean_IF.index_add_(0, self.item_R, prob_R[:, None] * difference_RF)
        mass_R = (self.weight_I[self.item_R] * prob_R).sqrt()
        reference_I = (prob_IC * (self.is_choice_IC & ~self.is_row_IC)).sum(dim=1)
        centred_XF = torch.cat(
            [
                mass_R[:, None] * (difference_RF - mean_IF[self.item_R]),
                (self.weight_I * reference_I).sqrt()[:, None] * mean_IF,
            ]
        )
        hessian_UU = centred_XF.T @ centred_XF
        hessian_UU.diagonal().add_(l2)
        factor_UU = _cholesky(hessian_UU)
        return Factor(solve=lambda gradient_U: _solve(factor_UU, gradient_U))


@dataclass(frozen=True, kw_only=True, slots=True)
class DualProblem(LogitProblem):
    """The unknowns are coefficients of the rows: weights = coefficients @ rows."""

    product_RR: Tensor
    pair_2N: Tensor
    """Rows of one item, every ordered pair of them."""

    def zero(self) -> Tensor:
        """Returns the unknowns of zero weights."""
        return torch.zeros(len(self.item_R), dtype=torch.float64)

    def weights(self, unknown_U: Tensor) -> Tensor:
        """Returns the weights, [F]."""
        return self.difference_RF.T @ unknown_U

    def scores(self, unknown_U: Tensor) -> Tensor:
        """Returns the rows' scores."""
        return self.product_RR @ unknown_U

    def image(self, unknown_U: Tensor) -> Tensor:
        """Returns the products of the rows with the weight vector: its scores."""
        return self.product_RR @ unknown_U

    def gradient(self, prob_IC: Tensor, unknown_U: Tensor, l2: float) -> Tensor:
        """Returns the coefficients of the gradient by the weights."""
        return self.error(prob_IC) + l2 * unknown_U

    def factor(self, prob_IC: Tensor, l2: float) -> Factor:
        """Returns the factor of K + l2 / W, for (W K + l2) direction = gradient.

        K holds the products of rows and W an item's curvature by its scores, diag(p) - p p^T, whose
        inverse is diag(1 / p) + 1 / p of the reference choice (Sherman-Morrison).
        """
        is_reference_IC = self.is_choice_IC & ~self.is_row_IC
        reference_I = (prob_IC * is_reference_IC).sum(dim=1).clamp_min(REFERENCE_FLOOR)
        shared_I = 1.0 / (self.weight_I * reference_I)
        own_R = prob_IC[self.is_row_IC].clamp_min(PROBABILITY_FLOOR)
        own_R = 1.0 / (self.weight_I[self.item_R] * own_R)
        system_RR = self.product_RR.clone()
        flat_N = self.pair_2N[0] * len(self.item_R) + self.pair_2N[1]
        system_RR.view(-1).index_add_(0, flat_N, l2 * shared_I[self.item_R[self.pair_2N[0]]])
        system_RR.diagonal().add_(l2 * own_R)
        factor_RR = _cholesky(system_RR)

        def solve(gradient_R: Tensor) -> Tensor:
            sum_I = torch.zeros_like(shared_I).index_add_(0, self.item_R, gradient_R)
            return _solve(factor_RR, own_R * gradient_R + (shared_I * sum_I)[self.item_R])

        return Factor(solve=solve)


def make_problem(
    feature_ICF: Tensor, is_choice_IC: Tensor, target: Tensor, weight_I: Tensor
) -> LogitProblem:
    """Returns the problem of the items whose weight is above 0.

    Raises:
        ValueError: If targets or weights are not what they must be, or no item has a weight.
    """
    weight_I = check_weights(weight_I)
    kept_I = weight_I > 0
    target_IC = check_target(target, is_choice_IC)[kept_I]
    feature_ICF, is_choice_IC = feature_ICF[kept_I].double(), is_choice_IC[kept_I]
    reference_I = target_IC.masked_fill(~is_choice_IC, -1.0).argmax(dim=1)
    places_C = torch.arange(is_choice_IC.shape[1])
    is_row_IC = is_choice_IC & (places_C != reference_I[:, None])
    item_R = is_row_IC.nonzero()[:, 0]
    reference_IF = feature_ICF[torch.arange(len(feature_ICF)), reference_I]
    difference_RF = feature_ICF[is_row_IC] - reference_IF[item_R]
    parts = {
        "difference_RF": difference_RF,
        "is_row_IC": is_row_IC,
        "is_choice_IC": is_choice_IC,
        "item_R": item_R,
        "target_IC": target_IC,
        "weight_I": weight_I[kept_I],
    }
    if not bool(difference_RF.isfinite().all()):
        raise ValueError("features of choices must be finite numbers")
    if difference_RF.shape[1] <= difference_RF.shape[0]:
        return PrimalProblem(**parts)
    pair_2N = (item_R[:, None] == item_R).nonzero().T
    return DualProblem(**parts, product_RR=difference_RF @ difference_RF.T, pair_2N=pair_2N)


def check_target(target: Tensor, is_choice_IC: Tensor) -> Tensor:
    """Returns the targets as probabilities, [I, C].

    Args:
        target: Places of the right choices, integers [I], or probabilities [I, C].
        is_choice_IC: Which places hold a choice.

    Raises:
        ValueError: If a target is on what is no choice, or is no distribution.
    """
    if target.ndim == 1:
        target = torch.nn.functional.one_hot(target, is_choice_IC.shape[1])
    target_IC = target.double()
    off = (target_IC.sum(dim=1) - 1.0).abs() > TARGET_TOLERANCE
    off |= (target_IC < 0).any(dim=1) | (target_IC * ~is_choice_IC).bool().any(dim=1)
    if bool(off.any()) or target_IC.shape != is_choice_IC.shape:
        raise ValueError(
            "targets must be probabilities over an item's own choices that sum to 1; see item "
            f"{off.nonzero()[:1].flatten().tolist()} of the call"
        )
    return target_IC


def check_weights(weight_I: Tensor) -> Tensor:
    """Returns the item weights in float64.

    Raises:
        ValueError: If one is below 0 or not finite, or none is above 0.
    """
    if not bool((weight_I >= 0).all() & weight_I.isfinite().all() & (weight_I > 0).any()):
        raise ValueError("item weights must be finite, 0 or more, and one of them above 0")
    return weight_I.double()


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


def _cholesky(system_UU: Tensor) -> Tensor:
    """Returns the factor; where rounding makes the system singular, a little is added to it."""
    added = 1e-14 * float(system_UU.diagonal().median())
    factor_UU, failed = torch.linalg.cholesky_ex(system_UU.mT)
    while bool(failed) and added < float("inf"):
        system_UU.diagonal().add_(added)
        added *= 10.0
        factor_UU, failed = torch.linalg.cholesky_ex(system_UU.mT)
    return factor_UU


def _solve(factor_UU: Tensor, right_U: Tensor) -> Tensor:
    """Returns the solution; `torch.cholesky_solve` would copy the factor each time."""
    half_U1 = torch.linalg.solve_triangular(factor_UU, right_U[:, None], upper=False)
    return torch.linalg.solve_triangular(factor_UU.mT, half_U1, upper=True)[:, 0]
