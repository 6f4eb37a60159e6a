"""What a paper prints of one arm or point, with the coordinates that find ours beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Bounds = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One printed number."""

    quantity: Literal["accuracy", "sgr"]
    task: str
    measure: str | None
    """None: of no measure, as where training and test are of all levels."""
    model: str
    """Last part of the model's name on the Hub."""
    method: str
    """As the paper names it, `qlora` for adapters on a quantized base, of 8 bits too; `zero-shot`
    where nothing was trained."""
    reasoning: bool = False
    """The answer was generated after a chain of thought."""
    num_labels: int | None = None
    """None for zero-shot."""
    condition: str
    """A level's name, `all`, `trivial` or `zero-shot`."""
    noise: float | None = None
    """Probability with which each label was redrawn."""
    test: str
    """A level's name, or `all`."""
    value: float
    """A fraction; an SGR of 1 is full recovery."""
    half_width: float | None = None
    """Of the 95 % interval, where one is printed."""
    source: str
    """Figure or table, and what a reader should know of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paper:
    """All that is kept of a paper's results."""

    title: str
    results: tuple[Published, ...]
    levels: Mapping[tuple[str, str], Mapping[str, Bounds]]
    """Task and measure -> level -> its inclusive bounds; measures that are cut at quantiles are
    not there, their levels are known by name."""
