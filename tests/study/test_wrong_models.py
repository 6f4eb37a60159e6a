"""A study whose models do not fit their config: refused before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

from study.cli.command import BAD_INPUT, FAILED, OK
from study.sweep import main
from tests.support.hub_models import NAME, serve
from tests.support.small_study import SmallStudy, scores_of
from trainables.cells import runner
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.models.loading import Base

TWIN = ("--address", "in-process")
TWO_MODELS = """
from search_spaces.recipes import InContext
from search_spaces.space import BaseModelRef, Level, Space, TaskAxis

EASY, HARD = Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4)

def space(*models):
    return Space(
        name="small",
        models=tuple(BaseModelRef(name=name) for name in models),
        tasks=(
            TaskAxis(
                task="jsonl:sums", measure="steps", train_levels=(EASY, HARD), test_levels=(HARD,)
            ),
        ),
        methods=(InContext(k=2),),
        seeds=1,
    )

def two():
    return space({first!r}, {second!r})

def one():
    return space({second!r})

def of_the_hub():
    return space({hub!r})
"""


class TwoModels:
    """A study of two models, and one of the second alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.second = folder, folder / "second"
        SmallStudy(folder=folder)  # its questions
        shutil.copytree(MICRO_MODELS["micro-s"], self.second)
        text = TWO_MODELS.format(first="micro-m", second=str(self.second), hub=NAME)
        (folder / "spaces.py").write_text(text)

    def run(self, function: str, out: Path) -> int:
        space = f"{self.folder / 'spaces.py'}:{function}"
        data = str(self.folder / "data")
        return main([space, "--data-root", data, "--out", str(out), *TWIN])


@pytest.fixture
def study(tmp_path: Path) -> TwoModels:
    return TwoModels(tmp_path)


def _no_head(folder: Path) -> None:
    _set(folder / "config.json", tie_word_embeddings=False)


def _score_head(folder: Path) -> None:
    _no_head(folder)
    path = folder / "model.safetensors"
    weights = {**load_file(path), "score.weight": torch.zeros(1, 48)}
    save_file(weights, path, metadata={"format": "pt"})


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _small_vocabulary(folder: Path) -> None:
    """Weights and config fit each other; the tokenizer has 40 more tokens."""
    _set(folder / "config.json", vocab_size=500)
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:500].clone()
    save_file(weights, path, metadata={"format": "pt"})


def _nan(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, path, metadata={"format": "pt"})


def _set(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no head": (_no_head, "tensors of its *.safetensors do not fit"),
    "reward model": (_score_head, "not in the model (score.weight)"),
    "layers": (lambda f: _set(f / "config.json", num_hidden_layers=3), "missing (model.layers.2."),
    "width": (lambda f: _set(f / "config.json", hidden_size=96), "tensors of its *.safetensors"),
    "empty config": (lambda f: (f / "config.json").write_text("{}"), "config.json"),
    "bert": (lambda f: _set(f / "config.json", model_type="bert"), "config.json"),
    "text": (lambda f: _set(f / "config.json", vocab_size="640"), "vocab_size"),
    "tokenizer": (lambda f: (f / "tokenizer.json").write_text('{"'), "tokenizer.json is not JSON"),
    "no tokenizer": (_no_tokenizer, "no tokenizer files with a vocabulary"),
    "small vocabulary": (_small_vocabulary, "vocab_size in its config.json is 500"),
    "not a number": (_nan, "tensor model.norm.weight in"),
    "own tokenizer": (
        lambda f: _set(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.T", None]}),
        "auto_map",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_does_not_fit_is_bad_input(
    study: TwoModels, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words = FAULTS[fault]
    spoil(study.second)
    assert study.run("two", tmp_path / "runs") == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line and str(study.second) in line
    assert "trust_remote_code" not in line
    assert not (tmp_path / "runs").exists()


def test_a_model_of_the_hub_whose_tokenizer_does_not_fit_is_bad_input(
    study: TwoModels,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _small_vocabulary(study.second)
    serve(study.second, monkeypatch)
    assert study.run("of_the_hub", tmp_path / "runs") == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: model {NAME!r}") and "in its config.json is 500" in line
    assert not (tmp_path / "runs").exists()


def test_a_name_of_the_hub_without_network_is_one_line_before_any_work(
    study: TwoModels,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_network(*args: object, **options: object) -> None:
        raise httpx2.ConnectError("[Errno -2] Name or service not known\n")

    monkeypatch.setattr(HfApi, "model_info", no_network)
    assert study.run("of_the_hub", tmp_path / "runs") == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: model {NAME!r}") and "the Hub cannot be reached" in line
    assert "give the path of a local copy" in line and not (tmp_path / "runs").exists()


def test_a_cell_does_not_depend_on_the_models_before_it(study: TwoModels, tmp_path: Path) -> None:
    assert study.run("two", tmp_path / "both") == OK
    assert study.run("one", tmp_path / "alone") == OK
    both, alone = scores_of(tmp_path / "both"), scores_of(tmp_path / "alone")
    assert alone and len(both) == 2 * len(alone)
    assert {id_: both[id_] for id_ in alone} == alone


def test_a_base_that_does_not_load_is_tried_once_and_fails_its_cells_alike(
    study: TwoModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tried = runner.load_for_engine, list[str]()

    def load(*args: object, **options: object) -> Base:
        tried.append(args[1].name)
        if args[1].name == str(study.second):
            raise ValueError("its file went away")
        return real(*args, **options)

    monkeypatch.setattr(runner, "load_for_engine", load)
    out = tmp_path / "runs"
    assert study.run("two", out) == FAILED
    assert sorted(tried) == sorted(["micro-m", str(study.second)])
    failures = [json.loads(path.read_text()) for path in out.rglob("failure.json")]
    assert len(failures) == len(scores_of(out)) > 1
    assert {failure["reason"] for failure in failures} == {"ValueError: its file went away"}
