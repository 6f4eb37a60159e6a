"""Finds a space by the name of its function: a shipped study, or `path/to/file.py:function`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from search_spaces.explain import explain, one_line, short
from search_spaces.frozen import FrozenModel
from search_spaces.space import Space

MAX_CHARS = 300
"""Longest quotation of an error in a user's code."""


def find_space(name: str) -> Space:
    """Returns the space with a name.

    Args:
        name: The name of a function in this package, or `path/to/file.py:function`.

    Raises:
        ValueError: If there is no such file or function, the file cannot be imported, or the
            function does not return a valid space.
    """
    factory = _from_file(name) if ".py:" in name else _from_package(name)
    with _blaming(name, "calling the function"):
        wanted = _arguments(factory)
        if wanted:
            raise ValueError(f"it needs {', '.join(wanted)}: give each argument a default")
        space = factory()
    if not isinstance(space, Space):
        raise ValueError(f"space {name!r} must return a Space, it returned {short(space)}")
    with _blaming(name, "checking its result"):
        return Space.model_validate(_unchecked(space))


def named_spaces() -> Mapping[str, Callable[[], Space]]:
    """Returns the functions of `search_spaces.studies` that return a `Space`, by name."""
    package = importlib.import_module("search_spaces.studies")
    spaces: dict[str, Callable[[], Space]] = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        spaces.update(_factories(importlib.import_module(module.name)))
    return spaces


@contextmanager
def _blaming(name: str, what: str) -> Iterator[None]:
    """Turns any exception of a user's code into an error that names the space."""
    try:
        yield
    except KeyboardInterrupt:  # Ctrl-C is no fault of the space
        raise
    except ValidationError as error:
        raise ValueError(f"space {name!r}: {explain(error)}") from error
    except SystemExit as error:
        code = short(error.code)
        raise ValueError(f"space {name!r}: {what} ends with sys.exit({code}); drop it") from error
    except BaseException as error:
        message = one_line(str(error), MAX_CHARS)
        if "BaseModel.__init__() takes 1 positional argument" in message:
            message = "pass fields by name, as in Level(name='easy', low=1, high=2)"
        raise ValueError(
            f"space {name!r}: {what} fails with {type(error).__name__}: {message}"
        ) from error


def _unchecked(value: Any) -> Any:
    """Returns a model as plain mappings, because `model_copy(update=...)` does not validate."""
    if isinstance(value, FrozenModel):
        return {name: _unchecked(inner) for name, inner in vars(value).items()}
    return tuple(map(_unchecked, value)) if isinstance(value, tuple) else value


def _from_package(name: str) -> Callable[[], Space]:
    spaces = named_spaces()
    if name not in spaces:
        raise ValueError(
            f"unknown space {name!r}: give your own space as path/to/file.py:function, or one of "
            f"the shipped ones: {', '.join(sorted(spaces))}"
        )
    return spaces[name]


class _Uncached(SourceFileLoader):
    """Runs a user's file without writing __pycache__ next to it."""

    def set_data(self, path: str, data: object, *, _mode: int = 0) -> None:
        """Drops the compiled code."""


def _from_file(name: str) -> Callable[[], Space]:
    file, _, function = name.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(f"space {name!r}: no file {str(path)!r}")
    loader = _Uncached(f"space_in_{path.stem}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look up a class's module there
    with _blaming(name, f"importing {str(path)!r}"):
        loader.exec_module(module)
    factory = getattr(module, function, None)
    if isinstance(factory, Space):
        raise ValueError(
            f"space {name!r}: {function!r} is a Space; name a function that returns it"
        )
    if not callable(factory):
        known = sorted(_factories(module)) or ["none that returns a Space"]
        raise ValueError(
            f"space {name!r}: {str(path)!r} has no function {function!r}; it has {', '.join(known)}"
        )
    return factory  # type: ignore[no-any-return]


def _factories(module: ModuleType) -> dict[str, Callable[[], Space]]:
    """Returns the functions that a module defines to return a `Space`, without arguments."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and value.__annotations__.get("return") in ("Space", Space)
        and not _arguments(value)
    }


def _arguments(function: Callable[..., object]) -> list[str]:
    """Returns the names of a function's required arguments."""
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
