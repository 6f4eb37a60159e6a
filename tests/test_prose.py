"""Docs, docstrings and messages are plain English: phrases that a pattern can find are banned."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MODULES = sorted(
    path
    for package in ("search_spaces", "trainables", "study")
    for path in (ROOT / package).rglob("*.py")
)

BANNED = {
    r"\bwhat (it|they|this|that|one) (is|are|does|do|takes|costs|needs)\b": "the noun that exists",
    r"\bthe way of\b|\bthe rooms\b": "data flow; modules or packages",
    r"\bheld against\b": "compared with",
    r"\bbeside\b": "alongside, next to, with",
    r"\bof (its|their|his|your|our) own\b": "its own, or no word at all",
    r"\b(no one|nobody)\b": "an active sentence",
    r"(^|[.:;] )(Nothing|None of|No one) ": "an active sentence",
    r"\bwho is there\b|\bwhat is there\b": "the noun: the holder, the items",
    r"\blies? (in|on|at|beside|there|outside|under|below|above)\b": "is in, exists",
    r"^Says (whether|why|what|how|who|which|where|that)\b": "returns, prints, reports",
    r"\b(is|are) said\b": "is reported, is printed",
    r"\bhears? of\b": "receives",
    r"\bcome to nothing\b|\bcame to nothing\b": "fails",
    r"\banew\b": "again",
    r"\bin hand\b": "in progress, current",
}


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """Yields line numbers and lines of a page, or of a module's docstrings and messages."""
    if path.suffix == ".md":
        yield from enumerate(path.read_text().splitlines(), 1)
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, line.strip()


def findings(line: str) -> list[str]:
    """Returns the banned phrases of a line with what to write instead."""
    return [
        f"{match[0].strip()!r}: write {instead}"
        for pattern, instead in BANNED.items()
        if (match := re.search(pattern, line))
    ]


@pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_are_plain_english(path: Path) -> None:
    assert [
        (number, line, wrong) for number, line in _strings(path) if (wrong := findings(line))
    ] == []


@pytest.mark.parametrize(
    "line",
    [
        "Says whether the cell is finished.",
        "what it takes to run it",
        "the labels, held against gold",
        "a folder of its own",
        "Nothing is swallowed.",
        "The record lies in the bucket.",
    ],
)
def test_the_patterns_find_what_they_ban(line: str) -> None:
    assert findings(line)
