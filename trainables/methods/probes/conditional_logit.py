"""The linear probe's converged solver: a ridge-penalised conditional logit, by Newton's method.

Loss: the sum over items of weight times the cross-entropy of softmax(X_i w) against the item's
target, plus l2 / 2 * |w|^2. It is strictly convex, so there is one answer, whatever the start;
items may have any number of choices.

Many regularisations of one draw are solved along one path (`fit_path`). What a fit finds depends on
its own items, weights and l2 alone: equal bytes whatever else is in the call, so a cell does not
know whether others were solved with it. The matrices are small; what is shared is the draw's
products of features and the solutions at half decades of l2, from which a fit starts. Draws are
solved one after the other: LAPACK does the work, and a stack of matrices would save none of it.

Shape legend: R rows (choices of all items but one per item), F features, I items, C the most
choices of an item, P fits of a call, U unknowns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10, sqrt
from typing import Any

import torch
from torch import Tensor

from trainables.methods.probes.logit_problem import LogitProblem, make_problem

GRADIENT_SHRINKAGE = 1e-8
"""The fit ends when the gradient's norm is this much of its norm at zero weights."""

MAX_STEPS = 200
MAX_HALVINGS = 40

SLOW = 0.3
"""A step that leaves more of the gradient than this asks for a new Hessian; else the old one is
used again, which saves most of a step's time."""

STEPS_PER_DECADE = 2
"""Of l2, where the path's solutions are kept; the fastest of 0.5, 1 and 2."""

ANCHOR_SHRINKAGE = 1e-4
"""As GRADIENT_SHRINKAGE, for the path's own solutions: they only are where fits start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogitFit:
    """A fitted probe."""

    weight_F: Tensor
    """float64."""
    loss: float
    """What the solver minimises, at the weights."""
    num_steps: int
    gradient_ratio: float
    """Norm of the gradient at the end over its norm at the start."""


def fit_conditional_logit(
    feature_ICF: Tensor,
    is_choice_IC: Tensor,
    target: Tensor,
    l2: float,
    weight_I: Tensor | None = None,
) -> LogitFit:
    """Returns the weights that minimise the penalised loss: `fit_path` of one regularisation.

    Args:
        feature_ICF: float64 features of each choice; what is no choice is ignored.
        is_choice_IC: Which of the C places hold a choice of the item.
        target: Place of the right choice, integers [I], or each choice's probability, [I, C].
        l2: Weight of the ridge penalty, above 0.
        weight_I: Weight of each item's cross-entropy, 0 or more; None: 1.

    Raises:
        ValueError: If targets or weights are not what they must be.
        RuntimeError: If the fit does not converge: l2 is too small for double precision, below
            about 1e-8 of the features' squared length where items contradict each other.
    """
    weight_PI = None if weight_I is None else weight_I[None]
    return fit_path(feature_ICF, is_choice_IC, target, [l2], weight_PI)[0]


def fit_path(
    feature_ICF: Tensor,
    is_choice_IC: Tensor,
    target: Tensor,
    l2s: Sequence[float],
    weight_PI: Tensor | None = None,
) -> list[LogitFit]:
    """Returns one fit per l2, byte-equal to as many calls of `fit_conditional_logit`.

    Args:
        feature_ICF: As there; shared by all fits.
        is_choice_IC: As there.
        target: As there.
        l2s: P penalties, in any order; one may stand there several times.
        weight_PI: Item weights of each fit, 0 or more; None: 1. An item of weight 0 is not there
            at all, so nested training sizes are rows of zeros and ones.

    Raises:
        ValueError: If targets, weights or penalties are not what they must be.
        RuntimeError: If a fit does not converge: its l2 is too small for double precision.
    """
    if not all(0.0 < l2 < float("inf") for l2 in l2s):
        raise ValueError(f"each l2 must be a number above 0, got {list(l2s)}")
    if weight_PI is None:
        weight_PI = torch.ones(1, len(feature_ICF)).expand(len(l2s), -1)
    if weight_PI.shape != (len(l2s), len(feature_ICF)):
        raise ValueError(
            f"weights must be one row per l2 and one column per item, {len(l2s)} x "
            f"{len(feature_ICF)}; got {tuple(weight_PI.shape)}"
        )
    paths: dict[tuple[float, ...], _Path] = {}
    fits = []
    for l2, weight_I in zip(l2s, weight_PI.double(), strict=True):
        key = tuple(weight_I.tolist())
        if key not in paths:
            paths[key] = _Path(make_problem(feature_ICF, is_choice_IC, target, weight_I))
        fits.append(paths[key].fit(l2))
    return fits


@dataclass(slots=True)
class _Path:
    """The solutions of one problem over l2."""

    problem: LogitProblem
    start_norm: float = field(init=False)
    """Of the gradient at zero weights, which is the same for every l2."""
    anchors: dict[int, Tensor] = field(init=False, default_factory=dict)
    """Exponent of l2, in steps -> solution there."""

    def __post_init__(self) -> None:
        zero_U = self.problem.zero()
        _, prob_IC = self.problem.cross_entropy(self.problem.scores(zero_U))
        gradient_U = self.problem.gradient(prob_IC, zero_U, 1.0)
        self.start_norm = _norm(gradient_U, self.problem.image(gradient_U))

    def fit(self, l2: float) -> LogitFit:
        """Returns the fit of one l2."""
        at = log10(l2) * STEPS_PER_DECADE
        unknown_U, fit = self._minimise(l2, self._start(at), GRADIENT_SHRINKAGE)
        return LogitFit(weight_F=self.problem.weights(unknown_U), **fit)

    def _start(self, at: float) -> Tensor:
        """Returns where Newton begins: on the line through the two solutions above."""
        if self.start_norm == 0.0:
            return self.problem.zero()
        top = ceil(log10(self.problem.scale) * STEPS_PER_DECADE)
        first = floor(at) + 1
        for exponent in range(top, first - 1, -1):
            if exponent not in self.anchors:
                start_U = self._extrapolate(exponent, exponent + 1)
                l2 = 10.0 ** (exponent / STEPS_PER_DECADE)
                self.anchors[exponent], _ = self._minimise(l2, start_U, ANCHOR_SHRINKAGE)
        return self._extrapolate(at, first)

    def _extrapolate(self, at: float, first: int) -> Tensor:
        if first not in self.anchors:
            return self.problem.zero()
        if first + 1 not in self.anchors:
            return self.anchors[first]
        return torch.lerp(self.anchors[first], self.anchors[first + 1], at - first)

    def _minimise(
        self, l2: float, unknown_U: Tensor, shrinkage: float
    ) -> tuple[Tensor, dict[str, Any]]:
        """Newton's method with halved steps, the Hessian's factor kept while it serves."""
        problem = self.problem
        loss, prob_IC = _loss(problem, unknown_U, l2)
        factor, last = None, float("inf")
        for step in range(MAX_STEPS + 1):
            gradient_U = problem.gradient(prob_IC, unknown_U, l2)
            image_U = problem.image(gradient_U)
            norm = _norm(gradient_U, image_U)
            if norm <= shrinkage * self.start_norm:
                ratio = norm / self.start_norm if self.start_norm else 0.0
                return unknown_U, {"loss": loss, "num_steps": step, "gradient_ratio": ratio}
            if factor is None or norm > SLOW * last:
                factor = problem.factor(prob_IC, l2)
            direction_U = factor.solve(gradient_U)
            slope = float(direction_U @ image_U)
            size, last = 1.0, norm
            for _ in range(MAX_HALVINGS):
                trial_U = unknown_U - size * direction_U
                trial_loss, trial_IC = _loss(problem, trial_U, l2)
                if trial_loss <= loss - 1e-4 * size * slope + 1e-12 * abs(loss):
                    break
                size /= 2
            unknown_U, loss, prob_IC = trial_U, trial_loss, trial_IC
        raise RuntimeError(
            f"the probe did not converge in {MAX_STEPS} steps: l2 {l2:g}, gradient {norm:.2g}, at "
            f"zero weights {self.start_norm:.2g}; use a larger l2"
        )


def _loss(problem: LogitProblem, unknown_U: Tensor, l2: float) -> tuple[float, Tensor]:
    cross_entropy, prob_IC = problem.cross_entropy(problem.scores(unknown_U))
    return cross_entropy + l2 / 2 * float(unknown_U @ problem.image(unknown_U)), prob_IC


def _norm(gradient_U: Tensor, image_U: Tensor) -> float:
    """Returns the norm of the gradient by the weights."""
    return sqrt(max(float(gradient_U @ image_U), 0.0))
