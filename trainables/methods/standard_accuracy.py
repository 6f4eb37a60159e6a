"""A base model's zero-shot answers to a standard test set, judged by the two usual rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trainables.data.items import Item
from trainables.inference.normalization import normalize_scores
from trainables.inference.scoring import default_token_budget, score_tokens
from trainables.inference.tokenization import TokenizedItems
from trainables.models.loading import Base
from trainables.storage.records import choice_scores

METRICS: Mapping[str, str] = {"acc": "sum", "acc_norm": "per-char"}
"""Name in lm-evaluation-harness -> scoring of the choices: the answer's summed log-probability, or
that sum divided by the answer's characters."""

TOKENS_PER_QUESTION = 8
"""A part has one question for so many tokens of a batch: a few full batches, some seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredPart:
    """Some questions of a test set, scored."""

    num_questions: int
    correct: Mapping[str, tuple[float, ...]]
    """Metric -> score of each question, in [0, 1]: 1 is right, a tie of n choices counts 1/n."""
    notes: tuple[str, ...]
    """What a reader should know about the scoring."""


def scored_parts(
    base: Base, items: Sequence[Item], tokenized: TokenizedItems
) -> Iterator[ScoredPart]:
    """Yields the scores of the questions, part by part, in their order.

    Args:
        base: The model.
        items: The questions.
        tokenized: The same questions (`trainables.methods.base.answering.tokenize_questions`).
    """
    size = default_token_budget(base.model) // TOKENS_PER_QUESTION
    for start in range(0, len(items), size):
        part = slice(start, start + size)
        tokens = replace(tokenized, items=tokenized.items[part])
        scored = score_tokens(base.model, tokens)
        correct = {
            metric: tuple(
                choice_scores(
                    normalize_scores(scored.log_probs, tokens, scoring),
                    [item.answer for item in items[part]],
                ).tolist()
            )
            for metric, scoring in METRICS.items()
        }
        yield ScoredPart(num_questions=len(tokens.items), correct=correct, notes=scored.notes)
