"""A section of the page: paragraphs, lists, charts and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from study.reporting.charts.chart import Chart
from study.reporting.tables import PageTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bullets:
    """A list of lines."""

    lines: Sequence[str]


Block = str | Heading | Bullets | Chart | PageTable
"""A text is a paragraph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A section with an entry in the page's navigation."""

    name: str
    """Its id in the page."""
    title: str
    label: str
    """Its name in the navigation."""
    blocks: Sequence[Block]

    @property
    def charts(self) -> Iterator[Chart]:
        """Its charts."""
        return (block for block in self.blocks if isinstance(block, Chart))

    @property
    def tables(self) -> Iterator[PageTable]:
        """Its tables."""
        return (block for block in self.blocks if isinstance(block, PageTable))
