"""The pairs of the lab as a task: fixed, graded, and split by question."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from transformers import AutoTokenizer

from trainables.data.items import Item, data_hash
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.lab.preferences import gold_reward, preference_questions
from trainables.data.prompts.formats import get_prompt
from trainables.data.splits import make_split
from trainables.data.task import TaskData
from trainables.data.tasks.preferences.micro_preferences import TASK, load_micro_preferences
from trainables.data.tasks.registry import load_task

GOLDEN_HASH = "3b803c87283c1be7d0dc696839ea1645b0ffd2064a1aa20748fad628d71affd0"


@pytest.fixture(scope="module")
def data() -> TaskData:
    return load_task("micro_preferences")


def test_items_are_the_same_as_ever_in_every_process(data: TaskData) -> None:
    code = (
        "from trainables.data.items import data_hash; import sys;"
        "from trainables.data.tasks.preferences.micro_preferences import load_micro_preferences;"
        "print(data_hash(load_micro_preferences()), 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "7", "PATH": ""},
    )  # fmt: skip
    assert run.stdout.split() == [GOLDEN_HASH, "False"]
    assert data.data_hash == data_hash(load_micro_preferences()) == GOLDEN_HASH


def test_the_gold_choice_has_the_higher_reward(data: TaskData) -> None:
    problems = {question.text: question.problem for question in preference_questions()}
    for item in data.items:
        rewards = [gold_reward(problems[item.question], choice) for choice in item.choices]
        assert rewards[item.answer] > rewards[1 - item.answer]
        assert item.hardness["closeness"] == 20 - abs(rewards[0] - rewards[1])
        assert item.hardness["steps"] == len(problems[item.question].steps)


def test_the_better_answers_place_is_drawn_and_not_from_which_is_better(data: TaskData) -> None:
    for level in TASK.cuts["closeness"]["default"]:
        first = [item.answer == 0 for item in data.items if in_level(item, level.low, level.high)]
        assert abs(sum(first) / len(first) - 0.5) < 0.04


def in_level(item: Item, low: float, high: float) -> bool:
    return low <= item.hardness["closeness"] <= high


def test_levels_go_from_large_margins_to_small_ones_and_leave_no_pair_out(data: TaskData) -> None:
    levels = data.cuts["closeness"]
    assert [level.name for level in levels] == ["easy", "medium", "hard"]
    counts = Counter(
        level.name
        for item in data.items
        for level in levels
        if level.holds(item.hardness["closeness"])
    )
    assert counts == {"easy": 1536, "medium": 1536, "hard": 1536}
    assert len(data.items) == 3 * 1536


def test_pairs_of_a_question_are_one_group(data: TaskData) -> None:
    groups: dict[str | None, set[str]] = {}
    for item in data.items:
        groups.setdefault(item.group, set()).add(item.question)
    assert None not in groups
    assert all(len(questions) == 1 for questions in groups.values())
    assert len(groups) == len(preference_questions())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("default", "How many?\nA) 2 kites\nB) 5\nAnswer: 2 kites"),
        ("letter", "How many?\nstart = 2 kites\nend = 5\nThe answer is start"),
        ("text", "How many?\nAnswer: 2 kites"),
    ],
)
def test_prompt_bytes(name: str, text: str) -> None:
    item = Item(id="x", question="How many?", choices=("2 kites", "5"), answer=0)
    assert get_prompt("micro_preferences", name).example(item, 0) == text


def test_a_verdict_is_one_token() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MICRO_MODELS["micro-l"])
    prompt = get_prompt("micro_preferences", "letter")
    item = Item(id="x", question="How many?", choices=("2 kites", "5"), answer=0)
    before = tokenizer(prompt.question(item)).input_ids
    first, last = (
        tokenizer(prompt.question(item) + text).input_ids for text in prompt.choice_texts(item)
    )
    assert len(first) == len(last) == len(before) + 1
    assert first[:-1] == last[:-1] == before
    assert first != last


def test_the_split_keeps_questions_apart_and_every_level_in_the_test(data: TaskData) -> None:
    split = make_split(data, n_train=160)
    groups = {item.id: item.group for item in data.items}
    assert not {groups[id_] for id_ in split.pool} & {groups[id_] for id_ in split.test}
    for level in ("easy", "medium", "hard"):
        assert sum(id_.endswith(level) for id_ in split.pool) >= 320
        assert sum(id_.endswith(level) for id_ in split.test) >= 200
