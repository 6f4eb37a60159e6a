"""Answers that all workers of a team share, so that what follows from them is the same on all.

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
from trainables.distributed.worker_group import Team
from trainables.methods.base.interface import Answers, Fitted, TrainedState


@contextmanager
def answering_alike(context: AbstractContextManager[Fitted], team: Team) -> Iterator[Fitted]:
    """Yields the fitted method; in a team it answers what the first worker's does."""
    with context as fitted:
        yield fitted if team.size == 1 else _Alike(fitted=fitted, team=team)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Alike:
    fitted: Fitted
    team: Team

    def answer(self, items: Sequence[Item]) -> Answers:
        own = self.fitted.answer(items)
        scores = own.log_probs
        if scores is None:  # texts, which nothing but the record takes: the first worker's
            return own
        shared = self.team.as_first(lambda: [row.tolist() for row in scores])
        return replace(own, log_probs=[np.array(row, dtype=np.float64) for row in shared])

    def state(self) -> TrainedState:
        return self.fitted.state()
