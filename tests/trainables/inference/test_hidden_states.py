"""States: those of one plain forward per choice, at the last real token, for all items at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from search_spaces.base_models import BaseModelRef
from tests.support.tiny_models import make_items, make_tokenizer, save_folder
from trainables.data.items import Item
from trainables.data.prompts.formats import Prompt, get_prompt
from trainables.distributed.worker_group import WorkerGroup
from trainables.inference import hidden_states
from trainables.inference.hidden_state_files import (
    InvalidStatesError,
    LayerStates,
    StateFiles,
    state_key,
)
from trainables.inference.hidden_states import LAYERS, Layer, StateCache, TaskStates, layer_number
from trainables.inference.scoring import score_tokens
from trainables.inference.tokenization import tokenize_items
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model
from trainables.storage import layout
from trainables.storage.filesystem import Storage, open_storage

ITEMS = make_items(15, seed=3)
TEST, REST = ITEMS[::2], ITEMS[1::2]
PROMPT = get_prompt("micro")
KEY = ("model", "float32", "none", "data", "prompt")
ARCHITECTURES = ["llama", "mistral", "gemma2", "gpt2", "mixtral", "bloom"]


def load(folder: Path, name: str = "llama", kind: str = "bytes") -> Base:
    source = resolve_model(BaseModelRef(name=str(save_folder(folder, name, kind))))
    return load_base(source, "float32", "none", "cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def calls(base: Base) -> Iterator[list[int]]:
    """Yields what grows with every forward pass of the base."""
    seen: list[int] = []
    embeddings = base.model.get_input_embeddings()
    handle = embeddings.register_forward_hook(lambda module, args, output: seen.append(1))
    yield seen
    handle.remove()


def plain_states(base: Base, text: str) -> tuple[torch.Tensor, ...]:
    """Returns every hidden state of the text's last token."""
    ids = base.tokenizer(text)["input_ids"]
    with torch.no_grad():
        hidden = base.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return tuple(state_BTH[0, -1].double() for state_BTH in hidden)


def extract_states(
    base: Base, items: Sequence[Item], prompt: Prompt, layers: Sequence[Layer] = LAYERS
) -> TaskStates:
    return StateCache().get(base, items, prompt, key=(), layers=layers)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_states_are_those_of_one_forward_per_choice(tmp_path: Path, name: str) -> None:
    base = load(tmp_path / name, name)
    hidden_states = extract_states(base, ITEMS, PROMPT, layers=("middle", "last", 0, 1))
    assert bool(hidden_states.notes) == (name == "bloom")
    for item in ITEMS:
        rows, counts = hidden_states.of([item], ("middle", "last", 0, 1))
        assert counts == [len(item.choices)]
        for row, choice in zip(rows, PROMPT.choice_texts(item), strict=True):
            hidden = plain_states(base, PROMPT.question(item) + choice)
            wanted = (hidden[ceil(len(hidden) / 2)], hidden[-1], hidden[0], hidden[1])
            torch.testing.assert_close(row, torch.cat(wanted), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", [None, "<unk>"])
def test_padding_has_no_say(base: Base, side: str, pad: str | None) -> None:
    expected, _ = extract_states(base, ITEMS, PROMPT).of(ITEMS, ("last",))
    tokenizer = make_tokenizer("bytes", side=side)
    tokenizer.pad_token = pad
    other = Base(model=base.model, tokenizer=tokenizer, device=base.device)
    found, _ = extract_states(other, ITEMS, PROMPT).of(ITEMS, ("last",))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_of_the_same_pass_are_those_of_the_scorer(tmp_path: Path, name: str) -> None:
    base = load(tmp_path / name, name)
    items = ITEMS[::-1]
    cache = StateCache()
    scored = cache.scores(base, items, PROMPT, key=(), layers=LAYERS)
    hidden_states = cache.get(base, items, PROMPT, key=(), layers=LAYERS)
    tokenized = tokenize_items(
        base.tokenizer,
        [PROMPT.question(item) for item in items],
        [PROMPT.choice_texts(item) for item in items],
    )
    plain = score_tokens(base.model, tokenized).log_probs
    for found, expected in zip(scored.log_probs, plain, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    alone, _ = extract_states(base, items, PROMPT).of(items, ("middle", "last"))
    assert torch.equal(hidden_states.of(items, ("middle", "last"))[0], alone)


def test_scores_are_the_same_bytes_with_and_without_probes_beside_them(base: Base) -> None:
    alone = StateCache().scores(base, TEST, PROMPT, key=KEY)
    beside, later = StateCache(), StateCache()
    probes = beside.scores(base, TEST[::-1], PROMPT, key=KEY, layers=("middle", 0))
    later.get(base, ITEMS, PROMPT, key=KEY, test=TEST)
    after = later.scores(base, TEST, PROMPT, key=KEY)
    for one, two, three in zip(
        alone.log_probs, probes.log_probs[::-1], after.log_probs, strict=True
    ):
        assert one.tobytes() == two.tobytes() == three.tobytes()


def test_one_pass_serves_the_scores_and_the_states_of_the_test_items(
    base: Base, calls: list[int]
) -> None:
    cache = StateCache()
    cache.scores(base, TEST, PROMPT, key=KEY, layers=("middle", "last"))
    calls.clear()
    cache.get(base, TEST, PROMPT, key=KEY, test=TEST)
    assert not calls
    whole = cache.get(base, ITEMS, PROMPT, key=KEY, test=TEST)
    assert calls
    rest = extract_states(base, REST, PROMPT)
    found, expected = (hidden_states.of(REST, ("last",))[0] for hidden_states in (whole, rest))
    assert torch.equal(found, expected)


def test_the_layers_are_the_middle_one_and_the_one_after_the_final_norm(base: Base) -> None:
    hidden_states = extract_states(base, ITEMS, PROMPT)
    both, _ = hidden_states.of(ITEMS, ("middle", "last"))
    middle, _ = hidden_states.of(ITEMS, ("middle",))
    last, counts = hidden_states.of(ITEMS, ("last",))
    assert torch.equal(both, torch.cat([middle, last], dim=1))
    assert sum(counts) == len(both) == sum(len(item.choices) for item in ITEMS)
    norm = last / base.model.model.norm.weight.double()
    ones = torch.ones(len(norm), dtype=torch.float64)
    torch.testing.assert_close(norm.square().mean(1), ones, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("layer", "number"), [("middle", 17), ("last", 32), (0, 0), (32, 32)])
def test_layers_are_counted_from_the_embeddings(layer: str | int, number: int) -> None:
    assert layer_number(layer, 32) == number  # type: ignore[arg-type]


@pytest.mark.parametrize("layer", [-1, 33, "first"])
def test_a_layer_that_the_model_lacks_is_refused(layer: str | int) -> None:
    with pytest.raises(ValueError, match="from 0"):
        layer_number(layer, 32)  # type: ignore[arg-type]


def test_states_do_not_depend_on_the_order_of_the_items(base: Base) -> None:
    forwards, backwards = (extract_states(base, items, PROMPT) for items in (ITEMS, ITEMS[::-1]))
    found = [
        hidden_states.of(ITEMS, ("middle", "last"))[0] for hidden_states in (forwards, backwards)
    ]
    assert torch.equal(*found)


def test_states_are_extracted_once_a_task_and_prompt(base: Base, calls: list[int]) -> None:
    cache = StateCache()
    calls.clear()
    first = cache.get(base, ITEMS, PROMPT, key=KEY)
    num_calls = len(calls)
    again = cache.get(base, ITEMS, PROMPT, key=KEY)
    assert len(calls) == num_calls
    assert again.parts[0][3].state_AH is first.parts[0][3].state_AH
    cache.get(base, ITEMS, PROMPT, key=(*KEY, "other"))
    assert len(calls) > num_calls


def kept(folder: Path, max_bytes: int = 2**20) -> StateFiles:
    return StateFiles(storage=open_storage(str(folder)), max_bytes=max_bytes)


def features(cache: StateCache, base: Base, layers: Sequence[str | int]) -> torch.Tensor:
    hidden_states = cache.get(base, ITEMS, PROMPT, key=KEY, test=TEST, layers=layers)  # type: ignore[arg-type]
    return hidden_states.of(ITEMS, layers)[0]  # type: ignore[arg-type]


def test_a_later_process_reads_the_states_of_the_run_folder(
    base: Base, calls: list[int], tmp_path: Path
) -> None:
    first = features(StateCache(files=kept(tmp_path)), base, ("middle", "last"))
    assert len(list((tmp_path / "states").iterdir())) == 4  # two passes, two layers
    calls.clear()
    cache = StateCache(files=kept(tmp_path))
    assert torch.equal(features(cache, base, ("middle", "last")), first)
    assert not calls
    features(cache, base, ("last", 1))
    assert calls
    assert len(list((tmp_path / "states").iterdir())) == 6


def test_items_in_another_order_read_the_same_files(
    base: Base, calls: list[int], tmp_path: Path
) -> None:
    first = features(StateCache(files=kept(tmp_path)), base, ("last",))
    calls.clear()
    cache = StateCache(files=kept(tmp_path))
    hidden_states = cache.get(base, ITEMS[::-1], PROMPT, key=KEY, test=TEST[::-1], layers=("last",))
    assert not calls
    assert torch.equal(hidden_states.of(ITEMS, ("last",))[0], first)


@pytest.mark.parametrize("fault", ["cut", "flipped", "renamed", "empty"])
def test_a_broken_file_is_extracted_again_and_said(base: Base, tmp_path: Path, fault: str) -> None:
    first = features(StateCache(files=kept(tmp_path)), base, ("last",))
    one, other = sorted((tmp_path / "states").iterdir())
    content = one.read_bytes()
    broken = {
        "cut": content[:-1],
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        "renamed": other.read_bytes(),
        "empty": b"",
    }
    one.write_bytes(broken[fault])
    cache = StateCache(files=kept(tmp_path))
    assert torch.equal(features(cache, base, ("last",)), first)
    notes = cache.get(base, ITEMS, PROMPT, key=KEY, test=TEST, layers=("last",)).notes
    assert len(notes) == 1
    assert "extracted again" in notes[0]
    assert str(one) in notes[0]
    assert one.read_bytes() == content


def test_large_states_are_not_written_and_that_is_said(base: Base, tmp_path: Path) -> None:
    cache = StateCache(files=kept(tmp_path, max_bytes=100))
    features(cache, base, ("last",))
    assert not (tmp_path / "states").exists()
    hidden_states = cache.get(base, ITEMS, PROMPT, key=KEY, test=TEST, layers=("last",))
    assert "not kept" in " ".join(hidden_states.notes)


def refuse(*given: object) -> None:
    raise OSError("No space left on device")


@pytest.mark.parametrize("what", ["_put", "read_bytes"])
def test_a_run_folder_that_refuses_costs_the_states_file_and_nothing_else(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    expected = extract_states(base, ITEMS, PROMPT)
    monkeypatch.setattr(Storage, what, refuse)
    found = StateCache(files=kept(tmp_path)).get(base, ITEMS, PROMPT, key=KEY)
    for got, wanted in zip(found.parts, expected.parts, strict=True):
        assert all(torch.equal(got[n].state_AH, wanted[n].state_AH) for n in wanted)
    assert any("No space left on device" in note for note in found.notes)


class Pair:
    """Two workers that extract together; their passes are counted, and made once here."""

    def __init__(self, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base, self.passes = base, [0, 0]
        self.here = threading.local()
        real, lock = hidden_states.run_forward, threading.Lock()

        def counted(*given: Any, **options: Any) -> Any:
            self.passes[self.here.rank] += 1
            with lock:  # one model
                return real(*given, **options)

        monkeypatch.setattr(hidden_states, "run_forward", counted)

    def get(self, folder: Path) -> list[TaskStates]:
        store = dist.HashStore()

        def one(rank: int) -> TaskStates:
            self.here.rank = rank
            worker_group = WorkerGroup(rank=rank, size=2, store=store)
            cache = StateCache(files=kept(folder), worker_group=worker_group)
            return cache.get(self.base, ITEMS, PROMPT, key=KEY, test=TEST)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(one, range(2)))


def test_workers_together_write_a_file_once_and_then_read_it(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    pair, real = Pair(base, monkeypatch), StateFiles.write

    def write(self: StateFiles, *given: Any) -> str | None:
        written.append(pair.here.rank)
        return real(self, *given)

    monkeypatch.setattr(StateFiles, "write", write)
    pair.get(tmp_path)
    assert pair.passes == [2, 2] and set(written) == {0}
    pair.get(tmp_path)
    assert pair.passes == [2, 2]


@pytest.mark.parametrize("blind", [0, 1])
@pytest.mark.parametrize("error", [OSError("it refuses"), FileNotFoundError("not seen yet")])
def test_a_file_that_one_worker_cannot_read_is_extracted_again_by_all(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blind: int, error: OSError
) -> None:
    """One alone in a pass over a base in pieces would wait for the others for ever."""
    pair, real = Pair(base, monkeypatch), Storage.read_bytes
    pair.get(tmp_path)

    def read(self: Storage, key: str) -> bytes:
        if pair.here.rank == blind:
            raise error
        return real(self, key)

    monkeypatch.setattr(Storage, "read_bytes", read)
    first, second = pair.get(tmp_path)
    assert pair.passes == [4, 4]
    for one, other in zip(first.parts, second.parts, strict=True):
        assert all(torch.equal(one[n].state_AH, other[n].state_AH) for n in one)


def test_files_keep_the_number_format_and_the_notes(tmp_path: Path) -> None:
    files = kept(tmp_path)
    state_AH = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    hidden_states = LayerStates(state_AH=state_AH, counts={"b": 2, "a": 3}, notes=("slow",))
    assert files.write("key", hidden_states) is None
    found = files.read("key", ["b", "a"])
    assert found is not None
    assert found.state_AH.dtype == torch.bfloat16
    assert torch.equal(found.state_AH, state_AH)
    assert found.notes == ("slow",)
    assert list(found.counts.items()) == [("b", 2), ("a", 3)]
    assert files.read("other", ["b", "a"]) is None
    with pytest.raises(InvalidStatesError, match="something else"):
        files.read("key", ["a", "b"])


def test_a_file_of_another_key_is_refused(tmp_path: Path) -> None:
    files = kept(tmp_path)
    hidden_states = LayerStates(state_AH=torch.zeros(1, 1), counts={"a": 1})
    files.write("key", hidden_states)
    (tmp_path / layout.states("key")).rename(tmp_path / layout.states("other"))
    with pytest.raises(InvalidStatesError, match="something else"):
        files.read("other", ["a"])


def test_all_that_changes_the_numbers_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = state_key(KEY, ["a", "b"], 3, "cpu")
    others = [
        *(state_key((*KEY[:at], "x", *KEY[at + 1 :]), ["a", "b"], 3, "cpu") for at in range(5)),
        state_key(KEY, ["a"], 3, "cpu"),
        state_key(KEY, ["a", "b"], 2, "cpu"),
        state_key(KEY, ["a", "b"], 3, "cuda"),
    ]
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    others.append(state_key(KEY, ["a", "b"], 3, "cpu"))
    assert len({key, *others}) == 1 + len(others)
