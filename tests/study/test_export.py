"""Adapters and probes that a study keeps: used without the program, and exported."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from study.artifacts.plan import Plan, read_plan
from study.cli.command import BAD_INPUT, OK
from study.export import main as export
from study.planning.planner import make_plan
from study.sweep import main as sweep
from tests.support.hub_models import COMMIT, NAME, cached_folder
from tests.support.real_data import MODEL, needs_model
from tests.support.small_study import SmallStudy, scores_of
from tests.support.tiny_models import naive_scores
from trainables.cells.planned import PlannedCell
from trainables.data.items import Item
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.prompts.formats import get_prompt
from trainables.methods.probes.probe import load_probe
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record, read_scores

FOLDER = str(MICRO_MODELS["micro-s"])
PROMPT = get_prompt("jsonl:sums", "default")
PEFT_FILES = {"adapter_config.json", "adapter_model.safetensors"}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A finished study that kept its adapters, and its scores from a run without them."""

    study: SmallStudy
    out: Path
    plan: Plan
    scores_without: dict[str, bytes]
    records_without: dict[str, bytes]

    def cells(self, method: str) -> list[PlannedCell]:
        return [cell for cell in self.plan.cells if cell.cell.recipe.method == method]

    def folder(self, cell: PlannedCell) -> Path:
        return self.out / "cells" / cell.id / "adapter"

    def log_probs(self, cell: PlannedCell) -> dict[str, list[float]]:
        storage = open_storage(str(self.out))
        table = read_scores(storage, cell.id, read_record(storage, cell.id))
        return dict(zip(table["item_id"].to_pylist(), table["log_probs"].to_pylist(), strict=True))

    def items(self, cell: PlannedCell, number: int) -> tuple[Item, ...]:
        _, inputs = make_plan(self.plan.space, self.study.folder / "data")
        return inputs.tasks[cell.cell.task].by_id(sorted(self.log_probs(cell))[:number])


def run(study: SmallStudy, out: Path) -> None:
    assert sweep([*study.arguments, "--out", str(out), "--address", "in-process"]) == OK


def records_of(out: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in out.glob("cells/*/record.json")}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    study, out = SmallStudy(folder=folder), folder / "runs"
    file = folder / "space.py"
    text = file.read_text().replace("seeds=2", "seeds=1")
    text = text.replace("LoRA(n_train=6,", "LoRA(n_train=6, learning_rate=3e-2, rank=3,")
    file.write_text(text)
    run(study, out)
    scores, records = dict(scores_of(out)), records_of(out)
    file.write_text(text.replace("seeds=1", 'seeds=1, keep="adapters"'))
    run(study, out)
    plan = read_plan(open_storage(str(out)), "small")
    return Kept(study=study, out=out, plan=plan, scores_without=scores, records_without=records)


def test_adapters_and_probes_stay_and_nothing_else_does(kept: Kept) -> None:
    stored = {
        cell.id: {path.name for path in kept.folder(cell).glob("*")} for cell in kept.plan.cells
    }
    assert len(kept.cells("lora")) == len(kept.cells("linear probe")) == 3
    assert all(stored[cell.id] == PEFT_FILES for cell in kept.cells("lora"))
    assert all(stored[cell.id] == {"probe.safetensors"} for cell in kept.cells("linear probe"))
    rest = [*kept.cells("zero-shot"), *kept.cells("in-context")]
    assert len(rest) == 4 and not any(stored[cell.id] for cell in rest)


def test_keeping_adapters_runs_only_their_cells_again_with_equal_scores(kept: Kept) -> None:
    assert scores_of(kept.out) == kept.scores_without
    rerun = {
        id_ for id_, record in records_of(kept.out).items() if record != kept.records_without[id_]
    }
    assert rerun == {cell.id for cell in (*kept.cells("lora"), *kept.cells("linear probe"))}


def test_peft_loads_an_adapter_that_predicts_as_its_cell_did(kept: Kept) -> None:
    for cell in kept.cells("lora"):
        model = peft_model(kept, cell, FOLDER)
        config = model.peft_config["default"]
        assert (config.base_model_name_or_path, config.revision) == (FOLDER, None)
        assert (config.r, config.lora_alpha, config.inference_mode) == (3, 32.0, True)
        check_predictions(kept, cell, model, 12, tolerance=1e-4)


@needs_model
def test_peft_loads_the_adapter_of_a_real_model(tmp_path: Path) -> None:
    study, out = SmallStudy(folder=tmp_path, model=MODEL), tmp_path / "runs"
    text = (tmp_path / "space.py").read_text().replace("seeds=2", 'seeds=1, keep="adapters"')
    methods = re.search(r"methods=.*,\n", text)
    assert methods is not None
    text = text.replace(methods[0], "methods=(LoRA(n_train=6, learning_rate=1e-3),),\n")
    (tmp_path / "space.py").write_text(text)
    run(study, out)
    plan = read_plan(open_storage(str(out)), "small")
    kept = Kept(study=study, out=out, plan=plan, scores_without={}, records_without={})
    assert len(kept.cells("lora")) == 3
    for cell in kept.cells("lora"):
        check_predictions(kept, cell, peft_model(kept, cell, MODEL), 8, tolerance=1e-3)


def peft_model(kept: Kept, cell: PlannedCell, base: str) -> PeftModel:
    model = AutoModelForCausalLM.from_pretrained(base)
    return PeftModel.from_pretrained(model, kept.folder(cell)).eval()


def check_predictions(
    kept: Kept, cell: PlannedCell, model: PeftModel, number: int, *, tolerance: float
) -> None:
    """Compares a model's scores with the cell's, and checks that the adapter changes them."""
    tokenizer = AutoTokenizer.from_pretrained(model.peft_config["default"].base_model_name_or_path)
    items = kept.items(cell, number)
    questions = [PROMPT.question(item) for item in items]
    choices = [PROMPT.choice_texts(item) for item in items]
    found = naive_scores(model, tokenizer, questions, choices)
    with model.disable_adapter():
        plain = naive_scores(model, tokenizer, questions, choices)
    recorded = [np.array(kept.log_probs(cell)[item.id]) for item in items]
    for of_model, of_cell in zip(found, recorded, strict=True):
        assert of_model == pytest.approx(of_cell, abs=tolerance)
        assert of_model.argmax() == of_cell.argmax()
    assert max(np.abs(p - r).max() for p, r in zip(plain, recorded, strict=True)) > 0.05


def test_a_loaded_probe_predicts_as_its_cell_did(kept: Kept) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = AutoModelForCausalLM.from_pretrained(FOLDER).eval()
    cell = kept.cells("linear probe")[0]
    probe = load_probe(kept.folder(cell))
    for item in kept.items(cell, 8):
        rows = []
        for text in PROMPT.choice_texts(item):
            ids = tokenizer(PROMPT.question(item) + text, return_tensors="pt")
            with torch.no_grad():
                states = model(**ids, output_hidden_states=True).hidden_states
            rows.append(torch.cat([states[layer][0, -1] for layer in probe.layers]).double())
        found = probe.scores(torch.stack(rows)).log_softmax(0).numpy()
        assert found == pytest.approx(kept.log_probs(cell)[item.id], abs=1e-3)


def test_equal_studies_leave_equal_bytes(kept: Kept, tmp_path: Path) -> None:
    run(kept.study, tmp_path / "again")
    for cell in (*kept.cells("lora"), *kept.cells("linear probe")):
        for path in kept.folder(cell).glob("*"):
            other = tmp_path / "again" / path.relative_to(kept.out)
            assert other.read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("method", ["lora", "linear probe"])
def test_an_export_holds_the_files_and_a_card(
    kept: Kept, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, target = kept.cells(method)[0], tmp_path / "some" / "folder"
    assert export([str(kept.out / "small"), "--cell", cell.id, "--to", str(target)]) == OK
    assert str(target) in capsys.readouterr().out
    names = {path.name for path in kept.folder(cell).glob("*")}
    assert {path.name for path in target.iterdir()} == names | {"README.md"}
    for name in names - {"adapter_config.json"}:
        assert (target / name).read_bytes() == (kept.folder(cell) / name).read_bytes()
    card = (target / "README.md").read_text()
    assert card.startswith('---\nbase_model: "micro-s"\n')
    assert cell.id in card and cell.cell.model in card and cell.label in card
    loader = 'PeftModel.from_pretrained(base, ".")' if method == "lora" else 'load_probe(".")'
    assert loader in card
    for path in target.iterdir():
        assert FOLDER.encode() not in path.read_bytes()


@pytest.mark.parametrize("method", ["lora", "linear probe"])
def test_the_lines_of_a_card_load_what_was_exported(
    kept: Kept, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model is in a folder and, under the name that `--base` gives it, on the Hub."""
    hub = cached_folder(tmp_path / "hub", monkeypatch)
    shutil.copytree(FOLDER, hub)
    (hub.parents[1] / "refs").mkdir()
    (hub.parents[1] / "refs" / "main").write_text(COMMIT)
    cell, target = kept.cells(method)[0], tmp_path / "target"
    command = [str(kept.out / "small"), "--cell", cell.id, "--to", str(target)]
    assert export([*command, "--base", NAME]) == OK
    assert card_of(target).startswith(f'---\nbase_model: "{NAME}"\n')
    values = run_card(target, monkeypatch)
    if method == "lora":
        config = json.loads((target / "adapter_config.json").read_text())
        original = json.loads((kept.folder(cell) / "adapter_config.json").read_text())
        assert config == original | {"base_model_name_or_path": NAME, "revision": None}
        check_predictions(kept, cell, values["model"].eval(), 4, tolerance=1e-4)
    else:
        assert values["base"].dtype == torch.float32
        assert values["probe"].layers == load_probe(kept.folder(cell)).layers


def test_an_adapter_on_a_model_of_the_hub_names_its_commit_and_quantization(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = cached_folder(tmp_path / "hub", monkeypatch)
    shutil.copytree(FOLDER, hub)
    study, out = SmallStudy(folder=tmp_path, model=NAME), tmp_path / "runs"
    file = tmp_path / "space.py"
    text = file.read_text().replace("seeds=2", 'seeds=1, keep="adapters"')
    text = text.replace(f"name={NAME!r}", f"name={NAME!r}, revision={COMMIT!r}, dtype='bfloat16'")
    methods = re.search(r"methods=.*,\n", text)
    assert methods is not None
    text = text.replace(methods[0], "methods=(QLoRA(n_train=6, learning_rate=3e-2),),\n")
    file.write_text(text.replace("import InContext", "import QLoRA, InContext"))
    run(study, out)
    cell = next(c for c in read_plan(open_storage(str(out)), "small").cells if c.keeps_state)
    target = tmp_path / "target"
    command = [str(out / "small"), "--cell", cell.id, "--to", str(target)]
    capsys.readouterr()
    assert export([*command, "--base", "owner/other"]) == BAD_INPUT
    assert f"the base model is {NAME} of the Hub; leave --base out" in capsys.readouterr().err
    assert export(command) == OK
    assert "--base" not in capsys.readouterr().out
    config = json.loads((target / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (NAME, COMMIT)
    assert f"{NAME}, revision `{COMMIT}`, `{cell.cell.model}`, bfloat16, quantization nf4" in (
        card_of(target)
    )
    values = run_card(target, monkeypatch)
    loaded = values["base"].config.quantization_config
    assert (loaded.bnb_4bit_quant_type, loaded.bnb_4bit_use_double_quant) == ("nf4", True)
    assert loaded.bnb_4bit_compute_dtype == torch.bfloat16 == values["base"].dtype
    assert isinstance(values["model"], PeftModel)


@pytest.mark.parametrize("secret", ["/home/someone/models/tiny", "someone/tiny", "~/someone/tiny/"])
def test_a_model_that_is_named_by_its_path_is_exported_without_it(
    kept: Kept, tmp_path: Path, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    shutil.copytree(kept.out, out)
    plan = out / "small" / "plan.json"
    plan.write_text(plan.read_text().replace("micro-s", secret))
    cell = kept.cells("lora")[0]
    capsys.readouterr()
    command = [str(out / "small"), "--cell", cell.id, "--to", str(tmp_path / "target")]
    assert export(command) == OK
    assert f"--base OWNER/NAME: the Hub's name of {secret}" in capsys.readouterr().out
    card = card_of(tmp_path / "target")
    assert card.startswith('---\nbase_model: "tiny"\n') and "someone" not in card
    config = json.loads((tmp_path / "target" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"


@pytest.mark.parametrize("name", ["/any/folder", "name", "a/b/c", "owner/name@main"])
def test_a_base_that_is_no_name_on_the_hub_is_bad_input(
    kept: Kept, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, target = kept.cells("lora")[0], tmp_path / "target"
    command = [str(kept.out / "small"), "--cell", cell.id, "--to", str(target)]
    assert export([*command, "--base", name]) == BAD_INPUT
    assert f"--base {name!r} must be a name on the Hub" in capsys.readouterr().err
    assert not target.exists()


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text()


def run_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs the Python lines of a model card in its folder; returns their names."""
    code = re.search(r"```python\n(.*?)```", card_of(folder), re.DOTALL)
    assert code is not None
    values: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        exec(code[1], values)
    return values


def refusal(kept: Kept, cell: str, to: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert export([str(kept.out / "small"), "--cell", cell, "--to", str(to)]) == BAD_INPUT
    return capsys.readouterr().err


def test_an_export_that_cannot_be_made_is_bad_input(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora, target = kept.cells("lora")[0], tmp_path / "target"
    message = refusal(kept, "0123", target, capsys)
    assert "no such cell" in message and f"{lora.id}  {lora.label}" in message
    prompted = kept.cells("in-context")[0]
    assert prompted.id not in message
    message = refusal(kept, prompted.id, target, capsys)
    assert "only cells that train" in message and "keep=" not in message
    assert not target.exists()
    target.mkdir()
    (target / "mine.txt").write_text("kept")
    assert "must be a new or an empty folder" in refusal(kept, lora.id, target, capsys)
    assert [path.name for path in target.iterdir()] == ["mine.txt"]


def test_a_cell_without_its_files_is_not_exported(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Kept(
        study=kept.study,
        out=tmp_path / "runs",
        plan=kept.plan,
        scores_without={},
        records_without={},
    )
    shutil.copytree(kept.out, copy.out)
    cell, other, third = copy.cells("lora")
    (copy.folder(cell) / "adapter_model.safetensors").write_bytes(b"damaged")
    assert "does not match the hash" in refusal(copy, cell.id, tmp_path / "to", capsys)
    shutil.rmtree(copy.out / "cells" / other.id)
    command = f"`python -m study.sweep SPACE --out {copy.out}` with the SPACE of study small"
    assert f"run {command} first" in refusal(copy, other.id, tmp_path / "to", capsys)
    plan = copy.out / "small" / "plan.json"
    cells = json.loads(plan.read_text())
    for planned in cells["cells"]:
        planned["keeps_state"] = False
    cells["space"]["keep"] = None
    plan.write_text(json.dumps(cells))
    for id_ in (third.id, copy.cells("in-context")[0].id, "0123"):
        message = refusal(copy, id_, tmp_path / "to", capsys)
        assert 'run the study again with Space(keep="adapters")' in message
    assert not (tmp_path / "to").exists()
