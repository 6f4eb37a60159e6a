"""The interface between training and its engines.

Every worker of an engine calls the same methods in the same order and equally often. The training
loop divides the items of a batch among the workers into equally many micro-batches.
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
        """Index of this worker, from 0."""

    @property
    def world_size(self) -> int:
        """Number of workers that train together."""

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Accumulates the gradient of a micro-batch's loss.

        `step` uses the sum over this worker's micro-batches, averaged over workers. The caller
        scales losses so that this is the gradient of the batch's mean loss.

        Args:
            loss: A scalar of this worker's micro-batch.
            is_last: Whether it is this worker's last micro-batch before `step`.
        """

    def overflows(self) -> bool:
        """Returns whether the gradient is not finite and fp16's loss scale may be the reason.

        In that case it discards the gradient and halves the scale, and the caller repeats the
        batch's backward passes. So no update is skipped, however few a training makes.
        """

    def step(self, learning_rate: float) -> bool:
        """Clips the gradient's norm (over all parameters of all workers), updates, and clears it.

        Returns:
            Whether that norm was finite. If not, the training cannot continue: clipping by it would
            turn every weight into NaN.
        """

    def mean(self, value: float) -> float:
        """Returns the mean of the workers' values."""

    def finish(self) -> None:
        """Ends the training, before the trained model answers.

        From here on, every worker has all trained parameters, except those of a sharded base
        (`trainables.distributed.sharded_model`).
        """

    def state(self) -> dict[str, Tensor]:
        """Returns this worker's part of the training state between two steps, on the CPU."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state` returned on the worker of this rank, of equally many workers.

        Raises:
            ValueError: If the state belongs to another training.
        """


class MakeEngine(Protocol):
    """Starts the engine of one training.

    Its context covers the training and all answers of the trained model. Its end removes every
    trace of the engine from the model.
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
            parameters: The trained parameters; all others are frozen.
            recipe: Gives weight decay and the largest gradient norm; each step gets its learning
                rate.
            masters: Updated and then cast into the parameters, in their order
                (`trainables.distributed.mixed_precision`); None: the parameters themselves.
        """
