"""The report of a task as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from study.formatting import aligned
from study.reporting.task.describe import DataReport, LevelRow
from trainables.data.items import Item

WIDTH = 100


def data_text(report: DataReport, *, leading: str) -> str:
    """Returns the report as lines; examples are shown for the levels of one leading measure."""
    lines = [
        f"Task {report.task}: {report.num_items:,} items in {report.num_groups:,} groups",
        f"  source    {report.source}",
        f"  licence   {report.licence}",
        f"  data      {report.data_hash[:12]}, split {report.split_hash[:12]}",
        f"  split     {report.num_pool:,} pool, {report.num_test:,} test",
        f"  copies    {report.num_duplicates:,} items have the question and choices of another",
        *(f"  note      {note}" for note in report.notes),
        *(f"  skipped   {message}" for message in report.skipped),
        "",
        *level_table(report.levels, report.n_train),
        "",
        *_mix_table(report.levels),
        "",
        *_correlation_table(report),
    ]
    for row in report.levels:
        if row.measure == leading:
            lines += ["", *_example(row, report.examples[row.example_id])]
    return "\n".join(lines)


def level_table(levels: Sequence[LevelRow], n_train: int) -> list[str]:
    """Returns counts, pools and overlap of draws, a line each level."""
    head = ("measure", "level", "values", "items", "pool", "test", f"overlap of {n_train}")
    return table(
        head,
        (
            (
                row.measure,
                row.level,
                band(row),
                f"{row.num_items:,}",
                f"{row.num_pool:,}",
                f"{row.num_test:,}",
                overlap(row, n_train),
            )
            for row in levels
        ),
    )


def band(row: LevelRow) -> str:
    """Returns a level's interval."""
    return f"{row.low:g}" if row.low == row.high else f"{row.low:g} to {row.high:g}"


def overlap(row: LevelRow, n_train: int) -> str:
    """Returns the share that two draws have in common, or why there is none."""
    return f"pool < {n_train}" if row.overlap is None else f"{row.overlap:.0%}"


def mix(row: LevelRow) -> tuple[str, str, str, str]:
    """Returns mean length of question and answer, answer positions and topics."""
    topics = ", ".join(f"{topic} {share:.0%}" for topic, share in row.topics.items())
    return (
        f"{row.mean_question_words:.1f}",
        f"{row.mean_answer_chars:.1f}",
        " ".join(f"{share:.0%}" for share in row.answer_positions),
        topics,
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns rows as aligned columns under their heads."""
    return aligned([tuple(head), *rows], indent=2)


def _mix_table(levels: Sequence[LevelRow]) -> list[str]:
    head = ("measure", "level", "question words", "answer chars", "answer at place", "topics")
    return table(head, ((row.measure, row.level, *mix(row)) for row in levels))


def _correlation_table(report: DataReport) -> list[str]:
    return table(
        ("Spearman", "", "rho", "items"),
        (
            (
                pair.first,
                pair.second,
                "constant" if pair.spearman is None else f"{pair.spearman:+.3f}",
                f"{pair.num_items:,}",
            )
            for pair in report.correlations
        ),
    )


def _example(row: LevelRow, item: Item) -> list[str]:
    def wrapped(text: str, first: str) -> list[str]:
        short = textwrap.shorten(text, 4 * WIDTH, placeholder=" ...")
        return textwrap.wrap(
            short, WIDTH, initial_indent=first, subsequent_indent=" " * len(first)
        ) or [first.rstrip()]

    lines = [
        f"  {row.measure} {row.level} ({band(row)}): {item.id}",
        *wrapped(item.question, "    "),
    ]
    for place, choice in enumerate(item.choices):
        lines += wrapped(choice, "    * " if place == item.answer else "      ")
    return lines
