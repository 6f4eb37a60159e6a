"""How a cell is run: what changes its time and its memory, and its numbers by rounding alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainables.checkpoints import Checkpoint
from trainables.engines import MakeEngine
from trainables.engines.plain import plain_engine
from trainables.team import Team


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """No part of a cell's identity; a record says which was used where it is not the usual one."""

    engine: MakeEngine = plain_engine
    token_share: float = 1.0
    """Share of the usual number of tokens of a batch, in (0, 1]: it halves when memory runs out."""
    may_halve: bool = True
    """Whether a cell that runs out of memory is tried again in smaller batches by itself: not where
    workers run it together, who have to agree on it (`trainables.worker`)."""
    team: Team = field(default_factory=Team)
    """The workers that run the cell together: what they do next must not hang on the last bits of
    numbers that each of them computes."""
    checkpoint: Checkpoint | None = None
    """Where a training keeps how far it is; None: a lost worker's training begins anew."""
    checkpointing: bool | None = None
    """Whether states inside the layers are computed again for the gradient in place of being kept;
    None: where they would need more than `trainables.methods.checkpointing` allows."""

    def tokens(self, usual: int) -> int:
        """Returns how many tokens a batch may hold where `usual` is its usual number."""
        return max(1, int(usual * self.token_share))
