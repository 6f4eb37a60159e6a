"""The data card of a task: for the terminal, and as one HTML page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from search_spaces.explain import count
from study.formatting import Table, band
from study.reporting.html import render
from study.reporting.task.describe import DataReport, LevelRow
from trainables.data.items import Item

WIDTH = 100
"""Columns of the examples' text."""


def card_parts(report: DataReport, *, leading: str) -> Iterator[str | Table]:
    """Yields the card for the terminal; only the levels of the leading measure get an example."""
    yield _title(report)
    for name, value in _facts(report):
        yield f"  {name:10}{value}"
    for note in report.notes:
        yield f"  note      {note}"
    for message in report.skipped:
        yield f"  skipped   {message}"
    for caption, table in _tables(report):
        yield f"\n{caption}"
        yield table
    for row in report.levels:
        if row.measure == leading:
            yield "\n".join(("", *_example(row, report.examples[row.example_id])))


def card_html(report: DataReport) -> str:
    """Returns the card as an HTML page with an example of every level; it loads no other file."""
    return render(
        "task.html",
        report=report,
        title=_title(report),
        facts=_facts(report),
        tables=_tables(report),
        band=band,
        zip=zip,
    )


def _title(report: DataReport) -> str:
    items, groups = count(report.num_items, "item"), count(report.num_groups, "group")
    return f"Task {report.task}: {items} in {groups}"


def _facts(report: DataReport) -> list[tuple[str, str]]:
    copies = count(report.num_duplicates, "item repeats", "items repeat")
    return [
        ("source", report.source),
        ("licence", report.licence),
        ("data", report.data_hash[:12]),
        (
            "split",
            f"{report.num_pool:,} pool, {report.num_test:,} test ({report.split_hash[:12]})",
        ),
        ("copies", f"{copies} another's question and choices"),
    ]


def _tables(report: DataReport) -> list[tuple[str, Table]]:
    """Returns the tables with their captions."""
    levels = Table(
        header=(
            "measure",
            "level",
            "values",
            "items",
            "pool",
            "test",
            f"overlap of {report.n_train}",
        ),
        rows=[
            (
                row.measure,
                row.level,
                band(row.low, row.high),
                f"{row.num_items:,}",
                f"{row.num_pool:,}",
                f"{row.num_test:,}",
                f"pool < {report.n_train}" if row.overlap is None else f"{row.overlap:.0%}",
            )
            for row in report.levels
        ],
        numbers=("items", "pool", "test"),
    )
    mix = Table(
        header=(
            *("measure", "level", "question words", "answer chars", "answer positions"),
            "topics",
        ),
        rows=[
            (
                row.measure,
                row.level,
                f"{row.mean_question_words:.1f}",
                f"{row.mean_answer_chars:.1f}",
                " ".join(f"{share:.0%}" for share in row.answer_positions),
                ", ".join(f"{topic} {share:.0%}" for topic, share in row.topics.items()),
            )
            for row in report.levels
        ],
        numbers=("question words", "answer chars"),
    )
    correlations = Table(
        header=("first", "second", "rho", "items"),
        rows=[
            (
                pair.first,
                pair.second,
                "constant" if pair.spearman is None else f"{pair.spearman:+.3f}",
                f"{pair.num_items:,}",
            )
            for pair in report.correlations
        ],
        numbers=("rho", "items"),
    )
    return [
        ("Levels: what can be trained and tested on", levels),
        ("Level mix: what else differs between levels", mix),
        ("Spearman correlation of the measures", correlations),
    ]


def _example(row: LevelRow, item: Item) -> Iterable[str]:
    yield f"  {row.measure} {row.level} ({band(row.low, row.high)}): {item.id}"
    yield from _wrapped(item.question, "    ")
    for place, choice in enumerate(item.choices):
        yield from _wrapped(choice, "    * " if place == item.answer else "      ")


def _wrapped(text: str, first: str) -> list[str]:
    short = textwrap.shorten(text, 4 * WIDTH, placeholder=" ...")
    lines = textwrap.wrap(short, WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
    return lines or [first.rstrip()]
