"""Hidden states for the probe, at an answer's last token, shared by all cells of one base model.

States are extracted for all items of a task in the order of their ids, the test items in one pass
and the rest in another. A cell's numbers therefore do not depend on which cells ran before it, and
the zero-shot cell uses the pass over the test items too (`trainables.inference.forward_pass`).

Shape legend: see `trainables.inference.packing`; A counts the choices of all items, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from trainables.data.items import Item
from trainables.data.prompts.formats import Prompt
from trainables.data.seeding import ids_hash
from trainables.distributed.worker_group import WorkerGroup
from trainables.inference.forward_pass import PassResult, count_layers, run_forward
from trainables.inference.hidden_state_files import (
    InvalidStatesError,
    LayerStates,
    StateFiles,
    state_key,
)
from trainables.inference.scoring import ScoredItems, default_token_budget
from trainables.models.loading import Base

Layer = Literal["middle", "last"] | int

LAYERS: tuple[Layer, ...] = ("middle", "last")
"""The paper's."""


def layer_number(layer: Layer, num_layers: int) -> int:
    """Returns the number of a hidden state: 0 the embeddings, `num_layers` after the final norm.

    The middle of the `num_layers + 1` states is number ceil((num_layers + 1) / 2), counted from 0.
    Source: arXiv:2401.06751, appendix D, and the released code's `models/probes.py`.

    Raises:
        ValueError: If the model has no such state.
    """
    if layer == "middle":
        return ceil((num_layers + 1) / 2)
    if layer == "last":
        return num_layers
    if not isinstance(layer, int) or not 0 <= layer <= num_layers:
        raise ValueError(
            f"a layer is 'middle', 'last' or a number from 0 (the embeddings) to {num_layers} on "
            f"this model, got {layer!r}"
        )
    return layer


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskStates:
    """The states of items of a task."""

    parts: tuple[Mapping[int, LayerStates], ...]
    """Per pass: layer -> states."""
    num_layers: int
    """Of the model."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know about the extraction, each sentence once."""
        notes = (note for states in self.parts for layer in states.values() for note in layer.notes)
        return tuple(dict.fromkeys(notes))

    def of(self, items: Sequence[Item], layers: Sequence[Layer]) -> tuple[Tensor, list[int]]:
        """Returns the features of the items' choices, float64 [R, layers * H], item by item.

        The second value is the number of rows of each item.

        Raises:
            KeyError: If an item or a layer was not extracted.
            ValueError: If an item does not fit into the model's context; names it.
        """
        numbers = [layer_number(layer, self.num_layers) for layer in layers]
        places: dict[str, tuple[int, slice]] = {}
        for number, states in enumerate(self.parts):
            start = 0
            for id_, count in states[numbers[0]].counts.items():
                places[id_] = (number, slice(start, start + count))
                start += count
        rows = []
        for item in items:
            at, where = places[item.id]
            if where.start == where.stop:
                raise ValueError(
                    f"item {item.id!r}: with its longest choice it does not fit into the model's "
                    "context; leave the item out or use a model with a longer context"
                )
            states = self.parts[at]
            rows.append(torch.cat([states[layer].state_AH[where] for layer in numbers], dim=1))
        return torch.cat(rows).double(), [len(row) for row in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pass:
    """One pass over items of a task."""

    items: Sequence[Item]
    """Sorted by id."""
    place: tuple[str, ...]
    """In the cache."""
    layers: dict[int, LayerStates]
    """Known states."""
    missing: Sequence[int]
    """Layers that are still to be extracted."""
    names: Mapping[int, str]
    """Layer -> name of its file."""
    files: StateFiles | None
    faults: Mapping[int, tuple[str, ...]]
    """Layer -> why its file could not be used."""


@dataclass(kw_only=True, slots=True)
class StateCache:
    """The states that the cells of one base model share."""

    files: StateFiles | None = None
    """Files that outlive the process; None: no files."""
    worker_group: WorkerGroup = field(default_factory=WorkerGroup)
    """The workers that extract states together: all read a file, or none does."""
    _layers: dict[tuple[str, ...], dict[int, LayerStates]] = field(default_factory=dict)
    _scores: dict[tuple[str, ...], tuple[dict[str, int], ScoredItems]] = field(default_factory=dict)

    def get(
        self,
        base: Base,
        items: Sequence[Item],
        prompt: Prompt,
        *,
        key: tuple[str, ...],
        layers: Sequence[Layer] = LAYERS,
        test: Sequence[Item] = (),
        to_file: bool = True,
        token_budget: int | None = None,
    ) -> TaskStates:
        """Returns the items' states, extracted now or before.

        Args:
            base: The one base model of this cache.
            items: All items of the task.
            prompt: How an item becomes text.
            key: Everything else that the numbers depend on: the base's content, number format and
                quantization, hashes of the items and the prompt, the kind of host.
            layers: Which hidden states.
            test: Items of the first pass, those of `scores`; the rest are the second's.
            to_file: Whether to use files; not for items in a form that only one cell uses.
            token_budget: Tokens of a batch at most; None: the usual number. Other batches round
                differently, so their states are neither shared nor stored in files.
        """
        tested = {item.id for item in test}
        rest = [item for item in items if item.id not in tested]
        passes = [
            self._start(base, some, key, layers, token_budget, to_file=to_file)
            for some in (test, rest)
            if some
        ]
        for one in passes:
            if one.missing:
                result = run_forward(
                    base, one.items, prompt, layers=one.missing, token_budget=token_budget
                )
                self._keep(one, result)
        return TaskStates(
            parts=tuple(one.layers for one in passes), num_layers=count_layers(base.model)
        )

    def scores(
        self,
        base: Base,
        items: Sequence[Item],
        prompt: Prompt,
        *,
        key: tuple[str, ...],
        layers: Sequence[Layer] = (),
        token_budget: int | None = None,
    ) -> ScoredItems:
        """Returns the items' zero-shot scores, in their order, computed now or before.

        Args:
            base: The one base model of this cache.
            items: The test items.
            prompt: How an item becomes text.
            key: As for `get`.
            layers: Hidden states to extract in the same pass, for probes; the scores are the same
                bytes with and without.
            token_budget: As for `get`.
        """
        one = self._start(base, items, key, layers, token_budget)
        if one.place not in self._scores:
            result = run_forward(
                base,
                one.items,
                prompt,
                layers=one.missing,
                with_scores=True,
                token_budget=token_budget,
            )
            self._keep(one, result)
        rows, scored = self._scores[one.place]
        return ScoredItems(
            log_probs=[scored.log_probs[rows[item.id]] for item in items], notes=scored.notes
        )

    def _start(
        self,
        base: Base,
        items: Sequence[Item],
        key: tuple[str, ...],
        layers: Sequence[Layer],
        token_budget: int | None,
        *,
        to_file: bool = True,
    ) -> _Pass:
        """Returns a pass over the items, with the layers that are known or that files hold."""
        files = self.files if to_file else None
        if token_budget not in (None, default_token_budget(base.model)):
            key, files = (*key, f"batches of {token_budget} tokens"), None
        num_layers = count_layers(base.model)
        numbers = sorted({layer_number(layer, num_layers) for layer in layers})
        items = sorted(items, key=lambda item: item.id)
        ids = [item.id for item in items]
        place = (*key, ids_hash(ids))
        kept = self._layers.setdefault(place, {})
        names = {layer: state_key(key, ids, layer, base.device.type) for layer in numbers}
        asked = [layer for layer in numbers if layer not in kept]
        faults = {} if files is None else self._read(kept, files, names, ids, asked)
        return _Pass(
            items=items,
            place=place,
            layers=kept,
            missing=[layer for layer in numbers if layer not in kept],
            names=names,
            files=files,
            faults=faults,
        )

    def _keep(self, one: _Pass, result: PassResult) -> None:
        """Keeps what the pass gave, in the process and in files."""
        for layer in one.missing:
            states = LayerStates(
                state_AH=result.states[layer], counts=result.counts, notes=result.notes
            )
            fault = None
            if one.files is not None and self.worker_group.is_first:
                fault = one.files.write(one.names[layer], states)
            notes = (*result.notes, *one.faults.get(layer, ()), *filter(None, [fault]))
            one.layers[layer] = replace(states, notes=notes)
        if result.log_probs is not None:
            scored = ScoredItems(log_probs=result.log_probs, notes=result.notes)
            rows = {item.id: row for row, item in enumerate(one.items)}
            self._scores[one.place] = (rows, scored)

    def _read(
        self,
        kept: dict[int, LayerStates],
        files: StateFiles,
        names: Mapping[int, str],
        ids: Sequence[str],
        layers: Sequence[int],
    ) -> dict[int, tuple[str, ...]]:
        """Reads the layers that every worker finds in a file; returns faults of files by layer."""
        faults: dict[int, tuple[str, ...]] = {}
        for layer in layers:
            try:
                states = files.read(names[layer], ids)
            except InvalidStatesError as error:
                faults[layer], states = (f"states extracted again: {error}",), None
            if self.worker_group.all_agree(states is not None) and states is not None:
                kept[layer] = states
        return faults
