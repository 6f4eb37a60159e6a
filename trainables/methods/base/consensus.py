"""Broadcasts one worker's answers to its group, so that all go on from the same ones.

What is trained next may hang on an answer, such as which unlabelled items are confident enough.
Workers whose last bits differ would then train on other items, in other numbers of steps, and wait
for each other for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from trainables.data.items import Item
from trainables.distributed.worker_group import WorkerGroup
from trainables.methods.base.interface import Answers, FittedMethod, TrainedState


@contextmanager
def broadcast_answers(
    context: AbstractContextManager[FittedMethod], worker_group: WorkerGroup
) -> Iterator[FittedMethod]:
    """Yields the fitted method; in a worker group it answers what the first worker's does."""
    with context as fitted:
        yield (
            fitted
            if worker_group.size == 1
            else _Broadcast(fitted=fitted, worker_group=worker_group)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Broadcast:
    fitted: FittedMethod
    worker_group: WorkerGroup

    def answer(self, items: Sequence[Item]) -> Answers:
        own = self.fitted.answer(items)
        scores = own.log_probs
        if scores is None:  # texts, which nothing but the record takes: the first worker's
            return own
        shared = self.worker_group.broadcast_decision(lambda: [row.tolist() for row in scores])
        return replace(own, log_probs=[np.array(row, dtype=np.float64) for row in shared])

    def state(self) -> TrainedState:
        return self.fitted.state()
