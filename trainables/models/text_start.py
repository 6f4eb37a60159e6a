"""The special tokens that a tokenizer puts in front of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.base_models import BosRule

if TYPE_CHECKING:  # plans of known models need no transformers
    from transformers import PreTrainedTokenizerFast as Tokenizer

_PROBE = "a"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextStart:
    """The special tokens that a tokenizer puts in front of a text.

    Many tokenizers have a BOS that they never add (GPT-2, Pythia, SmolLM2): `tokenizer(text)`, not
    `bos_token_id`, shows how a model was trained.
    """

    tokens: tuple[int, ...]
    """As the tokenizer adds them, for example Llama's and Gemma's BOS."""
    bos: int | None
    """The tokenizer's BOS, whether it adds it or not."""

    def under(self, rule: BosRule | None) -> tuple[int, ...]:
        """Returns the tokens in front of every text.

        Args:
            rule: `always`: the BOS is first. `never`: it is left out. None: as the tokenizer adds
                it.

        Raises:
            ValueError: If `rule` is `always` and the tokenizer has no BOS.
        """
        if rule is None:
            return self.tokens
        rest = tuple(token for token in self.tokens if token != self.bos)
        if rule == "never":
            return rest
        if self.bos is None:
            raise ValueError(
                'bos="always" needs a tokenizer with a bos_token, and this one has none: leave '
                "bos out"
            )
        return (self.bos, *rest)


def find_text_start(tokenizer: Tokenizer) -> TextStart:
    """Returns the start of the texts of a fast tokenizer."""
    encoded = tokenizer(_PROBE, return_special_tokens_mask=True)
    tokens = []
    for token, is_special in zip(encoded.input_ids, encoded.special_tokens_mask, strict=True):
        if not is_special:
            break
        tokens.append(int(token))
    bos = tokenizer.bos_token_id
    return TextStart(tokens=tuple(tokens), bos=None if bos is None else int(bos))
