"""Prompts: every template of every task, and the text of an item under one of them.

The scored text is question + choice; in-context examples and training texts are the same bytes, so
a model is scored on the text that it learns. Chat templates wrap these formats
(`trainables.models.chat`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from search_spaces.data_source import OWN_KINDS, kind_of
from search_spaces.frozen import digest
from trainables.data.items import Item
from trainables.data.seeding import generator


class Prompt(Protocol):
    """How items become text: a `PromptFormat`, or one inside a model's chat template."""

    @property
    def adds_special_tokens(self) -> bool:
        """Whether the text starts with the special tokens that the tokenizer adds."""

    @property
    def generates(self) -> bool:
        """Whether the answer follows a reasoning, and is generated."""

    def question(self, item: Item) -> str:
        """Returns the text up to the answer."""

    def choice_texts(self, item: Item) -> tuple[str, ...]:
        """Returns the text of each choice, including its separator from the question."""

    def prompt(self, item: Item, examples: Sequence[tuple[Item, int]] = ()) -> str:
        """Returns examples (item and shown answer) and question as one text, up to the answer."""

    def target(self, item: Item, answer: int) -> str:
        """Returns the text after the question if `answer` is the right choice."""


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFormat:
    """How an item becomes text. Placeholders: question, options, letter, choice, reasoning."""

    template: str
    """The question's text, up to the answer; no white space at its end."""
    option: str = ""
    """One line of the list of choices; the lines replace `{options}`."""
    answer: str = " {choice}"
    """An answer's text; with `{reasoning}` it can be trained on and generated, but not chosen."""
    example_template: str | None = None
    """The question's text inside an example, where that differs (only the paper's own bytes)."""
    separator: str = "\n\n"
    """Between examples, and between the last one and the question."""
    instruction: str = ""
    """Stands once in front of everything."""
    letters: Sequence[str] = LETTERS
    """What names the choices, in their order; words, where a tokenizer has no token a letter."""

    adds_special_tokens = True
    """The text starts with the special tokens that the tokenizer adds."""

    @property
    def generates(self) -> bool:
        """Whether the answer follows a reasoning, so that it is generated and not chosen."""
        return "{reasoning}" in self.answer

    @property
    def shows_choices(self) -> bool:
        """Whether the question's text lists the choices, so that it depends on their order."""
        return "{options}" in self.template

    def question(self, item: Item) -> str:
        """Returns the text up to the answer."""
        return self.instruction + self._fill(self.template, item)

    def choice_texts(self, item: Item) -> tuple[str, ...]:
        """Returns the text of each choice, with what parts it from the question.

        Raises:
            ValueError: If the format generates its answer.
        """
        if self.generates:
            raise ValueError("this prompt format generates its answer; it has no choices to score")
        return tuple(self.target(item, index) for index in range(len(item.choices)))

    def target(self, item: Item, answer: int) -> str:
        """Returns what follows the question where `answer` is the right choice.

        Raises:
            ValueError: If the format needs a worked solution and the item has none.
        """
        if self.generates and not item.reasoning:
            raise ValueError(f"item {item.id!r} has no worked solution to train on")
        return self.answer.format(
            choice=item.choices[answer], letter=self.letters[answer], reasoning=item.reasoning
        )

    def example(self, item: Item, answer: int) -> str:
        """Returns question and answer as one text, for use as an in-context example."""
        template = self.template if self.example_template is None else self.example_template
        return self._fill(template, item) + self.target(item, answer)

    def prompt(self, item: Item, examples: Sequence[tuple[Item, int]] = ()) -> str:
        """Returns examples (item and shown answer) and question as one text, up to the answer."""
        parts = [self.example(example, answer) for example, answer in examples]
        parts.append(self._fill(self.template, item))
        return self.instruction + self.separator.join(parts)

    @property
    def hash(self) -> str:
        """Identity: the SHA-256 of the templates."""
        return _hash(self)

    def _fill(self, template: str, item: Item) -> str:
        lines = [
            self.option.format(letter=letter, choice=choice)
            for letter, choice in zip(self.letters, item.choices, strict=False)
        ]
        return template.format(question=item.question, options="\n".join(lines))


@cache
def _hash(prompt: PromptFormat) -> str:
    """Returns a format's hash, made once: every cell of a plan asks for it."""
    fields = (prompt.template, prompt.option, prompt.answer, prompt.example_template)
    letters = [] if prompt.letters is LETTERS else list(prompt.letters)
    return digest([*fields, prompt.separator, prompt.instruction, *letters])


_LISTED = PromptFormat(
    template="Question: {question}\n{options}\nAnswer:", option="{letter}) {choice}"
)
_LETTER = PromptFormat(
    template="Question: {question}\n{options}\nAnswer:",
    option="{letter}) {choice}",
    answer=" {letter}",
)
_PLAIN = PromptFormat(template="{question}\nAnswer:")
_OPEN = PromptFormat(template="Question: {question}\nAnswer:")
_PAPER = PromptFormat(
    # arXiv:2401.06751, prompt "0040" of the released code, byte for byte: a space before the line
    # of the first choice, and in examples (not in the test item) one before the line of the answer.
    template="Question: {question} \n{options}\nAnswer:",
    example_template="Question: {question} \n{options} \nAnswer:",
    option="{letter}) {choice}",
)
_YES_NO = PromptFormat(template="Q: {question}\nA:")
_YES_NO_PAPER = PromptFormat(  # Prompt "0306": examples have a space before the line of the answer.
    template="Q: {question}\nA:", example_template="Q: {question} \nA:"
)
_REASONED = PromptFormat(  # Prompt "0305".
    template="Q: {question}\nA:", answer=" {reasoning} So the answer is {choice}"
)
INSTRUCTED = "instructed"
"""Name of the formats that tell an untrained model how to end a generated answer."""

_SOLVE = PromptFormat(
    # Prompt "5305" in our own words: an instruction with one placeholder solution.
    instruction=(
        "Solve the problem step by step, in numbered lines, and end with the result as below.\n\n"
        "Q: (a problem)\nA: 1. (first step)\n2. (second step)\n"
        "Therefore, the answer is (a number).\n\n"
    ),
    template="Q: {question}\nA:",
    answer=" {reasoning} So the answer is {choice}",
)
_DECIDE = PromptFormat(
    instruction=(
        "Think about the question step by step, and end with yes or no as below.\n\n"
        "Q: (a question)\nA: (first fact) (second fact) So the answer is (yes or no)\n\n"
    ),
    template="Q: {question}\nA:",
    answer=" {reasoning} So the answer is {choice}",
)
_PAIR = PromptFormat(
    template="[CONTEXT] {question}\n{options}\nThe better response is:",
    option="[RESPONSE {letter}] {choice}",
    answer=" {letter}",
)
_PAIR_TEXT = PromptFormat(template="{question}\n\nResponse:")
_MICRO_PAIR = PromptFormat(template="{question}\n{options}\nAnswer:", option="{letter}) {choice}")
_MICRO_VERDICT = PromptFormat(
    # Single tokens of the lab's bases; with "A)" and "Answer:" they hardly learn a verdict.
    # Their tokenizer has no token for " B".
    template="{question}\n{options}\nThe answer is",
    option="{letter} = {choice}",
    answer=" {letter}",
    letters=("start", "end"),
)

_CHOICE = {"default": _LISTED, "letter": _LETTER, "open": _OPEN, "paper": _PAPER}
_OWN = {"default": _OPEN, "letter": _LETTER, "listed": _LISTED}
_PREFERENCE = {"default": _PAIR, "letter": _PAIR, "text": _PAIR_TEXT}

FORMATS: Mapping[str, Mapping[str, PromptFormat]] = {
    # The lab's bases never saw the word "Question": with it in front they read the rest worse.
    "micro": {"default": _PLAIN, "open": _OPEN, "letter": _LETTER, "listed": _LISTED},
    "micro_preferences": {"default": _MICRO_PAIR, "letter": _MICRO_VERDICT, "text": _PLAIN},
    **dict.fromkeys(OWN_KINDS, _OWN),
    "arc": _CHOICE,
    "mmlu_stem5": _CHOICE,
    "science": _CHOICE,
    "strategyqa": {
        "default": _YES_NO,
        "letter": _LETTER,
        "paper": _YES_NO_PAPER,
        "reasoned": _REASONED,
        INSTRUCTED: _DECIDE,
    },
    "gsm8k": {"default": _REASONED, INSTRUCTED: _SOLVE},
    "hh_rlhf": _PREFERENCE,
    "ultrafeedback": _PREFERENCE,
    "rewardbench": _PREFERENCE,
    "pandalm": _PREFERENCE,
    "llmbar": _PREFERENCE,
    "preferences": _PREFERENCE,
}
"""Task -> name of a format -> format. `default` is what a study uses unless it says otherwise."""


def get_prompt(task: str, name: str = "default") -> PromptFormat:
    """Returns a prompt format of a task.

    Raises:
        ValueError: If the task or the format is unknown; the message lists the known ones.
    """
    formats = FORMATS.get(kind_of(task))
    if formats is None:
        raise ValueError(
            f"no prompts for task {task!r}; tasks: {', '.join(sorted(FORMATS.keys() - OWN_KINDS))}"
        )
    if name not in formats:
        raise ValueError(f"task {task} has no prompt {name!r}; it has: {', '.join(formats)}")
    return formats[name]


def find_prompt(task: str, prompt_hash: str) -> PromptFormat:
    """Returns the task's prompt format with this hash, whatever its name.

    Raises:
        ValueError: If the task has none.
    """
    for prompt in FORMATS.get(kind_of(task), {}).values():
        if prompt.hash == prompt_hash:
            return prompt
    raise ValueError(
        f"task {task} has no prompt with the hash {prompt_hash}: its templates changed"
    )


def trivial_items(like: Sequence[Item], *names: str | int) -> tuple[Item, ...]:
    """Returns examples of the task's form without its content: the control `trivial`.

    What a model gains from them over zero-shot is the format's part of what easy data gives. Every
    item keeps the number of choices of the one it is made like; nothing else of it is kept.

    Args:
        like: Items whose form is copied, one for each example.
        names: Name the draw (study seed, seed), which places the right answers.
    """
    rng = generator("trivial", *names)
    made = []
    for number, item in enumerate(like, start=1):
        num_choices = len(item.choices)
        is_yes_no = set(item.choices) == {"yes", "no"}
        choices = tuple(f"placeholder {LETTERS[index]}" for index in range(num_choices))
        made.append(
            Item(
                id=f"trivial-{number}",
                question=f"This is placeholder question {number}.",
                choices=item.choices if is_yes_no else choices,
                answer=rng.randrange(num_choices),
                reasoning="These are placeholder steps." if item.reasoning else None,
            )
        )
    return tuple(made)
