"""ZeRO on two processes: the numbers of one worker up to rounding, and the base as it was.

The oracle is the plain engine in this process. All that needs two processes is run once, by
`zero_group.py`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.tiny_models import save_folder
from tests.support.zero_group import HALVES, RECIPES, RESUMED, SMALL_BATCHES, load, run
from trainables.methods.base.interface import Execution

ROOT = Path(__file__).parents[3]
CURVE, SCORES, WEIGHTS = 1e-5, 1e-4, 1e-5
"""Class B of fp32: allowed differences of a loss, of a log-probability, and of a weight."""

TRAINED = [
    f"zero-{stage} {method}{offload}"
    for stage in (1, 2, 3)
    for method in ("lora", "full")
    for offload in ("", " offload")
] + ["zero-2 nf4", "zero-2 reward"]
UNTRAINED = ["zero-3 zero-shot", "zero-3 in-context", "zero-3 probe"]
HALF = 0.05
"""Of a log-probability in bfloat16, which has 8 bits of precision."""


class Group:
    """What two workers found, and what one worker finds."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.words = [json.loads((out / f"worker-{rank}.json").read_text()) for rank in (0, 1)]
        self.states = [
            {
                key: load_file(out / f"{number}-{rank}.safetensors")
                for number, key in enumerate(words["order"])
            }
            for rank, words in enumerate(self.words)
        ]
        self.bases = {
            "none": load(folder),
            "nf4": load(folder, quantization="nf4"),
            "bfloat16": load(folder, dtype="bfloat16"),
        }
        self.plain: dict[str, Any] = {}

    def alone(self, method: str, kind: str | None = None) -> dict[str, Any]:
        key = f"{method} {kind}"
        if key not in self.plain:
            base = self.bases[kind or RECIPES[method].quantization]
            execution = Execution(token_share=SMALL_BATCHES)
            self.plain[key] = run(
                method, base, execution, self.teacher if method == "round" else None
            )
        return self.plain[key]

    @property
    def teacher(self) -> dict[str, torch.Tensor]:
        """What the two workers' round began with."""
        state = self.states[0]["zero-3 lora"]
        return {name: weight for name, weight in state.items() if name != "none"}


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    folder = save_folder(tmp_path_factory.mktemp("base"), "llama", "bytes")
    out = tmp_path_factory.mktemp("zero")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.zero_group"]
    workers = [
        subprocess.Popen(
            [*command, str(folder), str(out), str(rank), "2", str(port)],
            cwd=ROOT,
            env={**os.environ, "TORCH_EXTENSIONS_DIR": str(out / "compiled")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        said = [worker.communicate(timeout=500)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], said[0][-3000:] + said[1][-3000:]
    assert not (out / "compiled").exists(), "no compiler is needed"
    return Group(folder, out)


def largest_difference(one: list[list[float]], other: list[list[float]]) -> float:
    pairs = zip(one, other, strict=True)
    return max(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs)


@pytest.mark.parametrize("key", TRAINED)
def test_two_workers_train_as_one_does(group: Group, key: str) -> None:
    one, two = group.alone(key.split()[1]), group.words[0][key]
    assert [row["step"] for row in two["curve"]] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert [row["learning_rate"] for row in two["curve"]] == pytest.approx(
        [row["learning_rate"] for row in one["curve"]]
    )
    for ours, theirs in zip(one["curve"], two["curve"], strict=True):
        assert abs(ours["loss"] - theirs["loss"]) < CURVE
    assert largest_difference(one["scores"], two["scores"]) < SCORES
    state = group.states[0][key]
    assert set(state) - {"none"} == set(one["state"])
    for name, weight in one["state"].items():
        assert float((weight - state[name]).abs().max()) < WEIGHTS


@pytest.mark.parametrize("key", UNTRAINED)
def test_a_base_in_pieces_answers_as_a_whole_one(group: Group, key: str) -> None:
    one, two = group.alone(key.split()[1]), group.words[0][key]
    assert largest_difference(one["scores"], two["scores"]) < SCORES


def test_a_base_in_pieces_writes_what_a_whole_one_writes(group: Group) -> None:
    texts = group.alone("reasoning")["texts"]
    assert len(set(texts)) > 2 and all(texts)
    assert group.words[0]["zero-3 reasoning"]["texts"] == texts


def test_a_round_of_self_training_is_that_of_one_worker(group: Group) -> None:
    one, two = group.alone("round"), group.words[0]["zero-3 round"]
    assert one["selected"] and two["selected"] == one["selected"]
    assert len(two["curve"]) == len(one["curve"]) > len(group.alone("lora")["curve"])
    for ours, theirs in zip(one["curve"], two["curve"], strict=True):
        assert abs(ours["loss"] - theirs["loss"]) < CURVE
    assert largest_difference(one["scores"], two["scores"]) < SCORES


@pytest.mark.parametrize("name", ["reasoning", "round"])
def test_workers_whose_numbers_differ_do_what_the_first_one_does(group: Group, name: str) -> None:
    """They would else make other passes, and wait for each other for ever."""
    for words in group.words:
        other, usual = words[f"other bits {name}"], words[f"zero-3 {name}"]
        assert other["texts"] == usual["texts"]
        assert other["selected"] == usual["selected"]
        assert other["curve"] == usual["curve"]


@pytest.mark.parametrize("name", HALVES)
def test_a_base_of_16_bits_in_pieces_is_as_a_whole_one(group: Group, name: str) -> None:
    assert group.words[0]["formats"] == ["torch.bfloat16"]
    one, two = group.alone(name, "bfloat16"), group.words[0][f"bfloat16 {name}"]
    assert largest_difference(one["scores"], two["scores"]) < HALF
    for ours, theirs in zip(one["curve"], two["curve"], strict=True):
        assert abs(ours["loss"] - theirs["loss"]) < HALF
    if name == "lora":
        kinds = {weight.dtype for weight in group.states[0]["bfloat16 lora"].values()}
        assert kinds == {torch.float32}
        untrained = group.alone("zero-shot", "bfloat16")["scores"]
        assert largest_difference(one["scores"], untrained) > 10 * HALF


def test_memory_that_runs_out_on_one_worker_halves_the_batches_of_all(group: Group) -> None:
    one = group.alone("lora")
    for words in group.words:
        halved = words["short of memory"]
        assert halved["share"] == SMALL_BATCHES / 4
        for ours, theirs in zip(one["curve"], halved["curve"], strict=True):
            assert abs(ours["loss"] - theirs["loss"]) < CURVE


def test_training_moves_the_answers_by_more_than_the_tolerance(group: Group) -> None:
    untrained = group.alone("zero-shot")["scores"]
    for method in ("lora", "full", "nf4"):
        assert largest_difference(untrained, group.alone(method)["scores"]) > 100 * SCORES


@pytest.mark.parametrize("key", [*TRAINED, *UNTRAINED])
def test_all_workers_find_the_same(group: Group, key: str) -> None:
    assert group.words[0][key] == group.words[1][key]


def test_the_base_stays_in_pieces_and_is_what_it_was(group: Group) -> None:
    whole = dict(group.bases["none"].model.named_parameters())
    total = sum(weight.numel() for weight in whole.values())
    for words, states in zip(group.words, group.states, strict=True):
        assert words["pieces"] == {"is_sharded": True, "visible": 0, "held": total // 2}
        after = states["base afterwards"]
        assert all(torch.equal(after[name], weight) for name, weight in whole.items())


def test_nothing_of_deepspeed_is_left_on_the_model(group: Group) -> None:
    assert group.words[0]["left"] == []


@pytest.mark.parametrize("key", [f"{engine} {method}" for engine, method in RESUMED])
def test_a_resumed_training_goes_the_same_way(group: Group, key: str) -> None:
    for words in group.words:
        resumed = words[f"resumed {key}"]
        assert resumed["from"] == 3
        assert resumed["curve"] == words[key]["curve"]


def test_a_failure_of_all_workers_is_a_failed_cell_and_the_group_goes_on(group: Group) -> None:
    for words in group.words:
        assert words["loss is no number"].startswith("TrainingError: the loss is")
        assert words["afterwards"] == words["zero-3 lora"]["curve"]


def test_a_failure_of_one_worker_ends_the_group(group: Group) -> None:
    first, second = group.words
    assert second["broken"].startswith("GroupBrokenError: worker 2 of 2: OSError: a disk")
    assert first["broken"] == ""
