"""Checks the table of shipped studies against the studies: reference/studies.md."""

from __future__ import annotations

import logging

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from search_spaces.registry import named_spaces
from study.cli.pricing import load_pricing
from study.spaces import ShippedStudy, describe

PAGE = "reference/studies.md"
log = logging.getLogger("mkdocs.hooks.studies")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Warns about each study whose row is missing or wrong; a strict build then fails."""
    if page.file.src_uri == PAGE:
        found = {line for line in markdown.splitlines() if line.startswith("| `")}
        expected = set(rows())
        for row in sorted(expected - found):
            log.warning("%s lacks the row %s", PAGE, row)
        for row in sorted(found - expected):
            log.warning("%s has a row of no study: %s", PAGE, row)


def rows() -> list[str]:
    """Returns a row of the table for each study, from small to large."""
    pricing = load_pricing(None, None)
    studies = [describe(name, make, pricing) for name, make in named_spaces().items()]
    studies.sort(key=lambda study: (study.gpu_hours, study.name != "micro"))
    return [_row(study) for study in studies]


def _row(study: ShippedStudy) -> str:
    question = study.question + " Run `scarce measure` first." * study.needs_measure
    cells = (f"`{study.name}`", f"{study.num_cells:,}", study.hours_text, study.models, question)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(*rows(), sep="\n")
