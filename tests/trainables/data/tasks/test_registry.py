from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.real_data import ROOT, needs
from trainables.data.prompts.formats import FORMATS, get_prompt
from trainables.data.tasks.published_sizes import FACTS
from trainables.data.tasks.registry import TASKS, load_task


def test_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown task 'trivia'; the known ones: arc, gsm8k, "):
        load_task("trivia")
    with pytest.raises(ValueError, match=r"unknown task 'GSM8' \(did you mean 'gsm8k'\?\); the kn"):
        load_task("GSM8")
    with pytest.raises(ValueError, match="unknown task 'arc:x'"):
        load_task("arc:x")


def test_every_task_has_a_prompt_and_says_what_it_accepts() -> None:
    assert set(FORMATS) == set(TASKS)
    for name, spec in TASKS.items():
        assert spec.name == name
        assert spec.accepts and spec.licence and spec.title
        assert get_prompt(name).template


def test_facts_name_the_levels_that_the_task_has() -> None:
    for name, facts in FACTS.items():
        for measure, counts in facts.levels.items():
            standard = next(iter(TASKS[name].cuts[measure].values()))
            assert list(counts) == [level.name for level in standard]
            assert sum(counts.values()) == facts.num_items


@pytest.mark.parametrize(
    "name",
    [pytest.param(task, marks=needs(task)) for task in ("arc", "gsm8k", "llmbar", "pandalm")],
)
def test_facts_are_what_is_counted_on_the_data(name: str) -> None:
    items, facts = load_task(name, ROOT).items, FACTS[name]
    assert len(items) == facts.num_items
    characters = [len(item.question) + sum(map(len, item.choices)) for item in items]
    assert sum(characters) / len(items) == pytest.approx(facts.characters, abs=0.51)
    choices = [len(item.choices) for item in items]
    assert sum(choices) / len(items) == pytest.approx(facts.num_choices, abs=0.005)
    assert not facts.is_assumed


def test_row_order_and_white_space_do_not_change_the_data_hash(tmp_path: Path) -> None:
    rows = [
        {"id": n, "question": f" {n} + 1? ", "choices": [str(n + 1), "0 "], "answer": 0}
        for n in range(5)
    ]
    hashes = set()
    for number, order in enumerate((rows, rows[::-1])):
        folder = tmp_path / str(number) / "jsonl"
        folder.mkdir(parents=True)
        (folder / "own.jsonl").write_text("\n".join(map(json.dumps, order)))
        hashes.add(load_task("jsonl:own", tmp_path / str(number)).data_hash)
    assert len(hashes) == 1


def test_own_items_bring_numeric_and_ordered_measures(tmp_path: Path) -> None:
    folder = tmp_path / "jsonl"
    folder.mkdir()
    rows = [
        {"id": "a", "question": "q", "choices": ["x", "y"], "answer": "y", "age": 7, "feel": "low"},
        {"id": "b", "question": "r", "choices": ["x", "y"], "answer": 0, "age": 9.5, "feel": None},
        {"id": "c", "question": "s", "choices": ["x", "y"], "answer": 0, "feel": "high",
         "group": "g", "topic": "t", "reasoning": "one two"},
    ]  # fmt: skip
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "own.measures.json").write_text('{"feel": ["low", "mid", "high"]}')
    data = load_task("jsonl", tmp_path)
    assert [item.answer for item in data.items] == [1, 0, 0]
    assert data.measures["age"] == {"a": 7.0, "b": 9.5}
    assert data.measures["feel"] == {"a": 1.0, "c": 3.0}
    assert data.measures["reasoning_words"] == {"c": 2.0}
    assert (data.items[2].group, data.items[2].topic) == ("g", "t")


def test_one_of_several_own_files_must_be_named(tmp_path: Path) -> None:
    folder = tmp_path / "jsonl"
    folder.mkdir()
    for name in ("one", "two"):
        row = {"id": name, "question": name, "choices": ["x", "y"], "answer": 0}
        (folder / f"{name}.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match=r"there is one\.jsonl, two\.jsonl; .*as jsonl:NAME"):
        load_task("jsonl", tmp_path)
    assert load_task("jsonl:two", tmp_path).items[0].id == "two"
