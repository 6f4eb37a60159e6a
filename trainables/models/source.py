"""A resolved base model: its location, identity and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from search_spaces.base_models import BosRule

ADAPTER_CONFIG = "adapter_config.json"


DType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """A resolved base model: its location, identity and size."""

    name: str
    """As the space names it."""
    source: str
    """Folder, or name on the Hub."""
    revision: str | None
    """Commit on the Hub; None for a folder."""
    content: str
    """`files:<sha256>` of a folder's files, or `hub:<name>@<commit>`; followed by the tokens that
    texts start with, if those are not the tokenizer's BOS alone."""
    bos: BosRule | None = None
    """As in the space (`search_spaces.base_models.BaseModelRef`)."""
    dtype: DType = "float32"
    """Number format of unquantized weights, `auto` resolved."""
    stored_dtype: DType | None = None
    """Number format of most weights in the model's files; None: another, or unknown."""
    num_params: int | None = None
    """Weights, tied ones once; None where the headers do not tell."""
    num_active_params: int | None = None
    """Weights that a token meets; None: all of them."""
    num_layers: int | None = None
    hidden_size: int | None = None
    vocab_size: int | None = None
    max_positions: int | None = None
    """Longest context in tokens."""
    num_expert_params: int = 0
    """Weights of routed experts, which no quantization reaches (`trainables.models.resolve`)."""
