"""`python -m study.export RUN --cell ID --to FOLDER`: copies a cell's adapter or probe.

The folder gets the files that the cell left (`Space.keep`) and a README.md in the format of model
cards: what was trained on which base model, and how to load it. Neither names a folder of this
machine, so both can be published.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from search_spaces.cell import Cell
from search_spaces.recipes import LinearProbe, trains_small_state
from study.artifacts.plan import ModelFacts, Plan, read_plan
from study.artifacts.study_folder import open_run
from study.cli import options
from study.cli.command import OK, checking_input, command, sweep_line
from study.formatting import percent
from trainables.cells.completion import checked_record, lacks_state
from trainables.cells.planned import PlannedCell
from trainables.models.source import ADAPTER_CONFIG
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, Record, read_file, state_names

CARD = "README.md"

HUB_CONTENT = re.compile(r"hub:(?P<name>[^@]+)@(?P<revision>[^;]+)")
"""Start of the identity of a model of the Hub (`ModelSource.content`)."""

KEEP_ADVICE = 'run the study again with Space(keep="adapters")'


@dataclass(frozen=True, kw_only=True)
class PublishedBase:
    """A base model as an exported adapter or probe names it."""

    name: str
    """On the Hub; of a folder without `--base` the last part of its name in the study."""
    revision: str | None = None
    is_on_hub: bool = True


@command(
    examples={
        "runs/own --cell 0123456789abcdef --to adapter": "Copy a cell's adapter or probe.",
        "s3://bucket/runs/own --cell 0123456789abcdef --to probe --base google/gemma-3-270m": (
            "Copy it from a bucket, and name the base model as the Hub does."
        ),
    },
)
def main(
    run: options.Run,
    cell: Annotated[
        str, typer.Option("--cell", metavar="ID", help="id of a cell, as in plan.json and W&B")
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="folder to create; may exist if empty")
    ],
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="OWNER/NAME", help="Hub name of a base model that is in a folder"
        ),
    ] = None,
) -> int:
    """Copies a cell's adapter (peft's format) or probe (safetensors), and adds a model card.

    Trains and scores nothing. The study must keep adapters: Space(keep="adapters"). To publish an
    adapter whose base model is in a folder, name the base model with --base: the export contains no
    path of this machine.

    Exit status: 0 done, 1 the output could not be written, 2 bad input (nothing was written).
    """
    with checking_input():
        storage, space = open_run(run)
        plan = read_plan(storage, space)
        planned = _find_cell(plan, cell)
        record = _find_record(storage, space, planned, keeps=plan.space.keep is not None)
        model = _model_of(plan, planned)
        published = _published_base(planned.cell, model, base)
        names = state_names(cell, record)
        files = {name: read_file(storage, record, layout.trained(cell, name)) for name in names}
        _check_target(to)
        to.mkdir(parents=True, exist_ok=True)
        if ADAPTER_CONFIG in files:
            files[ADAPTER_CONFIG] = _with_base(files[ADAPTER_CONFIG], published)
        files[CARD] = _card(planned, model, published, record).encode()
        for name, content in files.items():
            (to / name).write_bytes(content)
    print(f"{planned.label}: {', '.join(files)} in {to}")
    if not published.is_on_hub:
        print(f"To publish it, export it with --base OWNER/NAME: the Hub's name of {model.name}")
    return OK


def _find_cell(plan: Plan, id_: str) -> PlannedCell:
    for planned in plan.cells:
        if planned.id == id_:
            return planned
    lines = "".join(f"\n  {cell.id}  {cell.label}" for cell in plan.cells if _is_kept(cell))
    raise ValueError(
        f"--cell {id_!r}: {plan.space.name} has no such cell; cells that keep an adapter or a "
        f"probe: {lines or f'none ({KEEP_ADVICE})'}"
    )


def _is_kept(planned: PlannedCell) -> bool:
    return planned.keeps_state and trains_small_state(planned.cell.recipe)


def _find_record(storage: Storage, space: str, planned: PlannedCell, *, keeps: bool) -> Record:
    """Returns the record of a finished cell that left an adapter or a probe.

    Args:
        storage: The run folder.
        space: Name of the study.
        planned: The cell.
        keeps: Whether the study keeps adapters.

    Raises:
        ValueError: If it has not finished, its files are damaged, or it leaves neither.
    """
    if not _is_kept(planned):
        advice = "only cells that train an adapter or a probe do"
        if trains_small_state(planned.cell.recipe):
            advice = KEEP_ADVICE
        elif not keeps:
            advice += f", and the study keeps none; {KEEP_ADVICE}"
        raise ValueError(
            f"cell {planned.id} ({planned.label}) keeps no adapter and no probe: {advice}"
        )
    record = checked_record(storage, planned)
    if isinstance(record, InvalidRecordError):
        raise ValueError(f"cell {planned.id} ({planned.label}) is damaged: {record}")
    if record is None or lacks_state(planned, record):
        missing = "has not finished" if record is None else "has a record without its state"
        raise ValueError(
            f"cell {planned.id} ({planned.label}) {missing}: run "
            f"{sweep_line(space, storage.root)} first"
        )
    return record


def _check_target(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--to {folder} must be a new or an empty folder")


def _model_of(plan: Plan, planned: PlannedCell) -> ModelFacts:
    return next(model for model in plan.models if model.content == planned.cell.model)


def _published_base(cell: Cell, model: ModelFacts, given: str | None) -> PublishedBase:
    """Returns how the export names the base model.

    Args:
        cell: Trained on it.
        model: The base model in the plan.
        given: `--base`.

    Raises:
        ValueError: If `--base` is no name on the Hub, or the base model was loaded from there.
    """
    from trainables.models.resolve import HUB_NAME  # with the Hub's client

    if given is not None and not HUB_NAME.fullmatch(given):
        raise ValueError(f"--base {given!r} must be a name on the Hub of the form OWNER/NAME")
    if hub := HUB_CONTENT.match(cell.model):
        if given is not None:
            raise ValueError(
                f"--base {given}: the base model is {hub['name']} of the Hub; leave --base out, "
                "which names a base model in a folder"
            )
        return PublishedBase(name=hub["name"], revision=hub["revision"])
    if given is not None:
        return PublishedBase(name=given)
    # `models/tiny` is a folder here, but an owner and a name to peft and on the Hub.
    return PublishedBase(name=Path(model.name).name, is_on_hub=False)


def _with_base(config: bytes, base: PublishedBase) -> bytes:
    """Returns an adapter_config.json that names the base model, rather than its folder."""
    named = {"base_model_name_or_path": base.name, "revision": base.revision}
    return json.dumps(json.loads(config) | named, indent=2, sort_keys=True).encode()


def _card(planned: PlannedCell, model: ModelFacts, base: PublishedBase, record: Record) -> str:
    """Returns a model card: base model, training, accuracy, and the lines that load the files."""
    cell = planned.cell
    is_adapter = not isinstance(cell.recipe, LinearProbe)
    library = "library_name: peft\n" if is_adapter else ""
    recipe = json.dumps(cell.recipe.model_dump(mode="json", exclude_none=True), indent=1)
    revision = "" if base.revision is None else f"revision `{base.revision}`, "
    return f"""\
---
base_model: {json.dumps(base.name)}
{library}---

# {planned.label.replace(model.name, base.name)}

| | |
|---|---|
| base model | {base.name}, {revision}`{cell.model}`, {cell.dtype}, quantization \
{cell.recipe.quantization} |
| labels | {planned.condition}, seed {cell.seed} |
| task | {cell.task}, data `{cell.data_hash}` |
| accuracy | {percent(record.accuracy)} % of {record.num_items} test items of all levels |
| cell | `{planned.id}` |

```python
{_load_base(cell, base)}
{_LOAD_ADAPTER if is_adapter else _LOAD_PROBE}
```

Recipe:

```json
{recipe}
```
"""


def _load_base(cell: Cell, base: PublishedBase) -> str:
    """Returns the lines that load the base model as the cell had it."""
    name = json.dumps(base.name)
    lines = [f"{name}," if base.is_on_hub else f"{name},  # its folder: the table has the hash"]
    if base.revision is not None:
        lines.append(f"revision={json.dumps(base.revision)},")
    lines.append(f'dtype="{cell.dtype}",')
    imported = "AutoModelForCausalLM"
    if cell.recipe.quantization != "none":
        from trainables.models.loading import bitsandbytes_options  # with torch

        given = bitsandbytes_options(cell.recipe.quantization, cell.dtype)
        options = ", ".join(f"{name}={value!r}" for name, value in given.items())
        lines.append(f"quantization_config=BitsAndBytesConfig({options}),")
        imported += ", BitsAndBytesConfig"
    body = "".join(f"    {line}\n" for line in lines)
    return (
        f"from transformers import {imported}\n\n"
        f"base = AutoModelForCausalLM.from_pretrained(\n{body})"
    )


_LOAD_ADAPTER = """\

from peft import PeftModel

model = PeftModel.from_pretrained(base, ".")  # the folder of this file, or its name on the Hub"""

_LOAD_PROBE = """\

from trainables.methods.probes.probe import load_probe

probe = load_probe(".")  # the folder of this file
# probe.scores(hidden states of probe.layers at the last token of question and answer)"""


if __name__ == "__main__":
    sys.exit(main())
