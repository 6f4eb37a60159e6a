"""What the results rest on: published numbers, level mix, cells and provenance."""

from __future__ import annotations

from operator import itemgetter

from search_spaces.explain import count
from study.analysis.level_mix import LevelMix
from study.analysis.published.comparison import comparison_row
from study.analysis.surface import Surface
from study.artifacts.plan import Plan
from study.formatting import DASH
from study.reporting.charts.filters import Filters
from study.reporting.content import Content
from study.reporting.sections.section import Block, Bullets, Section
from study.reporting.tables import (
    PageColumn,
    cell_table,
    make_table,
    missing_table,
    text_column,
)


def paper_section(content: Content) -> Section | None:
    """Returns the comparison with a paper; None if the reader did not ask for it."""
    found = content.against
    if found is None:
        return None
    blocks: list[Block] = [
        f"{found.title}, where task, measure, model, method, number of labels, training level and "
        "test level are the same. Accuracies and their differences in %, SGR as shares."
    ]
    if found.compared:
        names = ("where", "train -> test", "ours", "interval", "published", "difference", "source")
        blocks.append(
            make_table(
                "published",
                "Published numbers and ours",
                [text_column(name, itemgetter(i)) for i, name in enumerate(names)],
                [comparison_row(pair) for pair in found.compared],
            )
        )
    else:
        blocks.append("No published number has the coordinates of this study.")
    blocks += [
        f"{sum(found.unmatched.values())} published numbers have no match in this study; "
        f"{found.num_alone} of its {found.num_arms} arms have no published number.",
        Bullets(lines=[f"{count} {why}" for why, count in found.unmatched.items()]),
        *found.notes,
    ]
    return Section(name="against", title="Comparison with the paper", label="Paper", blocks=blocks)


def mix_section(content: Content) -> Section:
    """Returns the items of each level."""
    return Section(
        name="mix",
        title="Level mix",
        label="Level mix",
        blocks=[
            "Do levels differ in more than difficulty? Train is the pool that labels are drawn "
            "from.",
            make_table(
                "mix-rows",
                "Items of each level",
                (
                    text_column("task", lambda mix: mix.task),
                    text_column("measure", lambda mix: mix.measure),
                    text_column("level", lambda mix: mix.level),
                    text_column("part", lambda mix: mix.part),
                    PageColumn("items", "number", lambda mix: mix.num_items),
                    PageColumn("question words (median)", "number", lambda m: m.question_words),
                    PageColumn("answer characters (median)", "number", lambda m: m.answer_chars),
                    text_column("right answer at position 1, 2, ... (%)", _positions),
                    text_column("topics (%)", _topics),
                ),
                content.mixes,
                lambda mix: Filters(task=mix.task),
            ),
        ],
    )


def _positions(mix: LevelMix) -> str:
    return " / ".join(f"{100 * share:.0f}" for share in mix.positions)


def _topics(mix: LevelMix) -> str:
    return ", ".join(f"{name} {100 * share:.0f}" for name, share in mix.topics) or DASH


def cells_section(plan: Plan, surface: Surface) -> Section:
    """Returns the finished cells."""
    return Section(
        name="cells",
        title="Cells",
        label="Cells",
        blocks=[
            "Finished cells with their times. Core time is wall-clock time multiplied by the "
            "number of threads.",
            cell_table(plan, surface),
        ],
    )


def missing_section(plan: Plan, surface: Surface) -> Section:
    """Returns the cells without scores."""
    counts = surface.counts
    others = "of other studies in the run folder"
    ignored = count(counts.ignored, f"record {others} was", f"records {others} were")
    blocks: list[Block] = [
        f"{counts.finished} of {count(counts.planned, 'cell')} have a valid record; "
        f"{counts.not_run} have not run, {counts.failed} failed, "
        f"{count(counts.not_valid, 'record is', 'records are')} invalid. {ignored} ignored."
    ]
    if surface.reasons:
        blocks.append(missing_table(plan, surface))
    return Section(name="missing", title="Missing and failed cells", label="Missing", blocks=blocks)


def provenance_section(content: Content) -> Section:
    """Returns what a reader needs to reproduce the numbers."""
    return Section(
        name="provenance",
        title="Provenance",
        label="Provenance",
        blocks=[
            make_table(
                "provenance-rows",
                "Provenance of the numbers",
                (
                    text_column("fact", lambda fact: fact[0]),
                    text_column("value", lambda fact: fact[1]),
                ),
                content.provenance,
            )
        ],
    )
