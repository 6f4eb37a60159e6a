"""Zero-shot: the base model as it is, and the scoring of questions that trained weights share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from trainables.data.items import Item
from trainables.inference.scoring import default_token_budget
from trainables.methods.base.answering import answer_questions, state_key
from trainables.methods.base.interface import Answers, Fitted, Setting
from trainables.models.loading import Base


@dataclass(frozen=True, kw_only=True, slots=True)
class _Untrained:
    setting: Setting
    base: Base

    def answer(self, items: Sequence[Item]) -> Answers:
        setting = self.setting
        recipe = setting.cell.recipe
        if recipe.reasoning is not None or recipe.scoring != "sum" or tuple(items) != setting.test:
            return answer_questions(setting, self.base, items)
        # Always this way, whether probes run or not: it is their pass over the test items too.
        scored = setting.states.scores(
            self.base,
            items,
            setting.prompt,
            key=state_key(setting, setting.cell.data_hash),
            layers=setting.probe_layers,
            token_budget=setting.execution.tokens(default_token_budget(self.base.model)),
        )
        return Answers(log_probs=scored.log_probs, notes=scored.notes)

    def state(self) -> Mapping[str, Tensor]:
        return {}


@contextmanager
def untrained(setting: Setting, base: Base) -> Iterator[Fitted]:
    """Yields the base model as it is."""
    yield _Untrained(setting=setting, base=base)
