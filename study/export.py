"""`python -m study.export RUN --cell ID --to FOLDER`: copies a cell's adapter or probe.

The folder gets the files that the cell left (`Space.keep`) and a README.md in the format of model
cards: what was trained on which base model, and how to load it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from search_spaces.recipes import trains_small_state
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

KEEP_ADVICE = 'run the study again with Space(keep="adapters")'


@command(
    examples={
        "runs/own --cell 0123456789abcdef --to adapter": "Copy a cell's adapter or probe.",
        "s3://bucket/runs/own --cell 0123456789abcdef --to probe": "Copy it from a bucket.",
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
) -> int:
    """Copies a cell's adapter (peft's format) or probe (safetensors), and adds a model card.

    Trains and scores nothing. The study must keep adapters: Space(keep="adapters").

    Exit status: 0 done, 1 the output could not be written, 2 bad input (nothing was written).
    """
    with checking_input():
        storage, space = open_run(run)
        plan = read_plan(storage, space)
        planned = _find_cell(plan, cell)
        record = _find_record(storage, space, planned, keeps=plan.space.keep is not None)
        names = state_names(cell, record)
        files = {name: read_file(storage, record, layout.trained(cell, name)) for name in names}
        _check_target(to)
        to.mkdir(parents=True, exist_ok=True)
        files[CARD] = _card(planned, _model_of(plan, planned), record, names).encode()
        for name, content in files.items():
            (to / name).write_bytes(content)
    print(f"{planned.label}: {', '.join(files)} in {to}")
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


def _card(planned: PlannedCell, model: ModelFacts, record: Record, names: tuple[str, ...]) -> str:
    """Returns a model card: base model, training, accuracy, and the lines that load the files."""
    cell = planned.cell
    is_adapter = ADAPTER_CONFIG in names
    library = "library_name: peft\n" if is_adapter else ""
    recipe = json.dumps(cell.recipe.model_dump(mode="json", exclude_none=True), indent=1)
    return f"""\
---
base_model: {json.dumps(model.name)}
{library}---

# {planned.label}

| | |
|---|---|
| base model | {model.name}, `{cell.model}`, {cell.dtype}, quantization {cell.recipe.quantization} |
| labels | {planned.condition}, seed {cell.seed} |
| task | {cell.task}, data `{cell.data_hash}` |
| accuracy | {percent(record.accuracy)} % of {record.num_items} test items of all levels |
| cell | `{planned.id}` |

```python
{_LOAD_ADAPTER if is_adapter else _LOAD_PROBE}
```

Recipe:

```json
{recipe}
```
"""


_LOAD_ADAPTER = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained(BASE_MODEL)  # the folder, or the name on the Hub
model = PeftModel.from_pretrained(base, FOLDER_OF_THIS_FILE)"""

_LOAD_PROBE = """\
from trainables.methods.probes.probe import load_probe

probe = load_probe(FOLDER_OF_THIS_FILE)  # probe.scores(hidden states of probe.layers)"""


if __name__ == "__main__":
    sys.exit(main())
