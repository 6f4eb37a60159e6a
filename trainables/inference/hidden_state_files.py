"""Hidden states in the run folder: one safetensors file per layer and set of items.

A file's name depends on everything that its numbers depend on. A file is used only if it is
complete, has this name and these items, and matches its own hash.

Shape legend: see `trainables.inference.hidden_states`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from search_spaces.frozen import canonical_json, digest
from trainables.storage import layout
from trainables.storage.filesystem import Storage

STATES_VERSION = 1
"""Raised when the same items and model would give other states, or the file format changes."""

KEY_LENGTH = 32

MAX_BYTES = 2**30
"""Largest file that is written: one layer of a 70 B model in 16 bits for all choices of 16,000
four-choice items. ARC's 4,500 take 0.3 GB of it, those of a 7 B model half as much."""

TENSOR = "state"


class InvalidStatesError(ValueError):
    """A states file that is truncated, changed, or of other items or another model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerStates:
    """One layer's states of some items."""

    state_AH: Tensor
    counts: Mapping[str, int]
    """Item id -> number of choices, in the order of the rows."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class StateFiles:
    """The states of one run folder."""

    storage: Storage
    max_bytes: int = MAX_BYTES
    """Larger layers are not written."""

    def read(self, key: str, item_ids: Sequence[str]) -> LayerStates | None:
        """Returns the states of this key; None where there is no file.

        Raises:
            InvalidStatesError: If there is one that cannot be trusted.
        """
        try:
            content = self.storage.read_bytes(layout.states(key))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InvalidStatesError(f"a states file cannot be read: {error}") from error
        try:
            return _decode(content, key, item_ids)
        except (InvalidStatesError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InvalidStatesError(
                f"{self.storage.path(layout.states(key))} is no valid states file: {error}"
            ) from error

    def write(self, key: str, states: LayerStates) -> str | None:
        """Writes the states whole, or returns why they are not written: no score needs them."""
        size = states.state_AH.nbytes
        if size > self.max_bytes:
            return (
                f"states of {size / 2**20:,.0f} MiB a layer are not kept in the run folder (limit "
                f"{self.max_bytes / 2**20:,.0f} MiB): a later run extracts them again"
            )
        try:
            self.storage.write_bytes(layout.states(key), _encode(key, states))
        except OSError as error:
            return (
                f"states are not kept in the run folder ({error}): a later run extracts them again"
            )
        return None


def state_key(names: Sequence[str], item_ids: Sequence[str], layer: int, device: str) -> str:
    """Returns the key of a layer's states.

    Args:
        names: What the numbers depend on besides: the base model's content, number format and
            quantization, the hashes of the items and the prompt, the kind of host.
        item_ids: Of the items of the pass, in its order: other items make other batches.
        layer: Number of the hidden state.
        device: Kind of device. Threads and the versions of torch and transformers are added:
            others sum in another order.
    """
    execution = [device, torch.get_num_threads(), version("torch"), version("transformers")]
    parts = [STATES_VERSION, list(names), list(item_ids), layer, execution]
    return digest(parts, length=KEY_LENGTH)


def _encode(key: str, states: LayerStates) -> bytes:
    about = {"key": key, "counts": list(states.counts.items()), "notes": list(states.notes)}
    state_AH = states.state_AH.contiguous()
    # One entry: safetensors writes several in an order that changes from process to process.
    metadata = {"about": canonical_json({**about, "sha256": _hash(about, state_AH)})}
    return bytes(save({TENSOR: state_AH}, metadata))


def _decode(content: bytes, key: str, item_ids: Sequence[str]) -> LayerStates:
    tensors = load(content)
    size = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["about"])
    if about.pop("sha256") != _hash(about, tensors[TENSOR]) or set(tensors) != {TENSOR}:
        raise InvalidStatesError("its content does not match the hash it holds")
    counts = {str(id_): int(count) for id_, count in about["counts"]}
    if about["key"] != key or list(counts) != list(item_ids):
        raise InvalidStatesError("it holds the states of something else")
    if len(tensors[TENSOR]) != sum(counts.values()):
        raise InvalidStatesError("it does not hold one row per choice")
    return LayerStates(state_AH=tensors[TENSOR], counts=counts, notes=tuple(about["notes"]))


def _hash(about: Mapping[str, object], state_AH: Tensor) -> str:
    hashed = hashlib.sha256(canonical_json(about).encode())
    hashed.update(f"{state_AH.dtype} {list(state_AH.shape)}".encode())
    hashed.update(state_AH.view(torch.uint8).numpy().data)
    return hashed.hexdigest()
