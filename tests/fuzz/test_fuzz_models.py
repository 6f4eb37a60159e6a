"""Any model folder: planned where its files fit together, else refused before a cell is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from study import sweep
from tests.fuzz.harness import Outcome, Tally, accepted, examples, refused, run
from tests.fuzz.own_study import write_study
from tests.support.tiny_models import save_folder

CONFIG, WEIGHTS = "config.json", "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"

Tensors = dict[str, np.ndarray]
Draw = st.DrawFn
Change = Callable[[Draw, Path], None]


def changed(file: str, change: Callable[[Draw, dict[str, Any]], None]) -> Change:
    """A change to what a JSON file holds."""

    def apply(draw: Draw, folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(draw, content)
        (folder / file).write_text(json.dumps(content))

    return apply


def key(file: str, name: str, values: st.SearchStrategy[Any]) -> Change:
    """Another value of one key."""
    return changed(file, lambda draw, content: content.update({name: draw(values)}))


def contents(file: str, values: st.SearchStrategy[bytes]) -> Change:
    """Other bytes in place of a file."""

    def apply(draw: Draw, folder: Path) -> None:
        (folder / file).write_bytes(draw(values))

    return apply


def gone(*files: str) -> Change:
    def apply(_: Draw, folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return apply


def cut(file: str) -> Change:
    def apply(draw: Draw, folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: draw(st.integers(0, len(content) - 2))])

    return apply


def a_folder(file: str) -> Change:
    def apply(_: Draw, folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return apply


def tensors(change: Callable[[Draw, Tensors], Tensors | None]) -> Change:
    """Other tensors in the file of weights."""

    def apply(draw: Draw, folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        held = change(draw, held) or held
        save_file(held, folder / WEIGHTS, metadata={"format": "pt"})

    return apply


def _missing(draw: Draw, held: Tensors) -> None:
    del held[draw(st.sampled_from(sorted(held)))]


def _more(draw: Draw, held: Tensors) -> None:
    name = draw(st.sampled_from(["model.extra.weight", "score.weight", "model.layers.7.odd"]))
    held[name] = np.zeros((2, 32), np.float32)


def _under(draw: Draw, held: Tensors) -> Tensors:
    prefix = draw(st.sampled_from(["module.", "base_model.model.", "_orig_mod.", "x."]))
    return {prefix + name: value for name, value in held.items()}


def _another_shape(draw: Draw, held: Tensors) -> None:
    name = draw(st.sampled_from(sorted(held)))
    values = held[name]
    held[name] = np.ascontiguousarray(values[: draw(st.integers(1, len(values) - 1))])


def _another_name(draw: Draw, held: Tensors) -> None:
    name = draw(st.sampled_from(sorted(held)))
    held[f"{name}_{draw(st.integers(0, 9))}"] = held.pop(name)


def _reward_head(_: Draw, held: Tensors) -> None:
    del held["lm_head.weight"]
    held["score.weight"] = np.zeros((1, 32), np.float32)


def _no_head(_: Draw, held: Tensors) -> None:
    del held["lm_head.weight"]


def _one_layer_less(draw: Draw, held: Tensors) -> Tensors:
    layer = draw(st.integers(0, 2))
    return {name: value for name, value in held.items() if f"layers.{layer}." not in name}


def _header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def _sharded(draw: Draw, folder: Path) -> None:
    held = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    number = draw(st.integers(2, 3))
    place = {
        name: f"model-{draw(st.integers(1, number)):05}-of-{number:05}" for name in sorted(held)
    }
    for part in set(place.values()):
        save_file(
            {name: held[name] for name in held if place[name] == part},
            folder / f"{part}.safetensors",
            metadata={"format": "pt"},
        )
    index = {
        "metadata": {"total_size": sum(value.nbytes for value in held.values())},
        "weight_map": {name: f"{part}.safetensors" for name, part in place.items()},
    }
    (folder / INDEX).write_text(json.dumps(index))


def _of_shards(change: Callable[[Draw, Path, dict[str, Any]], None]) -> Change:
    """A fault of an index beside sharded weights."""

    def apply(draw: Draw, folder: Path) -> None:
        _sharded(draw, folder)
        index = json.loads((folder / INDEX).read_text())
        change(draw, folder, index)
        (folder / INDEX).write_text(json.dumps(index))

    return apply


def _shard_missing(draw: Draw, folder: Path, _: dict[str, Any]) -> None:
    draw(st.sampled_from(sorted(folder.glob("*.safetensors")))).unlink()


def _no_index(draw: Draw, folder: Path) -> None:
    _sharded(draw, folder)
    (folder / INDEX).write_bytes(draw(any_json))


def _odd_map(draw: Draw, _: Path, index: dict[str, Any]) -> None:
    index["weight_map"] = draw(st.sampled_from([None, 5, [], {"a": 5}, "x"]))


def _stray(draw: Draw, folder: Path, index: dict[str, Any]) -> None:
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    index["weight_map"]["strange"] = draw(st.sampled_from([*shards, "none.safetensors"]))


def _adapter(_: Draw, folder: Path) -> None:
    (folder / CONFIG).rename(folder / "adapter_config.json")


any_json = st.sampled_from([b"", b"[]", b"null", b"5", b'"x"', b"{", b"\xff{}", b"[" * 10**5])
no_size = st.sampled_from(["wide", -1, 0, 1.5, True, "32 "])

SIZES = ["hidden_size", "vocab_size", "num_hidden_layers"]

NO_HEADER = {
    "no JSON": b"{",
    "a list": b"[]",
    "no UTF-8": b"\xff",
    "without a tensor": b"{}",
    "nested too deep": b"[" * 10**5,
    "a number for a tensor": b'{"a": 5}',
    "a tensor without an end": b'{"a": {"data_offsets": [0]}}',
    "a tensor with odd ends": b'{"a": {"data_offsets": "xy"}}',
    "a tensor that is not there": b'{"a": {"data_offsets": [0, 4]}}',
}

FAULTS: Mapping[str, Change] = {
    "no config": gone(CONFIG),
    "a config that is a folder": a_folder(CONFIG),
    "a config cut short": cut(CONFIG),
    "a config that is no object": contents(CONFIG, any_json),
    "an empty config": contents(CONFIG, st.just(b"{}")),
    "no kind of model": changed(CONFIG, lambda _, content: content.pop("model_type")),
    "another kind of model": key(
        CONFIG, "model_type", st.sampled_from(["t5", "vit", "x", "", None, 5, []])
    ),
    "another architecture": key(CONFIG, "model_type", st.sampled_from(["gpt2", "gpt_neox"])),
    "code of its own": changed(
        CONFIG,
        lambda draw, content: content.update(
            model_type=draw(st.sampled_from(["own", "bert2"])),
            auto_map={"AutoModelForCausalLM": "own.Model"},
        ),
    ),
    "more layers than in the file": key(CONFIG, "num_hidden_layers", st.integers(4, 9)),
    "fewer layers than in the file": key(CONFIG, "num_hidden_layers", st.integers(1, 2)),
    "another width": key(CONFIG, "hidden_size", st.sampled_from([8, 16, 36, 64, 128])),
    "another inner width": key(CONFIG, "intermediate_size", st.sampled_from([1, 32, 47, 96])),
    "another vocabulary": key(CONFIG, "vocab_size", st.sampled_from([1, 100, 399, 401, 32000])),
    "other heads": key(CONFIG, "num_key_value_heads", st.sampled_from([1, 4])),
    "a width that is none": key(CONFIG, "hidden_size", no_size),
    "a vocabulary that is none": key(CONFIG, "vocab_size", no_size),
    "layers that are no count": key(CONFIG, "num_hidden_layers", no_size),
    "a size of another kind": changed(
        CONFIG,
        lambda draw, content: content.update(
            {draw(st.sampled_from(SIZES)): draw(st.sampled_from([None, [32], {}]))}
        ),
    ),
    "an encoder": key(CONFIG, "model_type", st.just("bert")),
    "no weights": gone(WEIGHTS),
    "weights that may run code": lambda _, folder: (folder / WEIGHTS).rename(folder / "model.bin"),
    "weights cut short": cut(WEIGHTS),
    "weights that are a folder": a_folder(WEIGHTS),
    "weights that are a pointer": contents(
        WEIGHTS, st.just(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    ),
    **{
        f"a header that is {way}": contents(WEIGHTS, st.just(_header(header)))
        for way, header in NO_HEADER.items()
    },
    "any bytes as weights": contents(WEIGHTS, st.binary(max_size=60)),
    "a tensor that is missing": tensors(_missing),
    "a tensor too many": tensors(_more),
    "tensors under another name": tensors(_under),
    "a tensor of another shape": tensors(_another_shape),
    "a tensor of another name": tensors(_another_name),
    "a layer that is missing": tensors(_one_layer_less),
    "no head": tensors(_no_head),
    "a reward model's head": tensors(_reward_head),
    "a shard that is missing": _of_shards(_shard_missing),
    "an index without a map": _of_shards(_odd_map),
    "an index of a tensor that is nowhere": _of_shards(_stray),
    "an index that is no object": _no_index,
    "an adapter without its base": _adapter,
    "more layers than memory holds": key(CONFIG, "num_hidden_layers", st.integers(10**4, 10**9)),
    "a token without a row": changed(
        TOKENIZER,
        lambda draw, held: held["model"]["vocab"].update(zzz=draw(st.integers(400, 9999))),
    ),
    "a generation config that is no object": contents("generation_config.json", any_json),
    "no tokenizer": gone(TOKENIZER, TOKENIZER_CONFIG),
    "a tokenizer cut short": cut(TOKENIZER),
    "a tokenizer that is no object": contents(TOKENIZER, any_json),
    "a tokenizer without a vocabulary": changed(TOKENIZER, lambda _, held: held.pop("model")),
    "a tokenizer of another kind": key(TOKENIZER, "model", st.sampled_from([5, None, {}, []])),
    "a tokenizer's settings cut short": cut(TOKENIZER_CONFIG),
    "a tokenizer's settings that are none": contents(TOKENIZER_CONFIG, any_json),
    "a tokenizer with code of its own": key(
        TOKENIZER_CONFIG, "auto_map", st.just({"AutoTokenizer": ["own.Tokenizer", None]})
    ),
}


def _half(draw: Draw, held: Tensors) -> Tensors:
    kind = draw(st.sampled_from([np.float16, np.float64]))
    return {name: value.astype(kind) for name, value in held.items()}


GOOD: Mapping[str, Change] = {
    "as it is": lambda draw, folder: None,
    "sharded": _sharded,
    "another number format": tensors(_half),
    "a note of its own": key(CONFIG, "own_note", st.text(max_size=9) | st.integers() | st.none()),
    "no special tokens": changed(
        TOKENIZER_CONFIG, lambda draw, held: held.update(chat_template="{{ messages }}")
    ),
    "files that nobody reads": contents("README.md", st.binary(max_size=30)),
    "a longer context": key(CONFIG, "max_position_embeddings", st.integers(256, 10**6)),
}


SAYS = {
    "no config": "holds no config.json",
    "no kind of model": "model_type",
    "another kind of model": "model_type",
    "an encoder": "encoder",
    "an adapter without its base": "adapter without",
    "more layers than memory holds": "hold only 39 tensors",
    "a width that is none": "at least 1",
    "a vocabulary that is none": "at least 1",
    "layers that are no count": "at least 1",
    "no weights": "holds no *.safetensors",
    "weights that may run code": "holds no *.safetensors",
    "weights cut short": "safetensors file",
    **{
        f"a header that is {way}": "safetensors file"
        for way in NO_HEADER
        if way != "without a tensor"
    },
}
"""What a message says of a fault that a later check would refuse, too."""


class Study:
    """A space of one model folder, which is changed and then planned."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root, self.model = root, model
        self.arguments = write_study(root, model=str(model))

    def plan(self) -> Outcome:
        out = ["--dry-run", "--out", str(self.root / "runs")]
        return run(sweep.main, *self.arguments, *out, keeps=self.root)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has a head of its own."""
    return save_folder(tmp_path_factory.mktemp("models") / "untied", "qwen2")


@pytest.fixture
def fresh(untied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Study]:
    """Makes the model's folder as it was before it was changed."""
    monkeypatch.chdir(tmp_path)

    def make() -> Study:
        model = tmp_path / "model"
        if model.exists():
            shutil.rmtree(model)
        shutil.copytree(untied, model)
        return Study(tmp_path, model)

    return make


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_whose_files_do_not_fit_is_refused(fault: str, fresh: Callable[[], Study]) -> None:
    @examples(5)
    @given(draw=st.data())
    def check(draw: st.DataObject) -> None:
        study = fresh()
        FAULTS[fault](draw.draw, study.model)
        refused(study.plan(), "model", SAYS.get(fault, ""))

    check()


@pytest.mark.parametrize("way", GOOD)
def test_a_folder_whose_files_fit_is_planned(way: str, fresh: Callable[[], Study]) -> None:
    @examples(3)
    @given(draw=st.data())
    def check(draw: st.DataObject) -> None:
        study = fresh()
        GOOD[way](draw.draw, study.model)
        accepted(study.plan())

    check()


def test_any_folder_is_planned_or_refused_as_it_is(fresh: Callable[[], Study]) -> None:
    tally = Tally()

    def try_some(ways: Mapping[str, Change], expected: Callable[[Outcome], None]) -> None:
        @examples(20)
        @given(draw=st.data())
        def check(draw: st.DataObject) -> None:
            study = fresh()
            ways[draw.draw(st.sampled_from(sorted(ways)), label="what")](draw.draw, study.model)
            outcome = study.plan()
            tally[outcome.status] += 1
            expected(outcome)

        check()

    try_some(GOOD, accepted)
    try_some(FAULTS, refused)
    tally.check(ok=0.2, refused=0.3)


def test_a_tied_head_may_be_left_out_or_not(tmp_path: Path) -> None:
    model = save_folder(tmp_path / "model", "llama")
    accepted(Study(tmp_path, model).plan())
    held = load_file(model / WEIGHTS)
    assert "lm_head.weight" not in held
    held["lm_head.weight"] = held["model.embed_tokens.weight"].copy()
    save_file(held, model / WEIGHTS, metadata={"format": "pt"})
    accepted(Study(tmp_path, model).plan())
