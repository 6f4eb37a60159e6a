"""Finds a space by the name of its function: a shipped study, or `path/to/file.py:function`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from search_spaces.data_source import FUNCTION, DataSource, kind_of
from search_spaces.explain import did_you_mean, short
from search_spaces.frozen import FrozenModel
from search_spaces.space import Space, TaskAxis
from search_spaces.user_file import blaming, run_file


def find_space(name: str) -> Space:
    """Returns the space with a name.

    Args:
        name: The name of a function in this package, or `path/to/file.py:function`.

    Raises:
        ValueError: If there is no such file or function, the file cannot be imported, or the
            function does not return a valid space.
    """
    factory = _from_file(name) if ".py:" in name else _from_package(name)
    who = f"space {name!r}"
    with blaming(who, "calling the function"):
        wanted = _arguments(factory)
        if wanted:
            raise ValueError(f"it needs {', '.join(wanted)}: give each argument a default")
        space = factory()
    if not isinstance(space, Space):
        raise ValueError(f"space {name!r} must return a Space, it returned {short(space)}")
    with blaming(who, "checking its result"):
        space = Space.model_validate(_unchecked(space))
    return _with_folder(space, Path(name.rpartition(":")[0])) if ".py:" in name else space


def named_spaces() -> Mapping[str, Callable[[], Space]]:
    """Returns the functions of `search_spaces.studies` that return a `Space`, by name."""
    package = importlib.import_module("search_spaces.studies")
    spaces: dict[str, Callable[[], Space]] = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        spaces.update(_factories(importlib.import_module(module.name)))
    return spaces


def _unchecked(value: Any) -> Any:
    """Returns a model as plain mappings, because `model_copy(update=...)` does not validate."""
    if isinstance(value, FrozenModel):
        return {name: _unchecked(inner) for name, inner in vars(value).items()}
    return tuple(map(_unchecked, value)) if isinstance(value, tuple) else value


def _with_folder(space: Space, file: Path) -> Space:
    """Returns the space whose functions of items are looked up in the folder of its file."""
    folder = str(file.expanduser().absolute().parent)

    def located(axis: TaskAxis) -> TaskAxis:
        source = axis.data or DataSource()
        if kind_of(axis.task) != FUNCTION or source.folder is not None:
            return axis
        return axis.model_copy(update={"data": source.model_copy(update={"folder": folder})})

    return space.model_copy(update={"tasks": tuple(map(located, space.tasks))})


def _from_package(name: str) -> Callable[[], Space]:
    if name.endswith(".py"):
        raise ValueError(_without_function(name))
    file, separator, function = name.partition(":")
    if separator and Path(f"{file}.py").exists():
        raise ValueError(f"unknown space {name!r} (did you mean '{file}.py:{function}'?)")
    spaces = named_spaces()
    if name not in spaces:
        raise ValueError(
            f"unknown space {name!r}{did_you_mean(name, spaces)}: give your own space as "
            f"path/to/file.py:function, or one of the shipped ones: {', '.join(sorted(spaces))}"
        )
    return spaces[name]


def _from_file(name: str) -> Callable[[], Space]:
    file, _, function = name.rpartition(":")
    path = Path(file).expanduser()
    module = run_file(f"space {name!r}", path)
    factory = getattr(module, function, None)
    if isinstance(factory, Space):
        raise ValueError(
            f"space {name!r}: {function!r} is a Space; name a function that returns it"
        )
    if not callable(factory):
        known = sorted(_factories(module))
        raise ValueError(
            f"space {name!r}: {str(path)!r} has no function {function!r}"
            f"{did_you_mean(function, known)}; it has "
            f"{', '.join(known) or 'none that returns a Space'}"
        )
    return factory  # type: ignore[no-any-return]


def _without_function(file: str) -> str:
    """Returns what to add to the name of a file: one of its functions that return a Space."""
    who = f"space {file!r}"
    known = sorted(_factories(run_file(who, Path(file).expanduser())))
    if not known:
        return f"{who}: it has no function without arguments that is declared to return a Space"
    return f"{who} is a file: add one of its functions: " + ", ".join(
        f"{file}:{function}" for function in known
    )


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
