"""Task `preferences`: what is there to test on never gets into a pool."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from trainables.data.splits import make_split
from trainables.data.task import SplitTask
from trainables.data.tasks.preferences.llmbar import ACCEPTS
from trainables.data.tasks.registry import load_task
from trainables.errors import DataError

SUBSETS = ("Natural", "Adversarial/Manual")


def chat(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def ultrafeedback(prompt: str, number: int) -> dict[str, object]:
    return {
        "chosen": chat(prompt, f"good {number}"),
        "rejected": chat(prompt, f"bad {number}"),
        "score_chosen": 8.0,
        "score_rejected": 6.0,
    }


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three training pairs have a prompt of a set to test on, one of them in other dress."""
    train = [ultrafeedback(f"train {n}", n) for n in range(20)]
    train += [ultrafeedback("Bench  0", 100), ultrafeedback("test 1", 101)]
    write(tmp_path / "ultrafeedback" / "train_prefs.jsonl", train)
    test = [ultrafeedback(f"test {n}", n) for n in range(5)]
    write(tmp_path / "ultrafeedback" / "test_prefs.jsonl", test)
    bench = [
        {"prompt": f"bench {n}", "chosen": "yes", "rejected": "no", "subset": "donotanswer"}
        for n in range(4)
    ]
    write(tmp_path / "rewardbench" / "filtered.jsonl", bench)
    panda = [
        {"idx": n, "instruction": f"panda {n}", "input": "", "response1": "a", "response2": "b",
         "motivation_app": "", "annotator1": 1, "annotator2": 1, "annotator3": 2}
        for n in range(3)
    ]  # fmt: skip
    write(tmp_path / "pandalm" / "testset-v1.jsonl", panda)
    bar = [
        {"subset": subset, "input": f"bar {subset}", "output_1": "a", "output_2": "b", "label": 2}
        for subset in SUBSETS
    ]
    write(tmp_path / "llmbar" / "llmbar.jsonl", bar)
    human = [
        {
            "chosen": f"\n\nHuman: {asked}\n\nAssistant: sure",
            "rejected": f"\n\nHuman: {asked}\n\nAssistant: no",
        }
        for asked in ("hh 0", "hh 1", "hh 2", "hh 3", "train 7")
    ]
    write(tmp_path / "hh_rlhf" / "helpful-base" / "test.jsonl", human[:3])
    write(tmp_path / "hh_rlhf" / "harmless-base" / "test.jsonl", human[3:])
    return tmp_path


def test_sets_are_told_apart_and_keep_their_subsets(folder: Path) -> None:
    task = load_task("preferences", folder)
    assert Counter(task.measures["set"].values()) == {0.0: 27, 1.0: 4, 2.0: 3, 3.0: 2, 4.0: 5}
    assert {item.id.partition("/")[0] for item in task.items} == {
        "ultrafeedback", "rewardbench", "pandalm", "llmbar", "hh_rlhf",
    }  # fmt: skip
    topics = {item.topic for item in task.items if item.id.startswith(("reward", "llmbar"))}
    assert topics == {"donotanswer", *SUBSETS}
    assert [level.name for level in task.cuts["set"]] == [
        "ultrafeedback", "rewardbench", "pandalm", "llmbar", "hh_rlhf",
    ]  # fmt: skip
    assert set(task.measures["disagreement"].values()) == {1.0}
    assert (
        set(task.measures["closeness"].values()) == {-2.0} and len(task.measures["closeness"]) == 27
    )
    assert "is test" not in task.measures


def test_nothing_of_a_test_set_is_trained_on(folder: Path) -> None:
    task = load_task("preferences", folder)
    split = make_split(task, n_train=5)
    by_id = {item.id: item for item in task.items}
    assert {by_id[id_].question for id_ in split.pool} == {f"train {n}" for n in range(20)} - {
        "train 7"
    }
    found = Counter(id_.partition("/")[0] for id_ in split.test)
    assert found == {
        "ultrafeedback": 5, "rewardbench": 4, "pandalm": 3, "llmbar": 2, "hh_rlhf": 5,
    }  # fmt: skip
    assert "3 items with a test item's prompt" in split.notes[0]
    pairs = task.cuts["set"][0].model_copy(update={"name": "pairs", "high": 4.0})
    assert len(SplitTask(data=task, split=split).pool_ids("set", pairs)) == 19


def test_own_split_does_not_depend_on_seed_or_size_but_on_the_items(folder: Path) -> None:
    task = load_task("preferences", folder)
    first = make_split(task, n_train=5)
    assert make_split(task, n_train=9, study_seed=3) == first
    row = ultrafeedback("another", 7)
    with (folder / "ultrafeedback" / "train_prefs.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    assert make_split(load_task("preferences", folder), n_train=5).split_hash != first.split_hash


def test_missing_set_names_the_file_to_put(folder: Path) -> None:
    (folder / "llmbar" / "llmbar.jsonl").unlink()
    with pytest.raises(DataError) as caught:
        load_task("preferences", folder)
    assert ACCEPTS in str(caught.value)
