"""The chat template of a base model, read without loading the model, so that a plan can hash it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from search_spaces.frozen import digest
from trainables.data.prompts.formats import get_prompt
from trainables.errors import UnavailableError
from trainables.models.resolve import CHAT_TEMPLATE_FILE
from trainables.models.source import ModelSource

CHAT = "chat:"
"""Prefix of a prompt format's name that puts it inside the base model's chat template."""

CHAT_VERSION = 2
"""Raised when the same template would give other numbers. 2: a generated answer ends with the
template's own end of turn, where it was the tokenizer's EOS."""

_CONFIG = "tokenizer_config.json"


def plain_name(name: str) -> str:
    """Returns the name of a format without `chat:`."""
    return name.removeprefix(CHAT)


def prompt_hash(task: str, name: str, model: ModelSource) -> str:
    """Returns the identity of a prompt: its templates and, in a chat, the model's template.

    Args:
        task: The task.
        name: Of a format of the task, with or without `chat:` in front.
        model: The base model.

    Raises:
        ValueError: If there is no such format, or the model has no chat template.
        UnavailableError: If the model's files cannot be reached.
    """
    hashed = get_prompt(task, plain_name(name)).hash
    if not name.startswith(CHAT):
        return hashed
    return chat_hash(hashed, read_chat_template(model.source, model.revision))


def chat_hash(prompt: str, template: object) -> str:
    """Returns the identity of a format (its hash) inside a chat template."""
    return digest([prompt, str(template), CHAT_VERSION])


@lru_cache
def read_chat_template(source: str, revision: str | None) -> str:
    """Returns a model's chat template: from its template file, else from its tokenizer's settings.

    Args:
        source: Folder, or name on the Hub.
        revision: Commit on the Hub; None for a folder.

    Raises:
        ValueError: If it has none, or several.
        UnavailableError: If the Hub cannot be reached.
    """
    template_file = _read(source, revision, CHAT_TEMPLATE_FILE)
    if template_file is not None:
        return template_file
    settings = _read(source, revision, _CONFIG)
    template = None if settings is None else json.loads(settings).get("chat_template")
    if not isinstance(template, str):
        fault = "has none" if template is None else "has several, of which none is the default"
        raise ValueError(
            f"a prompt with {CHAT!r} needs the model's chat template, and {source} {fault}: name "
            f"a prompt without {CHAT!r}, or use a chat model with one template"
        )
    return template


def _read(source: str, revision: str | None, name: str) -> str | None:
    """Returns the text of a model's file; None if it has no such file."""
    if revision is None:
        path = Path(source) / name
        return path.read_text(encoding="utf-8") if path.is_file() else None
    try:
        path = Path(hf_hub_download(source, name, revision=revision))
    except Exception as error:  # what a broken network raises depends on the client's version
        is_offline = isinstance(error, LocalEntryNotFoundError)
        if isinstance(error, EntryNotFoundError) and not is_offline:
            return None
        raise UnavailableError(
            f"model {source}: {name} cannot be fetched from the Hub ({type(error).__name__}); give "
            "the path of a local copy"
        ) from error
    return path.read_text(encoding="utf-8")
