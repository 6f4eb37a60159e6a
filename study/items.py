"""`python -m study.items RUN`: what every arm answers to every test item, to browse and to export.

Writes report/items.html. A run folder holds no question text, so the tasks are loaded again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from search_spaces.explain import count
from study.analysis.items.results import item_results
from study.analysis.scores import collect_scores
from study.artifacts.items import read_items
from study.artifacts.plan import read_plan
from study.artifacts.study_folder import open_run
from study.cli import options
from study.cli.command import OK, checking_input, command, sweep_line
from study.reporting.items.browser import items_page
from study.reporting.items.export import check_export, export_items
from study.reporting.items.inspect_logs import check_inspect, write_inspect_logs
from study.reporting.items.texts import TaskTexts, load_texts
from trainables.storage import layout


@command(
    examples={
        "runs/micro": "Write the item browser of the default study.",
        "runs/arc --data-root data --export items.jsonl": "Also write a row per item and arm.",
    },
)
def main(
    run: options.Run,
    data_root: options.DataRoot = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="page to write (default: RUN/report/items.html)"
        ),
    ] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(
            "--export",
            metavar="FILE",
            help="also write a row per item and arm to FILE (.jsonl or .parquet; may be repeated)",
        ),
    ] = None,
    inspect: Annotated[
        Path | None,
        typer.Option(
            "--inspect",
            metavar="FOLDER",
            help="also write one log per arm in the format of inspect_ai (pip extra `inspect`)",
        ),
    ] = None,
    with_text: Annotated[
        bool,
        typer.Option(
            "--with-text", help="let question text go to a bucket; local files always have it"
        ),
    ] = False,
) -> int:
    """Writes the item browser of a study, finished or not, and exports its results per item.

    The page and the exports are the only files with question text. Where the data is missing, the
    page shows ids.

    Exit status: 0 done, 1 the output could not be written, 2 bad input (nothing was written).
    """
    with checking_input():
        for path in export or ():
            check_export(path, with_text=with_text)
        if inspect is not None:
            check_inspect()
        storage, space = open_run(run)
        plan = read_plan(storage, space)
        items = read_items(storage, space)
        scores = collect_scores(storage, plan, items)
        if not scores.records:
            raise ValueError(
                f"{run} has no record of any of the {count(len(plan.cells), 'cell')} of {space}: "
                f"run {sweep_line(space, storage.root)} first"
            )
        results = item_results(plan, items, scores)
        texts = load_texts(plan, data_root)
        if export or inspect is not None:
            _require_texts(texts)
        is_private = html is not None or storage.is_local or with_text
        page = items_page(plan, results, texts if is_private else {}).encode()
        if html is None:
            storage.write_bytes(layout.report(space, "items.html"), page)
        else:
            html.write_bytes(page)
        for path in export or ():
            export_items(path, results, texts)
        if inspect is not None:
            write_inspect_logs(inspect, plan, storage, results, texts)
    _report(html or storage.path(layout.report(space, "items.html")), texts, is_private=is_private)
    for path in (*(export or ()), *([inspect] if inspect is not None else ())):
        print(f"Export: {path}")
    return OK


def _require_texts(texts: Mapping[str, TaskTexts]) -> None:
    """Raises ValueError if the items of a task are missing: an export has their text."""
    for loaded in texts.values():
        if loaded.reason:
            raise ValueError(f"an export needs the data of the study, but {loaded.reason}")


def _report(page: object, texts: Mapping[str, TaskTexts], *, is_private: bool) -> None:
    print(f"Items:  {page}")
    if not is_private:
        print(
            "The page has ids and no questions, because RUN is in a bucket: --html FILE writes a "
            "local page, --with-text writes the text to the bucket"
        )
    for loaded in texts.values():
        if is_private and loaded.reason:
            print(f"Without questions, only ids: {loaded.reason}")


if __name__ == "__main__":
    sys.exit(main())
