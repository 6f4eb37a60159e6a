"""Counts stations: our functions that receive a value and pass it on.

Two call stacks are read. Where the value is made, functions pass it on by returning it. Where it is
finally used, functions received it as an argument. A predicate recognises the value, so that its
copies count too (an item without its gold, its prompt, its tokens). A function receives the value
if it is an argument, or within an argument at most `depth` fields and elements deep: deeper values
belong to a container that is passed on as a whole.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import CO_VARARGS, CO_VARKEYWORDS
from pathlib import Path
from types import CodeType, FrameType

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = tuple(f"{ROOT / name}/" for name in ("search_spaces", "trainables", "study"))


@dataclass(kw_only=True)
class Trace:
    """The path of one value through a program."""

    is_value: Callable[[object], bool]
    """Recognises the value, its copies, and what is made from it."""
    is_end: Callable[[CodeType], bool]
    """Recognises the function that finally uses the value, ours or a library's."""
    is_origin: Callable[[object], bool] = lambda thing: False
    """Recognises what the value is made from."""
    depth: int
    packages: tuple[str, ...] = PACKAGES
    _made: tuple[str, ...] = ()
    """Functions on the stack when the value was made, innermost first."""
    _returned: set[str] = field(default_factory=set)
    """Those of them that return it, or received its origin."""
    _received: tuple[str, ...] = ()
    """The longest chain of calls that received the value until its final use."""

    @property
    def stations(self) -> tuple[str, ...]:
        """All of them from source to final use, each once."""
        makers = [name for name in self._made if name in self._returned]
        return tuple(dict.fromkeys((*makers, *self._received)))

    def follow(self, frame: FrameType, event: str, value: object) -> None:
        """Handles an event of a profiled program."""
        code = frame.f_code
        if event == "return" and code.co_filename.startswith(self.packages):
            is_asked = not self._made or self._name(code) in self._made
            if is_asked and self._holds(value):
                self._note_return(frame)
        elif event == "call" and self.is_end(code):
            frames = [f for f in self._stack(frame) if self._is_given(f, self._holds)]
            chain = tuple(dict.fromkeys(self._name(f.f_code) for f in reversed(frames)))
            self._received = max(self._received, chain, key=len)

    def _note_return(self, frame: FrameType) -> None:
        if not self._made:
            if self._passes_on(frame):
                return
            frames = list(self._stack(frame))
            self._made = tuple(dict.fromkeys(self._name(f.f_code) for f in frames))
            holds = functools.partial(_holds, self.is_origin, depth=self.depth)
            self._returned |= {self._name(f.f_code) for f in frames if self._is_given(f, holds)}
        self._returned.add(self._name(frame.f_code))

    def _passes_on(self, frame: FrameType) -> bool:
        """Returns whether a function received the value and so did not make it.

        An object that keeps what its method makes has the value only afterwards.
        """
        owner = frame.f_locals.get("self")
        others = [value for value in _arguments(frame) if value is not owner]
        return self.is_value(owner) or any(map(self._holds, others))

    def _holds(self, value: object) -> bool:
        return _holds(self.is_value, value, self.depth)

    def _is_given(self, frame: FrameType, holds: Callable[[object], bool]) -> bool:
        return any(map(holds, _arguments(frame)))

    def _stack(self, frame: FrameType) -> Iterator[FrameType]:
        current: FrameType | None = frame
        while current is not None:
            if current.f_code.co_filename.startswith(self.packages):
                yield current
            current = current.f_back

    @staticmethod
    def _name(code: CodeType) -> str:
        """Returns a function's name in reports; functions defined inside it are part of it."""
        file = Path(code.co_filename)
        function = code.co_qualname.split(".<locals>")[0]
        return f"{file.relative_to(ROOT)}: {function}"


@contextmanager
def traced(*traces: Trace) -> Iterator[None]:
    """Follows the traces' values while the block runs."""

    def profile(frame: FrameType, event: str, value: object) -> None:
        for trace in traces:
            trace.follow(frame, event, value)

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def _holds(is_it: Callable[[object], bool], value: object, depth: int) -> bool:
    if is_it(value):
        return True
    return depth > 0 and any(_holds(is_it, inner, depth - 1) for inner in _parts(value))


def _arguments(frame: FrameType) -> list[object]:
    code = frame.f_code
    number = code.co_argcount + code.co_kwonlyargcount
    number += bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    return [frame.f_locals[name] for name in code.co_varnames[:number] if name in frame.f_locals]


def _parts(value: object) -> Iterable[object]:
    """Returns the elements or fields of a value; those of a bound call are its arguments."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, functools.partial):
        return (*value.args, *value.keywords.values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name, None) for each in dataclasses.fields(value)]
    if isinstance(value, BaseModel):
        return list(value.__dict__.values())
    return list(vars(value).values()) if type(value).__module__.startswith("study.") else ()
