"""What a cell is given and what it gives back, whatever its method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.cell import Cell
from trainables.data.items import Item
from trainables.data.prompts.formats import Prompt
from trainables.distributed.engine import MakeEngine
from trainables.distributed.single_process import plain_engine
from trainables.distributed.worker_group import WorkerGroup
from trainables.inference.hidden_states import Layer, StateCache
from trainables.storage.checkpoints import Checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """No part of a cell's identity; a record says which was used where it is not the usual one."""

    engine: MakeEngine = plain_engine
    token_share: float = 1.0
    """Share of the usual number of tokens of a batch, in (0, 1]: it halves when memory runs out."""
    may_halve: bool = True
    """Whether a cell that runs out of memory is tried again in smaller batches by itself: not where
    workers run it together, who have to agree on it (`trainables.cells.worker`)."""
    worker_group: WorkerGroup = field(default_factory=WorkerGroup)
    """The workers that run the cell together: what they do next must not hang on the last bits of
    numbers that each of them computes."""
    checkpoint: Checkpoint | None = None
    """Where a training keeps how far it is; None: a lost worker's training begins anew."""
    checkpointing: bool | None = None
    """Whether states inside the layers are computed again for the gradient in place of being kept;
    None: where they would need more than `trainables.methods.training.gradient_checkpointing`
        allows."""

    def tokens(self, usual: int) -> int:
        """Returns how many tokens a batch may hold where `usual` is its usual number."""
        return max(1, int(usual * self.token_share))


Log = Callable[[Mapping[str, float]], None]
"""Receives one row per optimizer step: loss, learning_rate, step."""

AfterEpoch = Callable[[int, "FittedMethod"], None]
"""Receives the number of the epoch that has ended, from 1, and the method as it is by then."""

TrainedState = Mapping[str, Tensor]
"""What training made of the base: on the CPU, enough to score as the trained model does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """An item with the label that a cell learns from, which need not be gold."""

    item: Item
    answer: int
    """Index of the label in the item's choices."""
    weight: float = 1.0
    """Of its loss, >= 0; below 1 for pseudo-labels that are weighted by confidence."""
    smoothing: float = 0.0
    """Share of the label that is spread over all choices, in [0, 1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellContext:
    """What all that is trained and scored in one cell shares."""

    cell: Cell
    prompt: Prompt
    items: tuple[Item, ...]
    """All items of the task but test items that are not scored. The probe's states are extracted
    over them."""
    states: StateCache
    """The states that the cells of this base model share."""
    log: Log
    test: tuple[Item, ...] = ()
    """Every test item that is scored. They are the first pass of the states, which scores them
    too."""
    probe_layers: tuple[Layer, ...] = ()
    """Hidden states that other cells will ask for: execution, no score depends on them."""
    execution: Execution = field(default_factory=Execution)
    after_epoch: AfterEpoch | None = None
    """Looks on while weights are trained, and may raise to stop it."""

    @property
    def names(self) -> tuple[str | int, ...]:
        """What names the cell's random draws: those of one draw are alike in every round."""
        cell = self.cell
        return (cell.study_seed, cell.seed or 0, cell.training_hash or "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """An answer that was generated."""

    text: str
    predicted: int | None
    """Index of the answer in the item's choices; None where the text has no answer of them."""
    is_correct: bool
    is_readable: bool
    """Whether the text states an answer that names a choice, or a number where it is free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What a method answers to some items, in their order: scores, or generated texts."""

    log_probs: list[NDArray[np.float64]] | None = None
    """One array per item; its softmax gives the choices' probabilities."""
    generated: list[Generated] | None = None
    notes: tuple[str, ...] = ()
    """What a reader should know of how they were found, a sentence each."""


class FittedMethod(Protocol):
    """A method with its labels used: it answers, and its state can be kept."""

    def answer(self, items: Sequence[Item]) -> Answers:
        """Returns scores of the items' choices in the order they have, or generated answers."""

    def state(self) -> TrainedState:
        """Returns what `restore` needs to answer in the same way."""
