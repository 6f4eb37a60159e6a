"""A model's chat template in a prompt's identity: planned from files, found again by the worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LinearProbe
from search_spaces.studies.lab.micro import micro
from tests.support.tiny_models import save_folder
from tests.trainables.models.test_chat import ITEM
from trainables.data.prompts.formats import get_prompt
from trainables.models.chat import ChatPrompt, find_any_prompt
from trainables.models.chat_templates import prompt_hash
from trainables.models.resolve import resolve_model
from trainables.models.source import ModelSource

TEMPLATE = (
    "{{ '<bos>' }}{% for m in messages %}{{ '<' + m['role'] + '>\n' + m['content'] + '<end>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>\n' }}{% endif %}"
)


def chat_model(folder: Path, *, as_file: bool, template: object = TEMPLATE) -> ModelSource:
    save_folder(folder, kind="bytes")
    if as_file:
        (folder / "chat_template.jinja").write_text(str(template))
    else:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    return resolve_model(BaseModelRef(name=str(folder)))


@pytest.mark.parametrize("as_file", [True, False])
def test_planned_hash_is_that_of_the_prompt_the_worker_finds(tmp_path: Path, as_file: bool) -> None:
    model = chat_model(tmp_path, as_file=as_file)
    hashed = prompt_hash("ultrafeedback", "chat:letter", model)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    prompt = find_any_prompt("ultrafeedback", hashed, tokenizer, ITEM)
    assert isinstance(prompt, ChatPrompt) and prompt.hash == hashed
    assert prompt.question(ITEM) == (
        "<bos><user>\n[CONTEXT] Why?\n[RESPONSE A] so\n[RESPONSE B] no\nThe better response is:"
        "<end>\n<assistant>\n"
    )
    assert prompt.choice_texts(ITEM) == ("A", "B")
    plain = prompt_hash("ultrafeedback", "letter", model)
    assert plain == get_prompt("ultrafeedback", "letter").hash != hashed
    assert find_any_prompt("ultrafeedback", plain, tokenizer, ITEM) == get_prompt("ultrafeedback")


def test_another_template_is_another_prompt_and_another_model(tmp_path: Path) -> None:
    first = chat_model(tmp_path / "a", as_file=True)
    second = chat_model(tmp_path / "b", as_file=True, template=TEMPLATE + " ")
    names = ("ultrafeedback", "chat:letter")
    assert prompt_hash(*names, first) != prompt_hash(*names, second)
    assert first.content != second.content


def test_models_without_one_template_are_refused(tmp_path: Path) -> None:
    plain = resolve_model(BaseModelRef(name=str(save_folder(tmp_path / "a"))))
    with pytest.raises(ValueError, match="has none: name a prompt without 'chat:'"):
        prompt_hash("ultrafeedback", "chat:letter", plain)
    several = chat_model(tmp_path / "b", as_file=False, template=[{"name": "x", "template": "y"}])
    with pytest.raises(ValueError, match="has several"):
        prompt_hash("ultrafeedback", "chat:letter", several)
    with pytest.raises(ValueError, match="has no prompt 'verdict'"):
        prompt_hash("ultrafeedback", "chat:verdict", plain)


def test_training_and_scoring_must_agree_in_a_chat(tmp_path: Path) -> None:
    """A template that writes an answer elsewhere than behind its generation prompt is refused."""
    skewed = TEMPLATE.replace("'<assistant>\n'", "'<model>\n'")
    model = chat_model(tmp_path, as_file=True, template=skewed)
    hashed = prompt_hash("ultrafeedback", "chat:letter", model)
    with pytest.raises(ValueError, match="differ from those of the scored prompt"):
        find_any_prompt("ultrafeedback", hashed, AutoTokenizer.from_pretrained(tmp_path), ITEM)


def test_a_recipe_may_have_a_prompt_of_its_own() -> None:
    axis = micro().tasks[0].model_copy(update={"prompt": "letter"})
    assert axis.prompt_of(LinearProbe()) == "letter"
    assert axis.prompt_of(LinearProbe(prompt="chat:open")) == "chat:open"
