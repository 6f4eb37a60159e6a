"""A cell's trained state as files: peft's format for an adapter, safetensors for other methods."""

from __future__ import annotations

from safetensors.torch import load, save

from search_spaces.cell import Cell
from search_spaces.recipes import AdapterTraining, LinearProbe, PolicyDPO
from trainables.methods.base.interface import TrainedState
from trainables.methods.dpo.trainer import training_recipe
from trainables.methods.probes.probe import PROBE_FILE
from trainables.methods.training import reward_head
from trainables.methods.training.peft_files import ADAPTER_WEIGHTS, adapter_config
from trainables.models.source import ADAPTER_CONFIG, ModelSource
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, Record, read_file, state_names

HEAD_FILE = "reward_head.safetensors"

STATE_FILE = "state.safetensors"
"""Of methods that have no format of their users: the examples of a prompt, all weights."""


def state_files(cell: Cell, source: ModelSource, state: TrainedState) -> dict[str, bytes]:
    """Returns the files of a trained state: name -> content, equal for equal arguments."""
    recipe = training_recipe(cell.recipe) if isinstance(cell.recipe, PolicyDPO) else cell.recipe
    if isinstance(recipe, LinearProbe):
        return {PROBE_FILE: _saved(state)}
    if not isinstance(recipe, AdapterTraining):
        return {STATE_FILE: _saved(state)}
    weights = {name: tensor for name, tensor in state.items() if name != reward_head.NAME}
    head = {name: tensor for name, tensor in state.items() if name == reward_head.NAME}
    files = {
        ADAPTER_CONFIG: adapter_config(recipe, source, weights),
        ADAPTER_WEIGHTS: _saved(weights),
    }
    return files | ({HEAD_FILE: _saved(head)} if head else {})


def read_state(storage: Storage, cell_id: str, record: Record) -> TrainedState:
    """Returns a cell's trained state.

    Raises:
        InvalidRecordError: If it was not kept, or a file does not match the record.
    """
    names = [name for name in state_names(cell_id, record) if name.endswith(".safetensors")]
    if not names:
        raise InvalidRecordError(f"the record of cell {cell_id} lists no trained state")
    contents = [read_file(storage, record, layout.trained(cell_id, name)) for name in names]
    return {name: tensor for content in contents for name, tensor in load(content).items()}


def _saved(tensors: TrainedState) -> bytes:
    # One entry of metadata, as peft writes it: safetensors writes several in a random order.
    metadata = {"format": "pt"}
    content: bytes = save({n: t.contiguous() for n, t in tensors.items()}, metadata=metadata)
    return content
