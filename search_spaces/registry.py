"""Finds a space by its function's name: a shipped study, or `path/to/file.py:function`."""

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
"""Of what a user's code says when it fails."""


def find_space(name: str) -> Space:
    """Returns the space of a name.

    Args:
        name: The name of a function in this package, or `path/to/file.py:function`.

    Raises:
        ValueError: If there is no such file or function, the file cannot be imported, or what the
            function returns is not a space: naming what is wrong.
    """
    factory = _from_file(name) if ".py:" in name else _from_package(name)
    with _blaming(name, "calling the function"):
        wanted = _arguments(factory)
        if wanted:
            raise ValueError(f"it wants {', '.join(wanted)}: give each argument a default")
        space = factory()
    if not isinstance(space, Space):
        raise ValueError(f"space {name!r} must return a Space, it returned {short(space)}")
    with _blaming(name, "checking what it returns"):
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
    """Turns whatever a user's code raises into an error that names the space."""
    try:
        yield
    except KeyboardInterrupt:  # Ctrl-C, which is no fault of the space
        raise
    except ValidationError as error:
        raise ValueError(f"space {name!r}: {explain(error)}") from error
    except SystemExit as error:
        code = short(error.code)
        raise ValueError(f"space {name!r}: {what} ends with sys.exit({code}); drop it") from error
    except BaseException as error:
        said = one_line(str(error), MAX_CHARS)
        if "BaseModel.__init__() takes 1 positional argument" in said:
            said = "fields are given by name, as in Level(name='easy', low=1, high=2)"
        raise ValueError(
            f"space {name!r}: {what} fails with {type(error).__name__}: {said}"
        ) from error


def _unchecked(value: Any) -> Any:
    """Returns a value as plain parts: `model_copy(update=...)` does not check what it is given."""
    if isinstance(value, FrozenModel):
        return {name: _unchecked(part) for name, part in vars(value).items()}
    return tuple(map(_unchecked, value)) if isinstance(value, tuple) else value


def _from_package(name: str) -> Callable[[], Space]:
    spaces = named_spaces()
    if name not in spaces:
        raise ValueError(
            f"unknown space {name!r}: one of your own is given as path/to/file.py:function, those "
            f"that come with it are {', '.join(sorted(spaces))}"
        )
    return spaces[name]


class _Uncached(SourceFileLoader):
    """Runs a user's file without leaving __pycache__ beside it."""

    def set_data(self, path: str, data: object, *, _mode: int = 0) -> None:
        """Drops the compiled code."""


def _from_file(name: str) -> Callable[[], Space]:
    file, _, function = name.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(f"space {name!r}: there is no file {str(path)!r}")
    loader = _Uncached(f"space_in_{path.stem}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look a class's module up there
    with _blaming(name, f"importing {str(path)!r}"):
        loader.exec_module(module)
    factory = getattr(module, function, None)
    if isinstance(factory, Space):
        raise ValueError(
            f"space {name!r}: {function!r} is a Space; give a function that returns it"
        )
    if not callable(factory):
        known = sorted(_factories(module)) or ["none that returns a Space"]
        raise ValueError(
            f"space {name!r}: {str(path)!r} has no function {function!r}; it has {', '.join(known)}"
        )
    return factory  # type: ignore[no-any-return]


def _factories(module: ModuleType) -> dict[str, Callable[[], Space]]:
    """Returns the module's own functions that say they return a `Space` and need no argument."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and value.__annotations__.get("return") in ("Space", Space)
        and not _arguments(value)
    }


def _arguments(function: Callable[..., object]) -> list[str]:
    """Returns the names of the arguments that a function cannot be called without."""
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
