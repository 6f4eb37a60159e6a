"""Inputs and results of a cell, whatever its method."""

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
    """How a cell is run, which is no part of its identity. Records name unusual values."""

    engine: MakeEngine = plain_engine
    token_share: float = 1.0
    """Share of the usual number of tokens of a batch, in (0, 1]: it halves when memory runs out."""
    may_halve: bool = True
    """Whether a cell that runs out of memory is tried again in smaller batches by itself: not where
    workers run it together, who have to agree on it (`trainables.cells.worker`)."""
    worker_group: WorkerGroup = field(default_factory=WorkerGroup)
    """The workers that run the cell together. Their decisions must not depend on the last bits of
    numbers that each of them computes."""
    checkpoint: Checkpoint | None = None
    """Where a training stores its progress; None: the training of a lost worker starts over."""
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
"""Receives the number of the epoch that ended, from 1, and the method at that point."""

TrainedState = Mapping[str, Tensor]
"""Tensors on the CPU that restore a trained method: with them the base scores as it did."""


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
    """Everything that training and scoring of one cell share."""

    cell: Cell
    prompt: Prompt
    items: tuple[Item, ...]
    """All items of the task except test items that are not scored. The probe's hidden states are
    extracted for them."""
    states: StateCache
    """The states that the cells of this base model share."""
    log: Log
    test: tuple[Item, ...] = ()
    """Every test item that is scored. The first pass for hidden states scores them too."""
    probe_layers: tuple[Layer, ...] = ()
    """Hidden states that other cells will ask for; no score depends on them."""
    execution: Execution = field(default_factory=Execution)
    after_epoch: AfterEpoch | None = None
    """Called after each epoch of a training, which it stops by raising an error."""

    @property
    def names(self) -> tuple[str | int, ...]:
        """Names of the cell's random draws; they are the same in every round of self-training."""
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
    """Whether the text states an answer that names a choice, or a number for free answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """A method's answers to some items, in their order: scores, or generated texts."""

    log_probs: list[NDArray[np.float64]] | None = None
    """One array per item; its softmax gives the choices' probabilities."""
    generated: list[Generated] | None = None
    notes: tuple[str, ...] = ()
    """What a reader should know about how they were computed, one sentence each."""


class FittedMethod(Protocol):
    """A fitted method: it answers questions, and its state can be stored."""

    def answer(self, items: Sequence[Item]) -> Answers:
        """Returns scores of the items' choices in the order they have, or generated answers."""

    def state(self) -> TrainedState:
        """Returns what `restore` needs to answer in the same way."""
