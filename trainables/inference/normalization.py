"""Scales of a choice's score: what is made of the sum of its tokens' log-probabilities.

Not here: the sums (`trainables.inference.scoring`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast as Tokenizer

from trainables.data.items import Item
from trainables.data.prompts.formats import Prompt
from trainables.inference.tokenization import TokenizedItems, tokenize_items

SCORINGS = ("sum", "per-token", "per-char", "pmi")
"""How a choice is scored; described in `normalize_scores`."""


def check_scoring(scoring: str, *, has_domain: bool) -> None:
    """Checks that the scoring is known, and that `pmi` has a domain prompt.

    Raises:
        ValueError: If it is not one of `SCORINGS`, or is `pmi` and there is no domain prompt.
    """
    if scoring not in SCORINGS:
        raise ValueError(f"scoring must be one of {', '.join(SCORINGS)}, got {scoring!r}")
    if scoring == "pmi" and not has_domain:
        raise ValueError(
            "scoring 'pmi' needs a domain prompt: the prompt without its question, like 'Answer:'"
        )


def normalize_scores(
    sums: Sequence[NDArray[np.float64]],
    tokenized: TokenizedItems,
    scoring: str,
    domain_sums: Sequence[NDArray[np.float64]] | None = None,
) -> list[NDArray[np.float64]]:
    """Returns the scores of choices whose summed log-probabilities are known.

    * `sum`: unchanged.
    * `per-token`: divided by the number of scored tokens, those that overlap the choice.
    * `per-char`: divided by the number of characters (Unicode code points) of the choice's text
      without the white space at its ends, so a space in front changes nothing; `acc_norm` of
      lm-evaluation-harness divides by the same number where its choices have no such space.
    * `pmi`: minus the same choice's summed log-probability behind a prompt without a question, the
      domain-conditional mutual information of Holtzman et al. 2021 (arXiv:2104.08315, section 3).

    Args:
        sums: Per item, the summed log-probability of each choice.
        tokenized: The items.
        scoring: One of `SCORINGS`.
        domain_sums: For `pmi`, the sums behind the prompt without a question.

    Raises:
        ValueError: As `check_scoring`, or if `per-char` gets items that are made of no texts.
    """
    check_scoring(scoring, has_domain=domain_sums is not None)
    if scoring == "pmi" and domain_sums is not None:
        return [row - prior for row, prior in zip(sums, domain_sums, strict=True)]
    if scoring == "sum":
        return list(sums)
    is_per_token = scoring == "per-token"
    lengths = [item.num_scored if is_per_token else item.num_chars for item in tokenized.items]
    if not all(lengths):
        raise ValueError("scoring 'per-char' needs items that are made of texts (tokenize_items)")
    return [row / np.array(length) for row, length in zip(sums, lengths, strict=True)]


def domain_prompt_of(prompt: Prompt, examples: Sequence[tuple[Item, int]] = ()) -> str:
    """Returns the prompt format's text with an empty question and no list of choices.

    Args:
        prompt: The format.
        examples: What stands in front of the question, as it does where the choices are scored.
    """
    return prompt.prompt(Item(id="no question", question="", choices=(), answer=0), examples)


def tokenize_domain(
    tokenizer: Tokenizer,
    domain_prompt: str,
    choices: Sequence[Sequence[str]],
    prefix: str | None = None,
    *,
    start: Sequence[int] | None = None,
) -> TokenizedItems:
    """Returns the choices after a prompt without a question, for `pmi`.

    Args:
        tokenizer: A fast tokenizer.
        domain_prompt: The prompt without its question (`domain_prompt_of`).
        choices: Per item, its answer texts.
        prefix: Text in front of the prompt.
        start: As in `tokenize_items`.

    Raises:
        ValueError: As `tokenize_items`.
    """
    shared = (prefix or "") + domain_prompt
    return tokenize_items(tokenizer, [""] * len(choices), choices, shared, start=start)
