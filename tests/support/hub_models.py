"""A model of the Hub that needs no network: a fake answer of the Hub, and its client's cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.hf_api import ModelInfo

from trainables.models import resolve

NAME = "owner/name"
COMMIT = "0123456789" * 4


def cached_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder of the model in a cache that replaces the user's; no network is used."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache / f"models--{NAME.replace('/', '--')}" / "snapshots" / COMMIT


def serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the Hub have a model, of which a download gives config and tokenizer: this folder."""
    info = ModelInfo(id=NAME, sha=COMMIT, siblings=[{"rfilename": "model.safetensors"}])
    monkeypatch.setattr(resolve.HfApi, "model_info", lambda *args, **options: info)
    monkeypatch.setattr(resolve, "snapshot_download", lambda *args, **options: str(folder))
