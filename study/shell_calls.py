"""The shell commands of a cluster file as the programs that they call, in their order.

Not a shell: enough to tell what runs from what is a comment, is only echoed or comes too late.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OPERATORS = ";&|()<>"
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)

KEYWORDS = frozenset({"if", "then", "elif", "else", "do", "while", "until", "!", "{", "}", "time"})
OPENERS = frozenset({"{", "if", "for", "while", "until", "case"})
CLOSERS = frozenset({"}", "fi", "done", "esac"})
"""Words that begin and end a compound command."""
WRAPPERS = frozenset(
    {"command", "env", "exec", "flock", "ionice", "nice", "nohup", "setsid", "stdbuf", "sudo"}
)
"""Programs that run the one named after them."""

SAYS = frozenset({"echo", "printf", "true", ":"})
"""Programs that run nothing, whatever their arguments are."""

SHELLS = frozenset({"bash", "dash", "sh", "zsh"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One program that a shell starts."""

    words: tuple[str, ...]
    """Its name and arguments; programs that only run another one stand before it."""
    environment: Mapping[str, str]
    """What the command line itself has set until then, by `export` or before the program."""
    is_background: bool = False
    """Whether the shell goes on without waiting for its end."""

    def has(self, *words: str) -> bool:
        """Says whether these words follow each other in the call, and are not those of an echo."""
        first = _program(self.words[0])
        if first not in WRAPPERS and first != _program(words[0]):
            return False
        names = (_program(self.words[0]), *self.words[1:])
        return any(
            (_program(names[i]), *names[i + 1 : i + len(words)]) == words
            and not SAYS & {*names[:i]}
            for i in range(len(names) - len(words) + 1)
        )

    def option(self, *names: str) -> str | None:
        """Returns the value of an option, `--name value` or `--name=value`: the last one counts."""
        value = None
        for word, following in zip(self.words, (*self.words[1:], ""), strict=True):
            name, separator, given = word.partition("=")
            if name in names:
                value = given if separator else following
        return value


def shell_calls(lines: Any) -> Iterator[tuple[Call, ...]]:
    """Yields what each command of a list calls; each has a shell of its own.

    A command that is no shell syntax calls nothing.
    """
    for line in lines if isinstance(lines, list) else []:
        yield tuple(_calls(str(line), {}))


def assignments(lines: Any) -> Iterator[tuple[str, str]]:
    """Yields every variable that the commands of a list set, with its value."""
    for calls in shell_calls(lines):
        for call in calls:
            yield from call.environment.items()


def docker_environment(options: Any) -> dict[str, str]:
    """Returns the variables that options of `docker run` set: the last one of a name counts."""
    words = [w for o in (options if isinstance(options, list) else []) for w in _words(str(o))]
    found = {}
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word in ("-e", "--env"):
            text = following
        else:
            text = re.sub(r"^(--env=|-e(?=.))", "", word) if word.startswith("-") else ""
        match = ASSIGNMENT.fullmatch(text)
        if match:
            found[match[1]] = match[2]
    return found


def _calls(
    text: str, environment: dict[str, str], *, is_background: bool = False
) -> Iterator[Call]:
    commands = list(_simple_commands(text.replace("\\\n", " ")))
    for (words, _), ends in zip(commands, _in_background(commands, is_background), strict=True):
        if words:
            yield from _call(words, environment, is_background=ends)


def _call(words: list[str], environment: dict[str, str], *, is_background: bool) -> Iterator[Call]:
    """Yields a simple command; what it exports is kept for those after it."""
    while words and words[0] in KEYWORDS:
        words = words[1:]
    names = {"export", "declare", "local"} & set(words[:1])
    is_lasting = bool(names) or all(map(ASSIGNMENT.fullmatch, words))
    local = environment if is_lasting else dict(environment)
    while words and (words[0] in names or _program(words[0]) == "env" or _set(words[0], local)):
        words = words[1:]
    if words and words[0] == "unset":
        for name in words[1:]:
            environment[name] = ""
    for index, word in enumerate(words):
        before = {_program(name) for name in words[:index] if not name.startswith("-")}
        is_run = _program(word) in SHELLS and (not before or before & WRAPPERS)
        flags = words[index + 1] if index + 2 < len(words) else ""
        if is_run and re.fullmatch(r"-\w*c", flags):
            yield from _calls(words[index + 2], local, is_background=is_background)
            return
    is_forked = "setsid" in words and bool({"-f", "--fork"} & set(words))
    yield Call(
        words=tuple(words or [":"]),
        environment=dict(local),
        is_background=is_background or is_forked,
    )


def _set(word: str, environment: dict[str, str]) -> bool:
    match = ASSIGNMENT.fullmatch(word)
    if match:
        environment[match[1]] = match[2]
    return match is not None


def _simple_commands(text: str) -> Iterator[tuple[list[str], str]]:
    """Yields the words before each operator, without redirections, and the operator."""
    words: list[str] = []
    is_target = False
    for word in (word for line in text.splitlines() for word in [*_words(line), ";"]):
        if set(word) <= set(OPERATORS) and word:
            is_target = bool(set(word) & set("<>"))
            if not is_target:
                yield words, word
                words = []
        elif not is_target:
            words.append(word)
        else:
            is_target = False


def _in_background(commands: list[tuple[list[str], str]], outside: bool) -> list[bool]:
    """Says of each command whether the shell waits for its end, read from the last to the first.

    `&` sends all that `&&`, `||` and `|` join before it, and all inside of a compound command.

    Args:
        commands: What `_simple_commands` yields.
        outside: Whether all of it is run in the background.
    """
    around = [outside]
    current = outside
    found = []
    for words, operator in reversed(commands):
        for symbol in reversed(re.findall(r"&&|\|\||\|&|.", operator)):
            if symbol == "&":
                current = True
            elif symbol == ";":
                current = around[-1]
            elif symbol == ")":
                around.append(current)
            elif symbol == "(" and len(around) > 1:
                current = around.pop()
        if words and words[0] in CLOSERS:
            around.append(current)
        found.append(current)
        if words and words[0] in OPENERS and len(around) > 1:
            current = around.pop()
    return found[::-1]


def _words(line: str) -> list[str]:
    """Returns the words of a line until its comment; none where it is no shell syntax."""
    # A quote in a comment is none, so a line that has no end is read again without its comment.
    for text in (line, re.sub(r"(^|\s)#.*$", "", line)):
        lexer = shlex.shlex(text, posix=True, punctuation_chars=OPERATORS)
        lexer.whitespace_split, lexer.commenters = True, ""
        try:
            return list(itertools.takewhile(lambda word: not word.startswith("#"), lexer))
        except ValueError:
            continue
    return []


def _program(word: str) -> str:
    """Returns a program's name without its folder; all Pythons are `python`."""
    name = word.rpartition("/")[2]
    return "python" if re.fullmatch(r"python3?(\.\d+)?", name) else name
