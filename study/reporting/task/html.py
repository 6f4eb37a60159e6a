"""The report of a task as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from study.reporting.task.describe import DataReport
from study.reporting.task.text import band, mix, overlap

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#1a1a1a;background:#fff}"
    "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
    "th,td{border-bottom:1px solid #ccc;padding:.25rem .75rem .25rem 0;text-align:left;"
    "vertical-align:top}"
    "caption{text-align:left;font-weight:600;padding:.5rem 0}"
    "li.gold{font-weight:600}li.gold::after{content:' (gold)';font-weight:400}"
    "blockquote{margin:.5rem 0;white-space:pre-wrap}"
)


def data_html(report: DataReport) -> str:
    """Returns the whole page."""
    facts = {
        "Source": report.source,
        "Licence": report.licence,
        "Items": f"{report.num_items:,} in {report.num_groups:,} groups",
        "Split": f"{report.num_pool:,} pool, {report.num_test:,} test ({report.split_hash[:12]})",
        "Data hash": report.data_hash[:12],
        "Copies": f"{report.num_duplicates:,} items have the question and choices of another",
    }
    body = [
        f"<h1>Task {escape(report.task)}</h1>",
        _table("", ("", ""), facts.items()),
        _list("Notes", report.notes),
        _list("Skipped rows", report.skipped),
        _levels(report),
        _mix(report),
        _correlations(report),
        "<h2>Examples</h2>",
        *_examples(report),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Task '
        f"{escape(report.task)}</title><style>{_STYLE}</style></head><body>"
        f"{''.join(body)}</body></html>\n"
    )


def _levels(report: DataReport) -> str:
    head = ("Measure", "Level", "Values", "Items", "Pool", "Test", f"Overlap of {report.n_train}")
    return _table(
        "Levels: what can be trained and tested on",
        head,
        (
            (
                row.measure,
                row.level,
                band(row),
                f"{row.num_items:,}",
                f"{row.num_pool:,}",
                f"{row.num_test:,}",
                overlap(row, report.n_train),
            )
            for row in report.levels
        ),
    )


def _mix(report: DataReport) -> str:
    head = ("Measure", "Level", "Question words", "Answer chars", "Answer at place", "Topics")
    rows = ((row.measure, row.level, *mix(row)) for row in report.levels)
    return _table("Level mix: what else differs between levels", head, rows)


def _correlations(report: DataReport) -> str:
    rows = (
        (
            pair.first,
            pair.second,
            "constant" if pair.spearman is None else f"{pair.spearman:+.3f}",
            f"{pair.num_items:,}",
        )
        for pair in report.correlations
    )
    return _table("Spearman correlation of the measures", ("", "", "rho", "Items"), rows)


def _examples(report: DataReport) -> Iterable[str]:
    for row in report.levels:
        item = report.examples[row.example_id]
        choices = "".join(
            f"<li{' class=gold' if place == item.answer else ''}>{escape(choice)}</li>"
            for place, choice in enumerate(item.choices)
        )
        yield (
            f"<h3>{escape(row.measure)}: {escape(row.level)} ({band(row)})</h3>"
            f"<blockquote>{escape(item.question)}</blockquote><ol type=A>{choices}</ol>"
        )


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    top = f"<thead><tr>{heads}</tr></thead>" if any(head) else ""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}{top}<tbody>{lines}</tbody></table>"


def _list(title: str, texts: Sequence[str]) -> str:
    if not texts:
        return ""
    lines = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<h2>{escape(title)}</h2><ul>{lines}</ul>"
