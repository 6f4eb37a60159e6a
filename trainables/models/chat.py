"""Prompts of instruction-tuned models, and the check that training and scoring agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search_spaces.data_source import kind_of
from trainables.data.items import Item
from trainables.data.prompts.formats import FORMATS, PromptFormat, find_prompt
from trainables.models.chat_templates import chat_hash


class Tokenizer(Protocol):
    """The interface of a Hugging Face tokenizer that prompts use."""

    chat_template: Any
    added_tokens_decoder: Any
    """Token id -> its text and whether it is special."""
    eos_token_id: Any

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Returns the tokens of a text."""

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
    ) -> Any:
        """Returns the text of a conversation in the model's template."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatPrompt:
    """A prompt format inside an instruction-tuned model's chat template.

    The question ends with the template's generation prompt, so the answer is scored where the model
    was trained to start one. Question and choice together are the exchange as the template formats
    it, up to the answer's end, special tokens included.
    """

    base: PromptFormat
    tokenizer: Tokenizer
    opening: str = ""
    """The template's text between its generation prompt and an answer, up to the space; an empty
    reasoning block for reasoning models."""
    space: str = ""
    """The space that the template puts in front of an answer; it belongs to the answer's text, as
    it does to the tokens of a word."""

    separator = ""
    adds_special_tokens = False

    @property
    def generates(self) -> bool:
        """Whether the answer follows a reasoning, so that it is generated and not chosen."""
        return self.base.generates

    def question(self, item: Item) -> str:
        """Returns the conversation's text up to the answer."""
        return self.prompt(item)

    def choice_texts(self, item: Item) -> tuple[str, ...]:
        """Returns the text of each choice, with the template's space, if any, in front."""
        return tuple(self.space + text.strip() for text in self.base.choice_texts(item))

    def target(self, item: Item, answer: int) -> str:
        """Returns what follows the question where `answer` is the right choice."""
        return self.space + self._content(item, answer)

    def example(self, item: Item, answer: int) -> str:
        """Returns question and answer as the text of one exchange, as scored."""
        return self.question(item) + self.target(item, answer)

    def prompt(self, item: Item, examples: Sequence[tuple[Item, int]] = ()) -> str:
        """Returns the conversation with examples as earlier exchanges, up to the answer."""
        turns: list[dict[str, str]] = []
        for example, answer in examples:
            turns.append({"role": "user", "content": self.base.question(example)})
            turns.append({"role": "assistant", "content": self._content(example, answer)})
        turns.append({"role": "user", "content": self.base.question(item)})
        return _rendered(self.tokenizer, turns, is_open=True) + self.opening

    def end_of_turn(self) -> int | None:
        """Returns the special token that ends an answer in the template; None if there is none."""
        turns = [
            {"role": "user", "content": "A question?"},
            {"role": "assistant", "content": _PROBE},
        ]
        exchange = _rendered(self.tokenizer, turns, is_open=False)
        tokens = self.tokenizer.encode(
            exchange.rpartition(_PROBE)[2], add_special_tokens=self.adds_special_tokens
        )
        added = self.tokenizer.added_tokens_decoder
        return next((token for token in tokens if token in added and added[token].special), None)

    def training_text(self, item: Item, answer: int) -> str:
        """Returns the complete exchange as the template formats it, for training."""
        turns = [
            {"role": "user", "content": self.base.question(item)},
            {"role": "assistant", "content": self._content(item, answer)},
        ]
        return _rendered(self.tokenizer, turns, is_open=False)

    def _content(self, item: Item, answer: int) -> str:
        return self.base.target(item, answer).strip()

    @property
    def hash(self) -> str:
        """Identity: the base format and the chat template."""
        return chat_hash(self.base.hash, self.tokenizer.chat_template)


def with_chat_template(base: PromptFormat, tokenizer: Tokenizer) -> ChatPrompt:
    """Returns the format inside the tokenizer's chat template.

    Raises:
        ValueError: If the tokenizer has none.
    """
    if not tokenizer.chat_template:
        raise ValueError("the tokenizer has no chat template: the model is not a chat model")
    before = _before_answer(tokenizer)
    opening = before.rstrip(" ")
    return ChatPrompt(base=base, tokenizer=tokenizer, opening=opening, space=before[len(opening) :])


def end_of_turn(prompt: object) -> int | None:
    """Returns the token that ends an answer in the prompt's chat template; None outside a chat."""
    return prompt.end_of_turn() if isinstance(prompt, ChatPrompt) else None


def end_of_answer(prompt: object, tokenizer: Tokenizer) -> int | None:
    """Returns the token that an answer is trained to end with, and that ends a generated one.

    In a chat it is the template's end of turn, which need not be the tokenizer's EOS: Gemma's is
    `<end_of_turn>`. None if there is neither.
    """
    end = end_of_turn(prompt)
    return tokenizer.eos_token_id if end is None else end


def _before_answer(tokenizer: Tokenizer) -> str:
    """Returns the template's text between its generation prompt and the answer.

    If its exchange does not start with its generation prompt, there is no such text, and
    `check_prefix` refuses the template.
    """
    turns = [{"role": "user", "content": "A question?"}]
    prompt = _rendered(tokenizer, turns, is_open=True)
    turns.append({"role": "assistant", "content": _PROBE})
    exchange = _rendered(tokenizer, turns, is_open=False)
    rest = exchange[len(prompt) :] if exchange.startswith(prompt) else ""
    return rest[: max(rest.find(_PROBE), 0)]


_PROBE = "An answer."


def _rendered(tokenizer: Tokenizer, turns: list[dict[str, str]], *, is_open: bool) -> str:
    template = tokenizer.apply_chat_template
    return str(template(turns, tokenize=False, add_generation_prompt=is_open))


def find_any_prompt(
    task: str, prompt_hash: str, tokenizer: Tokenizer, example: Item
) -> PromptFormat | ChatPrompt:
    """Returns the task's prompt with this hash, plain or inside the tokenizer's chat template.

    Args:
        task: The task.
        prompt_hash: Of a cell.
        tokenizer: Of the cell's base model.
        example: An item of the task, on which training and scoring must agree in a chat.

    Raises:
        ValueError: If the task has none, or training and scoring would see different prefixes.
    """
    if tokenizer.chat_template:
        for base in FORMATS.get(kind_of(task), {}).values():
            prompt = with_chat_template(base, tokenizer)
            if prompt.hash == prompt_hash:
                check_prefix(prompt, example, tokenizer)
                return prompt
    return find_prompt(task, prompt_hash)


def check_prefix(prompt: PromptFormat | ChatPrompt, item: Item, tokenizer: Tokenizer) -> None:
    """Refuses a prompt whose training tokens do not start with its scoring tokens.

    In a chat, scoring tokens are those of question and choice, and the training text is the
    template's complete exchange.

    Raises:
        ValueError: If a choice changes the tokens of the question before it, so that training and
            scoring would see different prefixes, or a template would never write the scored text.
    """

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=prompt.adds_special_tokens)

    prefix = encode(prompt.question(item))
    for answer in range(len(item.choices)):
        scored = tokens = encode(prompt.example(item, answer))
        if isinstance(prompt, ChatPrompt):
            tokens = encode(prompt.training_text(item, answer))
        for name, start in (("prompt", prefix), ("prompt and choice", scored)):
            if tokens[: len(start)] != start:
                pairs = zip(start, tokens, strict=False)
                num_same = next((at for at, (a, b) in enumerate(pairs) if a != b), len(tokens))
                raise ValueError(
                    f"item {item.id!r}, choice {answer}: the training text's tokens differ from "
                    f"those of the scored {name} from token {num_same} of {len(start)} on; use "
                    "another prompt format"
                )
