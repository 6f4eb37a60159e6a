"""Byte-level expectations of every task's prompts."""

from __future__ import annotations

import pytest

from trainables.data.items import Item
from trainables.data.prompts.formats import (
    FORMATS,
    PromptFormat,
    find_prompt,
    get_prompt,
    trivial_items,
)

FOUR = Item(id="q", question="Why {so}?", choices=("because", "red", "green", "blue"), answer=0)
YES_NO = Item(
    id="s", question="Do ants fly?", choices=("yes", "no"), answer=0, reasoning="Queens do."
)
SUM = Item(
    id="g", question="1 + 1 + 1?", choices=("3",), answer=0, reasoning="1 + 1 = 2\n2 + 1 = 3"
)
PAIR = Item(id="p", question="Say hi.", choices=("Hi!", ""), answer=0)

LISTED = "Question: Why {so}?\nA) because\nB) red\nC) green\nD) blue\nAnswer:"
PAPER = "Question: Why {so}? \nA) because\nB) red\nC) green\nD) blue\nAnswer:"
CHOICES = (" because", " red", " green", " blue")
LETTERS = (" A", " B", " C", " D")
PLAIN = "Why {so}?\nAnswer:"
OPEN = "Question: Why {so}?\nAnswer:"
COMPARE = "[CONTEXT] Say hi.\n[RESPONSE A] Hi!\n[RESPONSE B] \nThe better response is:"

SCORED = [
    ("micro", "default", FOUR, PLAIN, CHOICES),
    ("micro", "open", FOUR, OPEN, CHOICES),
    ("micro", "letter", FOUR, LISTED, LETTERS),
    ("micro", "listed", FOUR, LISTED, CHOICES),
    ("jsonl:mine", "default", FOUR, OPEN, CHOICES),
    *[
        case
        for task in ("arc", "mmlu_stem5", "science")
        for case in (
            (task, "default", FOUR, LISTED, CHOICES),
            (task, "letter", FOUR, LISTED, LETTERS),
            (task, "open", FOUR, OPEN, CHOICES),
            (task, "paper", FOUR, PAPER, CHOICES),
        )
    ],
    ("strategyqa", "default", YES_NO, "Q: Do ants fly?\nA:", (" yes", " no")),
    ("strategyqa", "paper", YES_NO, "Q: Do ants fly?\nA:", (" yes", " no")),
    (
        "strategyqa",
        "letter",
        YES_NO,
        "Question: Do ants fly?\nA) yes\nB) no\nAnswer:",
        (" A", " B"),
    ),
    *[
        case
        for task in ("hh_rlhf", "ultrafeedback", "rewardbench", "pandalm", "llmbar")
        for case in (
            (task, "default", PAIR, COMPARE, (" A", " B")),
            (task, "text", PAIR, "Say hi.\n\nResponse:", (" Hi!", " ")),
        )
    ],
]


@pytest.mark.parametrize(("task", "name", "item", "question", "choices"), SCORED)
def test_question_and_choices_byte_for_byte(
    task: str, name: str, item: Item, question: str, choices: tuple[str, ...]
) -> None:
    prompt = get_prompt(task, name)
    assert prompt.question(item) == question
    assert prompt.choice_texts(item) == choices
    assert not question.endswith(" ")


@pytest.mark.parametrize(("task", "name", "item", "question", "choices"), SCORED)
def test_example_is_the_scored_text(
    task: str, name: str, item: Item, question: str, choices: tuple[str, ...]
) -> None:
    prompt = get_prompt(task, name)
    for answer, choice in enumerate(choices):
        if name == "paper":
            # The paper's examples have a space before the answer's line, its test item has not.
            question = question.removesuffix("Answer:").removesuffix("A:").rstrip("\n")
            last = "Answer:" if "Question" in question else "A:"
            assert prompt.example(item, answer) == f"{question} \n{last}{choice}"
        else:
            assert prompt.example(item, answer) == question + choice


def test_papers_prompt_with_examples_byte_for_byte() -> None:
    """`easy_to_hard.md` section 4: prompt "0040" for a llama-named model, k = 1."""
    shown = Item(id="e", question="What?", choices=("one", "two"), answer=1)
    assert get_prompt("arc", "paper").prompt(FOUR, [(shown, 1)]) == (
        "Question: What? \nA) one\nB) two \nAnswer: two\n\n"
        "Question: Why {so}? \nA) because\nB) red\nC) green\nD) blue\nAnswer:"
    )


def test_examples_are_parted_by_a_blank_line() -> None:
    prompt = get_prompt("micro")
    parts = (prompt.example(FOUR, 1), prompt.question(FOUR))
    assert prompt.prompt(FOUR, [(FOUR, 1)]) == prompt.separator.join(parts)
    assert prompt.separator == "\n\n"


def test_reasoned_formats_generate_byte_for_byte() -> None:
    prompt = get_prompt("gsm8k")
    assert prompt.question(SUM) == "Q: 1 + 1 + 1?\nA:"
    assert prompt.target(SUM, 0) == " 1 + 1 = 2\n2 + 1 = 3 So the answer is 3"
    assert get_prompt("strategyqa", "reasoned").example(YES_NO, 0) == (
        "Q: Do ants fly?\nA: Queens do. So the answer is yes"
    )
    with pytest.raises(ValueError, match="generates its answer"):
        prompt.choice_texts(SUM)
    with pytest.raises(ValueError, match="'q' has no worked solution"):
        prompt.target(FOUR, 0)


def test_instruction_stands_once_in_front() -> None:
    prompt = get_prompt("gsm8k", "instructed")
    text = prompt.prompt(SUM, [(SUM, 0)])
    assert text.startswith("Solve the problem step by step")
    assert text.count("Solve the problem") == 1
    assert text.endswith("So the answer is 3\n\nQ: 1 + 1 + 1?\nA:")
    assert "Therefore, the answer is" in prompt.question(SUM)


def test_unknown_prompt_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="task arc has no prompt 'x'; it has: default, letter"):
        get_prompt("arc", "x")
    with pytest.raises(ValueError, match="no prompts for task 'trivia'; tasks: arc, gsm8k"):
        get_prompt("trivia")


def test_prompt_is_found_by_its_hash_under_the_task() -> None:
    """One template may have different names in different tasks."""
    for task, prompts in FORMATS.items():
        for prompt in prompts.values():
            assert find_prompt(task, prompt.hash) == prompt
    with pytest.raises(ValueError, match="task micro has no prompt with the hash abc"):
        find_prompt("micro", "abc")


def test_hash_is_of_the_templates() -> None:
    assert get_prompt("arc").hash == get_prompt("mmlu_stem5").hash
    fields = {"option": "{letter}. {choice}", "answer": " {letter}", "separator": "\n",
              "instruction": "x", "example_template": "Q {question}"}  # fmt: skip
    plain = {"template": "Q: {question}\nA:"}
    hashes = {PromptFormat(**plain).hash}  # type: ignore[arg-type]
    hashes |= {PromptFormat(**plain, **{key: value}).hash for key, value in fields.items()}  # type: ignore[arg-type]
    assert len(hashes) == len(fields) + 1
    distinct = {prompt.hash for prompts in FORMATS.values() for prompt in prompts.values()}
    assert len(distinct) == 14


def test_trivial_examples_keep_the_form_and_nothing_of_the_content() -> None:
    like = [FOUR, YES_NO, SUM]
    made = trivial_items(like, 0, "arc", 1)
    assert [len(item.choices) for item in made] == [4, 2, 1]
    assert made[1].choices == ("yes", "no")
    assert [item.reasoning is None for item in made] == [True, False, False]
    text = " ".join(
        item.question + " ".join(item.choices) for item in made if item.id != "trivial-2"
    )
    for word in ("Why", "because", "red", "1 + 1"):
        assert word not in text
    assert made == trivial_items(like, 0, "arc", 1)


def test_trivial_answers_are_drawn_over_all_places() -> None:
    places = [item.answer for item in trivial_items([FOUR] * 400, 0)]
    assert all(70 < places.count(place) < 130 for place in range(4))
    assert places != [item.answer for item in trivial_items([FOUR] * 400, 1)]
