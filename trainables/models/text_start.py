"""The special tokens that a tokenizer puts in front of a text."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast as Tokenizer

from search_spaces.base_models import BosRule

_PROBE = "a"


def text_start(tokenizer: Tokenizer, bos: BosRule | None = None) -> tuple[int, ...]:
    """Returns the tokens in front of every text, for example Llama's and Gemma's BOS.

    Many tokenizers have a BOS that they never add (GPT-2, Pythia, SmolLM2): `tokenizer(text)`, not
    `bos_token_id`, shows how a model was trained.

    Args:
        tokenizer: A fast tokenizer.
        bos: `always`: the BOS is first. `never`: it is left out. None: as the tokenizer adds it.

    Raises:
        ValueError: If `bos` is `always` and the tokenizer has no BOS.
    """
    usual = _usual_start(tokenizer)
    if bos is None:
        return usual
    rest = tuple(token for token in usual if token != tokenizer.bos_token_id)
    if bos == "never":
        return rest
    if tokenizer.bos_token_id is None:
        raise ValueError(
            'bos="always" needs a tokenizer with a bos_token, and this one has none: leave bos out'
        )
    return (int(tokenizer.bos_token_id), *rest)


def _usual_start(tokenizer: Tokenizer) -> tuple[int, ...]:
    encoded = tokenizer(_PROBE, return_special_tokens_mask=True)
    start = []
    for token, is_special in zip(encoded.input_ids, encoded.special_tokens_mask, strict=True):
        if not is_special:
            break
        start.append(int(token))
    return tuple(start)
