"""Extracts answers from generated text: the choice or value that a text names.

A text states its answer after a phrase (`PHRASE`), as the worked examples of the prompts do.
Answers are compared by value (numbers) or by folded text and letter (choices), never as strings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from trainables.data.items import Item
from trainables.data.prompts.formats import LETTERS
from trainables.data.prompts.numbers import first_number, parse_number, same_number

PHRASE = re.compile(r"####|\bthe (?:final )?answer is\b\s*:?", re.IGNORECASE)
"""Phrase in front of an answer: as in the prompts, or GSM8k's mark."""

NEXT_QUESTION = ("\nQ:", "\nQuestion:", "\n\n\n")
"""Stop strings, because a base model continues with another question."""

_SENTENCE_END = r"[.!?](?=\s)"
_NOT = re.compile(r"\b(?:not|neither|nor)\b", re.IGNORECASE)
_ASIDE = rf",[^,\d\n]*{_NOT.pattern}[^,\d\n]*,"
"""An aside with a negation that does not deny the answer."""
_DENIED = rf"(?:(?!{_ASIDE})[^\d\n]|{_ASIDE})*?{_NOT.pattern}"
"""Text in front of a number that is denied as the answer."""
_STATED = rf"(?:{PHRASE.pattern})\s*(?=\S)"
_LINE_DONE = re.compile(rf"{_STATED}[^\n]*\n", re.IGNORECASE)
# A full stop in front of the number ends an abbreviation, or a sentence without the answer.
_NUMBER_DONE = re.compile(
    rf"{_STATED}(?:(?!{_DENIED})[^\n]*?\d[^\n]*?{_SENTENCE_END}|[^\n]*\n)", re.IGNORECASE
)
_BULLET = re.compile(r"\s*\n\s*[-*+\u2022\u2013]\s+(?=\S)")
"""A bullet on a separate line after the phrase; not a minus sign."""

_OUTER = " \t\n.,;:!?\"'`*()[]{}\u2018\u2019\u201c\u201d"
_AROUND = _OUTER.replace(".", "")
"""A number may begin with its point."""
_LETTERED = re.compile(
    r"(?:[*(\[]*([A-Z])[)\].:*]+|(?i:option|choice|answer)\s+[*(\[]*([A-Z])[)\].:*]*(?!\w))(.*)"
)
"""A choice's letter, set off from what follows or announced, and the text that follows it."""
_AND_ANOTHER = re.compile(r"[\s,]*(?:and|or|&|/)\W*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Extracted:
    """The answer that a generated text gives."""

    index: int | None
    """Which of the item's choices it names; None if none, more than one, or there is no answer. For
    a free answer, the gold one's if the values are equal."""
    is_correct: bool
    """Whether that is the gold answer; a missing answer is wrong."""
    answer: str | None
    """What the text states; None if the answer phrase, or anything behind it, is missing."""
    has_value: bool
    """Whether that names one of the choices, or a number where the answer is free."""


def finish_pattern(*, free_form: bool) -> re.Pattern[str]:
    """Returns a pattern that matches once an answer is complete (`generation.StoppingCriteria`).

    That is the end of the answer's line; for a number, also the end of its sentence. A choice's
    text may contain a full stop.
    """
    return _NUMBER_DONE if free_form else _LINE_DONE


def extract(text: str, item: Item, free_form: bool) -> Extracted:
    """Returns the answer that a generated text gives to an item.

    It is the last line behind a phrase that names a choice (or has a number), else the last one.

    Args:
        text: What a model wrote behind the question.
        item: The question, with its gold answer.
        free_form: Whether the answer is a free number, not one of the choices.
    """
    answer = None
    for stated in _stated(text):
        answer = stated if answer is None else answer
        if free_form:
            value = stated_number(stated)
            if value is not None:
                is_correct = value == parse_number(item.choices[item.answer])
                index = item.answer if is_correct else None
                return Extracted(index=index, is_correct=is_correct, answer=stated, has_value=True)
        else:
            named = named_choice(stated, item.choices)
            if named is not None:
                is_correct = named == item.answer
                return Extracted(index=named, is_correct=is_correct, answer=stated, has_value=True)
    return Extracted(index=None, is_correct=False, answer=answer, has_value=False)


def _stated(text: str) -> Iterator[str]:
    """Yields the rest of the line behind each phrase that has one, last phrase first."""
    for mark in reversed(list(PHRASE.finditer(text))):
        rest = text[mark.end() :]
        bullet = _BULLET.match(rest)
        line = rest[bullet.end() if bullet else 0 :].strip().split("\n", 1)[0].strip()
        if line:
            yield line


def stated_number(answer: str) -> Fraction | None:
    """Returns the value that an answer's line gives: its first number, or that of an equation.

    An equation's is that of the last side that is nothing but a number, else the last side's first.
    Only the first sentence that has a number counts, and none that says what the answer is not.
    Units, currency and percent signs are no part of the value.
    """
    for sentence in re.split(_SENTENCE_END, answer):
        if re.match(_DENIED, sentence, re.IGNORECASE):
            continue
        sides = sentence.split("=")[::-1]
        alone = (parse_number(side.strip(_AROUND)) for side in sides if len(sides) > 1)
        for value in (*alone, first_number(sides[0]), first_number(sentence)):
            if value is not None:
                return value
    return None


def named_choice(answer: str, choices: Sequence[str]) -> int | None:
    """Returns which choice an answer's line names; None if none or more than one.

    In this order: the choice's text, its letter (`B`, `(B)`, `B) text`), its value, its text and
    more behind it, its text somewhere. Case, outer punctuation and quotes do not count. A text that
    goes on with `and` or `or` and another choice (`yes and no`) names more than one.
    """
    folded = [_fold(choice) for choice in choices]
    said = _fold(answer)
    exact = [index for index, choice in enumerate(folded) if choice == said]
    if exact:
        return exact[0] if len(exact) == 1 else None
    match = _LETTERED.fullmatch(answer.strip())
    letter = said.upper() if len(said) == 1 else match[1] or match[2] if match else ""
    if letter and letter in LETTERS[: len(choices)]:
        index, rest = LETTERS.index(letter), _fold((match and match[3]) or "")
        says_another = rest in folded and folded[index] != rest
        return None if says_another else index
    equal = [index for index, choice in enumerate(choices) if same_number(choice, answer)]
    if equal:
        return equal[0] if len(equal) == 1 else None
    begins = [index for index, choice in enumerate(folded) if _has_words(said, choice, at="start")]
    if begins:
        longest = max(begins, key=lambda index: len(folded[index]))
        return None if _goes_on(said[len(folded[longest]) :], folded, longest) else longest
    return None if _NOT.search(said) else _contained(said, folded)


def _goes_on(rest: str, folded: Sequence[str], named: int) -> bool:
    """Returns whether the text after a choice adds another choice."""
    match = _AND_ANOTHER.match(rest)
    others = [choice for index, choice in enumerate(folded) if index != named]
    return match is not None and any(
        _has_words(rest[match.end() :], choice, at="start") for choice in others
    )


def _contained(said: str, folded: Sequence[str]) -> int | None:
    """Returns the one choice that stands in the text, or that holds all others that do."""
    inside = [index for index, choice in enumerate(folded) if _has_words(said, choice)]
    if not inside:
        return None
    longest = max(inside, key=lambda index: len(folded[index]))
    holds_all = all(_has_words(folded[longest], folded[index]) for index in inside)
    return longest if holds_all else None


def _has_words(text: str, words: str, at: str = "anywhere") -> bool:
    """Returns whether the text has the words, not inside longer words or numbers."""
    pattern = rf"(?<![\w\u2212-])(?<!\d[.,]){re.escape(words)}(?!\w|[.,\u2212-]\d)"
    match = re.match(pattern, text) if at == "start" else re.search(pattern, text)
    return match is not None


def _fold(text: str) -> str:
    """Returns the text without case, outer punctuation and repeated white space."""
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text.strip(_OUTER) or text
