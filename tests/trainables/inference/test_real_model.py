"""A real model answers real questions as transformers alone has it answer them."""

from __future__ import annotations

import numpy as np

from search_spaces.base_models import BaseModelRef
from tests.support.real_data import MODEL, ROOT, needs, needs_model
from tests.support.tiny_models import naive_scores
from trainables.data.prompts.formats import get_prompt
from trainables.data.tasks.registry import load_task
from trainables.inference.scoring import score_choices
from trainables.models.loading import load_base
from trainables.models.resolve import resolve_model

NUM_ITEMS = 24


@needs("arc")
@needs_model
def test_a_real_model_predicts_as_its_tokenizer_starts_texts() -> None:
    base = load_base(resolve_model(BaseModelRef(name=MODEL)), "float32", "none", "cpu")
    items = sorted(load_task("arc", ROOT).items, key=lambda item: item.id[::-1])[:NUM_ITEMS]
    prompts = [get_prompt("arc").question(item) for item in items]
    choices = [get_prompt("arc").choice_texts(item) for item in items]
    expected = naive_scores(base.model, base.tokenizer, prompts, choices)
    got = score_choices(base.model, base.tokenizer, prompts, choices)
    assert [np.argmax(row) for row in got] == [np.argmax(row) for row in expected]
    assert max(np.abs(a - b).max() for a, b in zip(got, expected, strict=True)) < 1e-3
