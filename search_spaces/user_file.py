"""Runs a user's Python file, and turns every exception in it into one clear error."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from search_spaces.explain import explain, one_line, short

MAX_CHARS = 300
"""Longest quotation of an error in a user's code."""


@contextmanager
def blaming(name: str, what: str) -> Iterator[None]:
    """Turns any exception of a user's code into an error.

    Args:
        name: Whose code it is, such as `space 'my_study.py:mine'`.
        what: The step that fails, such as `calling the function`.

    Raises:
        ValueError: In place of any exception but KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt:  # Ctrl-C is no fault of the file
        raise
    except ValidationError as error:
        raise ValueError(f"{name}: {explain(error)}") from error
    except SystemExit as error:
        code = short(error.code)
        raise ValueError(f"{name}: {what} ends with sys.exit({code}); drop it") from error
    except BaseException as error:
        message = one_line(str(error), MAX_CHARS)
        if "BaseModel.__init__() takes 1 positional argument" in message:
            message = "pass fields by name, as in Level(name='easy', low=1, high=2)"
        raise ValueError(f"{name}: {what} fails with {type(error).__name__}: {message}") from error


class _Uncached(SourceFileLoader):
    """Runs a user's file without writing __pycache__ next to it."""

    def __init__(self, name: str, path: str, code: bytes) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, name: str) -> object:  # type: ignore[override]
        """Compiles the code; a compiled file that exists is not read."""
        return self.source_to_code(self._code, self.path)


def run_file(name: str, path: Path, code: bytes | None = None) -> ModuleType:
    """Returns the module that a user's file makes.

    Args:
        name: Whose code it is, for messages.
        path: Of the file.
        code: Its content, on a machine that may not have the file; None: it is read.

    Raises:
        ValueError: If there is no such file, or it cannot be run.
    """
    if code is None:
        if not path.is_file():
            raise ValueError(f"{name}: no file {str(path)!r}")
        with blaming(name, f"reading {str(path)!r}"):
            code = path.read_bytes()
    loader = _Uncached(f"space_in_{path.stem}", str(path), code)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[spec.name] = module  # dataclasses and pickle look up a class's module there
    with blaming(name, f"importing {str(path)!r}"):
        loader.exec_module(module)
    return module
