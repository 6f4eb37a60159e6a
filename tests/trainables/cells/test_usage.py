"""Tokens and GPU utilisation of a cell, whatever wraps its model."""

from __future__ import annotations

import time

import pytest
import torch

from trainables.cells import usage
from trainables.cells.usage import measure_usage
from trainables.models.loading import Base
from trainables.storage.checkpoints import Usage


class _Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(10, 4)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embed


def _base(device: str) -> Base:
    return Base(model=_Model(), tokenizer=None, device=torch.device(device))  # type: ignore[arg-type]


def test_tokens_of_every_forward_pass_count_and_only_inside() -> None:
    base = _base("cpu")
    embed = base.model.get_input_embeddings()
    tokens = torch.zeros(2, 3, dtype=torch.long)
    embed(tokens)
    used = Usage()
    with measure_usage(base, used) as gpu:
        embed(tokens)
        embed(tokens[:1])
    embed(tokens)
    assert used.tokens == 9
    assert gpu.mean is None


def test_the_utilisation_of_a_gpu_is_the_mean_of_its_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = iter((20, 60))
    seen: list[torch.device] = []

    def utilisation(device: torch.device) -> int:
        seen.append(device)
        return next(values)  # the third call fails, as a driver may

    monkeypatch.setattr(torch.cuda, "utilization", utilisation)
    monkeypatch.setattr(usage, "SAMPLE_INTERVAL_S", 0.001)
    with measure_usage(_base("cuda:1"), Usage()) as gpu:
        while len(seen) < 3:
            time.sleep(0.001)
    assert gpu.mean == pytest.approx(0.4)
    assert seen[0] == torch.device("cuda:1")
