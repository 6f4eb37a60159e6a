"""What training asks of an engine.

Every worker of an engine calls the same methods in the same order and equally often. Training gives
each worker its share of a batch's items, and sees to it that all have equally many micro-batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor, nn
from transformers import PreTrainedModel

from search_spaces.recipes import WeightTraining


class Engine(Protocol):
    """One training: the parameters, their gradients and the optimizer's state."""

    @property
    def rank(self) -> int:
        """Which worker this is, from 0."""

    @property
    def world_size(self) -> int:
        """How many workers train together; 1: this one alone."""

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Adds the gradient of a micro-batch's loss to what `step` will take.

        `step` takes the sum over this worker's micro-batches, averaged over workers: the caller
        scales losses so that this is the gradient of the batch's mean loss.

        Args:
            loss: A scalar of this worker's micro-batch.
            is_last: Whether it is this worker's last one before `step`.
        """

    def overflows(self) -> bool:
        """Returns whether the gradient is not finite and fp16's loss scale may be the reason.

        The gradient is then forgotten and the scale halved: the caller makes the batch's backward
        passes again. So no update is skipped, however few a training makes.
        """

    def step(self, learning_rate: float) -> bool:
        """Clips the gradient's norm (over all parameters of all workers), updates, forgets it.

        Returns:
            Whether that norm was finite. Where it was not, the weights are of no more use: clipped
            by it, every one of them would be no number.
        """

    def mean(self, value: float) -> float:
        """Returns the mean of the workers' values; on one worker the value."""

    def finish(self) -> None:
        """Ends the training: answers of the trained model follow.

        Trained parameters are whole on every worker from here on, save those of a base that is
        sharded itself (`trainables.distributed.sharded_model`).
        """

    def state(self) -> dict[str, Tensor]:
        """Returns this worker's share of the training so far, between two steps, on the CPU."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state` returned on the worker of this rank, of as many workers.

        Raises:
            ValueError: If it is the state of another training.
        """


class MakeEngine(Protocol):
    """Starts the engine of one training.

    Its context holds the training and all answers of the trained model. When it ends nothing of
    the engine is left on the model.
    """

    def __call__(
        self,
        model: PreTrainedModel,
        parameters: Sequence[nn.Parameter],
        recipe: WeightTraining,
        masters: Sequence[nn.Parameter] | None = None,
    ) -> AbstractContextManager[Engine]:
        """Returns the context of an engine that trains `parameters` of `model`.

        Args:
            model: In eval mode, on this worker's device; forward passes call it directly.
            parameters: Those that are trained; all others are frozen.
            recipe: Weight decay and the largest norm of a gradient; the learning rate comes with
                every step.
            masters: What is stepped and then cast into the parameters, in their order
                (`trainables.distributed.mixed_precision`); None: the parameters themselves.
        """
