"""One forward pass over items: the answers' summed log-probabilities, hidden states, or both.

Rows, batches and the computation are the same for both, so equal items give equal bytes: a
zero-shot cell's scores do not depend on whether probes run too, nor a probe's states on which other
layers are requested. The price is one more token per choice than `trainables.inference.scoring`
needs: the last, which predicts no scored token.

Hooks capture the requested layers' states at the answers' last tokens while the model runs. States
of all layers and tokens of a batch are held only if the architecture does not allow hooks.

Shape legend: see `trainables.inference.packing`; H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.data.items import Item
from trainables.data.prompts.formats import Prompt
from trainables.distributed.sharded_model import first_workers
from trainables.inference.packed_forward import (
    SharedPrefix,
    packed_mask,
    packed_scores,
    plain_scores,
)
from trainables.inference.packing import PackedBatch, build_batch, explode, plan_batches
from trainables.inference.scoring import (
    check_context,
    default_token_budget,
    find_packing_fault,
    find_too_long,
)
from trainables.inference.tokenization import TokenizedItems, tokenize_items
from trainables.models.loading import Base


@dataclass(frozen=True, kw_only=True, slots=True)
class PassResult:
    """Result of one pass, in the order of the items."""

    states: Mapping[int, Tensor]
    """Layer -> [A, H] in the model's own number format, on the CPU."""
    counts: Mapping[str, int]
    """Item id -> its number of rows, one per choice; 0 if it does not fit into the context."""
    log_probs: list[NDArray[np.float64]] | None
    """Per item, the summed log-probability of each choice; None if not requested."""
    notes: tuple[str, ...] = ()


def count_layers(model: PreTrainedModel) -> int:
    """Returns how many layers the model has: the number of its last hidden state."""
    return int(model.config.get_text_config().num_hidden_layers)


def run_forward(
    base: Base,
    items: Sequence[Item],
    prompt: Prompt,
    *,
    layers: Sequence[int] = (),
    with_scores: bool = False,
    token_budget: int | None = None,
) -> PassResult:
    """Returns scores and states of every choice of every item.

    An item that does not fit into the model's context has no states.

    Args:
        base: The base model.
        items: In an order that is always the same, such as by id.
        prompt: How an item becomes text.
        layers: Numbers of hidden states: 0 the embeddings, the last after the final norm.
        with_scores: Whether the answers are projected to the vocabulary.
        token_budget: Tokens of a batch at most; None:
            `trainables.inference.scoring.default_token_budget`. Other batches round differently.

    Raises:
        ValueError: If scores are requested and an item does not fit; names it.
    """
    tokenized, counts = _tokenize(base, items, prompt, must_fit=with_scores)
    fault = find_packing_fault(base.model, tokenized)
    rows = tokenized if fault is None else explode(tokenized)
    starts = np.cumsum([0, *(len(item.answers) for item in rows.items)]).tolist()
    states: dict[int, Tensor] = {layer: torch.empty(0, 0) for layer in layers}
    scores = torch.zeros(starts[-1], dtype=torch.float64)
    layers = sorted(states) if rows.items else ()
    is_asked = rows.items and (layers or with_scores)
    budget = token_budget or default_token_budget(base.model)
    with torch.inference_mode(), _capture_hidden_states(base.model, layers, rows) as taken:
        for places in plan_batches(rows, budget) if is_asked else ():
            batch = build_batch(rows, places, base.device, keep_last=True)
            numbers = [row for place in places for row in range(starts[place], starts[place + 1])]
            taken.clear()
            if not with_scores:
                _run_body(base.model, batch, packed=fault is None)
            elif fault is None:
                scores[numbers] = packed_scores(base.model, batch, SharedPrefix()).double().cpu()
            else:
                scores[numbers] = plain_scores(base.model, batch).double().cpu()
            for layer in layers:
                state_AH = taken[layer].flatten(0, 1)[batch.last_A].cpu()
                if not len(states[layer]):
                    states[layer] = torch.empty(len(scores), *state_AH.shape[1:]).to(state_AH)
                states[layer][numbers] = state_AH
    ends = np.cumsum(list(counts.values()))
    log_probs = [row.copy() for row in np.split(scores.numpy(), ends[:-1])[: len(items)]]
    slow = f"states and scores by one full forward per choice: {fault}"
    return PassResult(
        states=states,
        counts=counts,
        log_probs=log_probs if with_scores else None,
        notes=() if fault is None else (slow,),
    )


def _tokenize(
    base: Base, items: Sequence[Item], prompt: Prompt, *, must_fit: bool
) -> tuple[TokenizedItems, Mapping[str, int]]:
    """Returns the items that fit into the model's context, and how many rows each item has."""
    tokenized = tokenize_items(
        base.tokenizer,
        [prompt.question(item) for item in items],
        [prompt.choice_texts(item) for item in items],
        start=base.start_of(prompt),
    )
    if must_fit:
        check_context(base, items, tokenized)
    left_out = set(find_too_long(base.model, tokenized))
    fitting = tuple(one for place, one in enumerate(tokenized.items) if place not in left_out)
    counts = {
        item.id: 0 if place in left_out else len(item.choices) for place, item in enumerate(items)
    }
    return TokenizedItems(shared=tokenized.shared, items=fitting), counts


def _run_body(model: PreTrainedModel, batch: PackedBatch, *, packed: bool) -> None:
    """Runs the model without its vocabulary projection, for its hidden states."""
    if packed:
        more = {"position_ids": batch.position_BT}
        mask: Any = packed_mask(model, batch, 0)
    else:
        more, mask = {}, (batch.segment_BT >= 0).long()
    model.base_model(input_ids=batch.token_BT, attention_mask=mask, use_cache=False, **more)


@contextmanager
def _capture_hidden_states(
    model: PreTrainedModel, layers: Sequence[int], tokenized: TokenizedItems
) -> Iterator[dict[int, Tensor]]:
    """Yields the states of the latest forward pass: layer -> [B, T, H]."""
    taken: dict[int, Tensor] = {}
    if not layers:
        yield taken
        return
    blocks = _find_blocks(model)
    if blocks is not None and not _takes_right(model, blocks, tokenized):
        blocks = None
    handles = _hook(model, blocks, layers, taken)
    try:
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def _find_blocks(model: PreTrainedModel) -> nn.ModuleList | None:
    """Returns the model's stack of layers, whatever its name."""
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count_layers(model):
            return module
    return None


def _takes_right(model: PreTrainedModel, blocks: nn.ModuleList, tokenized: TokenizedItems) -> bool:
    """Compares captured states with those that the model returns, on the shortest text."""
    shortest = min(explode(tokenized).items, key=lambda item: (item.longest, item.context))
    one = TokenizedItems(shared=[], items=(shortest,))
    batch = build_batch(one, [0], model.device, keep_last=True)
    taken: dict[int, Tensor] = {}
    handles = _hook(model, blocks, range(len(blocks) + 1), taken)
    try:
        output = model.base_model(
            input_ids=batch.token_BT,
            attention_mask=torch.ones_like(batch.token_BT),
            use_cache=False,
            output_hidden_states=True,
        )
    finally:
        for handle in handles:
            handle.remove()
    reported = output.hidden_states
    is_right = len(reported) == len(taken) and all(
        torch.equal(state_BTH, taken[layer]) for layer, state_BTH in enumerate(reported)
    )
    return bool(first_workers(model, torch.tensor([is_right])))


def _hook(
    model: PreTrainedModel,
    blocks: nn.ModuleList | None,
    layers: Sequence[int],
    taken: dict[int, Tensor],
) -> list[Any]:
    """Registers hooks that fill `taken`; without blocks, by requesting all layers' states."""

    def ask(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "output_hidden_states": True}

    def take_all(module: nn.Module, args: Any, output: Any) -> None:
        taken.update({layer: output.hidden_states[layer] for layer in layers})

    if blocks is None:
        body = model.base_model
        return [
            body.register_forward_pre_hook(ask, with_kwargs=True),
            body.register_forward_hook(take_all),
        ]

    def take_last(module: nn.Module, args: Any, output: Any) -> None:
        taken[len(blocks)] = output.last_hidden_state

    handles = [
        blocks[layer].register_forward_pre_hook(_take_input(layer, taken), with_kwargs=True)
        for layer in layers
        if layer < len(blocks)
    ]
    if len(blocks) in layers:
        handles.append(model.base_model.register_forward_hook(take_last))
    return handles


def _take_input(layer: int, taken: dict[int, Tensor]) -> Any:
    def take(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        taken[layer] = args[0] if args else kwargs["hidden_states"]

    return take
