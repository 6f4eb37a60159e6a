"""A fitted linear probe, which can be stored and used without the program's other parts.

Shape legend: R rows, one per choice; F features: the hidden states of the layers, concatenated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainables.methods.base.interface import TrainedState

PROBE_FILE = "probe.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One linear score of z-normalised hidden states at the last token of question + answer."""

    layers: tuple[int, ...]
    """Numbers of the hidden states, as transformers numbers them: 0 is the embeddings, the last is
    after the final norm."""
    mean_F: Tensor
    std_F: Tensor
    weight_F: Tensor

    def scores(self, row_RF: Tensor) -> Tensor:
        """Returns the score of each row, [R]; the softmax over an item's rows is its answer.

        Args:
            row_RF: Hidden states in float64, one layer after the other.
        """
        return (row_RF - self.mean_F) / self.std_F @ self.weight_F

    def state(self) -> TrainedState:
        """Returns the tensors of the probe's file."""
        return {
            "layers": torch.tensor(self.layers),
            "mean": self.mean_F,
            "std": self.std_F,
            "weight": self.weight_F,
        }


def probe_of(state: TrainedState) -> Probe:
    """Returns the probe of a state."""
    return Probe(
        layers=tuple(state["layers"].tolist()),
        mean_F=state["mean"],
        std_F=state["std"],
        weight_F=state["weight"],
    )


def load_probe(folder: str | Path) -> Probe:
    """Returns the probe that a study kept, or that was exported from it.

    Args:
        folder: `<out>/cells/<cell_id>/adapter/`, or the folder of an export.

    Raises:
        FileNotFoundError: If the folder has no probe.
    """
    return probe_of(load_file(Path(folder).expanduser() / PROBE_FILE))
