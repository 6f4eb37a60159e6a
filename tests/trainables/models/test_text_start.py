"""Texts start as the tokenizer starts them, or as a space asks, and records know which."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from search_spaces.base_models import BaseModelRef, BosRule
from tests.support.tiny_models import TOKENIZERS, make_model, make_tokenizer
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.prompts.formats import get_prompt
from trainables.inference.generation import tokenize_prompts
from trainables.inference.tokenization import tokenize_items
from trainables.models.chat import with_chat_template
from trainables.models.loading import load_base
from trainables.models.resolve import resolve_model
from trainables.models.text_start import find_text_start

TEXT = "Question: ab cd?"


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize(
    ("adds_bos", "bos", "expected"),
    [
        (True, None, (0,)),
        (True, "always", (0,)),
        (True, "never", ()),
        (False, None, ()),
        (False, "always", (0,)),
        (False, "never", ()),
    ],
)
def test_a_text_starts_as_the_tokenizer_starts_it_or_as_asked(
    kind: str, adds_bos: bool, bos: BosRule | None, expected: tuple[int, ...]
) -> None:
    tokenizer = make_tokenizer(kind, adds_bos=adds_bos)
    plain = tokenizer(TEXT, add_special_tokens=False).input_ids
    assert find_text_start(tokenizer).under(bos) == expected
    if bos is None:
        assert tokenizer(TEXT).input_ids == [*expected, *plain]
        assert tokenize_prompts(tokenizer, [TEXT]).rows == ([*expected, *plain],)
        (item,) = tokenize_items(tokenizer, [TEXT], [[" ab", " cd"]]).items
        assert item.context[: len(expected) + 1] == [*expected, plain[0]]


def surrounded() -> PreTrainedTokenizerFast:
    """Returns a tokenizer that puts two tokens in front of a text, and one behind it."""
    tokenizer = make_tokenizer("bytes", bos=False)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<unk> <s> $A <s>", special_tokens=[("<s>", 0), ("<unk>", 1)]
    )
    return tokenizer


def test_what_the_tokenizer_puts_behind_a_text_is_no_start() -> None:
    assert find_text_start(surrounded()).tokens == (1, 0)
    assert find_text_start(surrounded()).under("never") == (1, 0)  # none of them is called its BOS


def test_a_bos_that_the_tokenizer_lacks_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match='bos="always" needs a tokenizer with a bos_token'):
        find_text_start(make_tokenizer("bytes", bos=False)).under("always")


def save(folder: Path, *, bos: bool = True, adds_bos: bool) -> str:
    make_model("llama").save_pretrained(folder)
    make_tokenizer("words", bos=bos, adds_bos=adds_bos).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("adds_bos", "bos", "marked"),
    [
        (True, None, ""),
        (True, "always", ""),
        (True, "never", ";start=none"),
        (False, None, ";start=none"),
        (False, "always", ""),
    ],
)
def test_the_start_is_part_of_the_identity_where_it_is_not_the_bos(
    tmp_path: Path, adds_bos: bool, bos: BosRule | None, marked: str
) -> None:
    source = resolve_model(BaseModelRef(name=save(tmp_path, adds_bos=adds_bos), bos=bos))
    content, _, found = source.content.partition(";")
    assert content.startswith("files:") and f";{found}" * bool(found) == marked
    base = load_base(source, "float32", "none", "cpu")
    prompt = get_prompt("micro")
    assert base.start_of(prompt) == (() if marked else (0,))
    base.tokenizer.chat_template = "{% for m in messages %}<s>{{ m['content'] }}{% endfor %}"
    assert base.start_of(with_chat_template(prompt, base.tokenizer)) == ()


def test_a_model_without_a_bos_keeps_its_identity_and_cannot_have_one(tmp_path: Path) -> None:
    name = save(tmp_path, bos=False, adds_bos=False)
    assert ";" not in resolve_model(BaseModelRef(name=name)).content
    with pytest.raises(ValueError, match=f'model {name!r}: bos="always" needs a tokenizer'):
        resolve_model(BaseModelRef(name=name, bos="always"))


def test_the_lab_keeps_its_identity() -> None:
    for name in MICRO_MODELS:
        assert ";" not in resolve_model(BaseModelRef(name=name)).content
