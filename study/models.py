"""`python -m study.models`: lists the base models that the package knows."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf, prod

from search_spaces.registry import named_spaces
from study.analysis.published.model_accuracies import published_models
from study.cli import options
from study.cli.command import OK, command
from study.cli.console import show
from study.cost.model_sizes import MODELS
from study.formatting import DASH, Table, params
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.models.weight_files import loaded_headers

LEGEND = """
embedded: shipped with this package, for CPUs. priced: a dry run knows the size without the weights.
`verify` compares a model with its published accuracies. A space can name any other model of the Hub
or folder in its format; the size is then read from the files."""


@command(
    examples={
        "": "List the known base models.",
        "--json": "List them for a program.",
    }
)
def main(json_: options.Json = False) -> int:
    """Lists the known base models: parameters, what is known of each, and the studies that use it.

    Exit status: 0 done, 1 the output could not be written, 2 bad input.
    """
    models = known_models()
    if json_:
        print(json.dumps([asdict(model) for model in models], indent=2))
    else:
        show(_table(models), LEGEND)
    return OK


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownModel:
    """Facts about a known base model."""

    name: str
    """On the Hub, or of the embedded lab."""
    num_params: int | None
    num_active: int | None
    """Weights used per token."""
    is_embedded: bool
    num_accuracies: int
    """Published accuracies that `verify` compares with."""
    studies: tuple[str, ...]
    """Shipped studies that use it."""


def known_models() -> list[KnownModel]:
    """Returns the known base models: the embedded ones, then by size."""
    studies = _studies()
    accuracies = published_models()
    names = dict.fromkeys((*MICRO_MODELS, *MODELS, *accuracies, *studies))
    models = [_known(name, accuracies.get(name, 0), tuple(studies.get(name, ()))) for name in names]
    return sorted(models, key=lambda model: (not model.is_embedded, model.num_params or inf))


def _known(name: str, num_accuracies: int, studies: tuple[str, ...]) -> KnownModel:
    size = MODELS.get(name)
    is_embedded = name in MICRO_MODELS
    num_params = _count_params(name) if is_embedded else None if size is None else size.num_params
    return KnownModel(
        name=name,
        num_params=num_params,
        num_active=num_params if size is None else size.num_active,
        is_embedded=is_embedded,
        num_accuracies=num_accuracies,
        studies=studies,
    )


def _count_params(name: str) -> int:
    """Returns the number of weights of an embedded model."""
    headers = loaded_headers(name, MICRO_MODELS[name]).values()
    entries = (entry for header in headers for key, entry in header.items() if key[0] != "_")
    return sum(prod(entry["shape"]) for entry in entries)


def _studies() -> Mapping[str, list[str]]:
    """Returns the shipped studies by model."""
    studies = defaultdict(list)
    for name, make in named_spaces().items():
        for model in make().models:
            studies[model.name].append(name)
    return studies


def _table(models: list[KnownModel]) -> Table:
    return Table(
        header=("model", "parameters", "known", "studies"),
        rows=[
            (model.name, _size(model), _known_of(model), ", ".join(model.studies) or DASH)
            for model in models
        ],
    )


def _size(model: KnownModel) -> str:
    active = f" ({params(model.num_active)} active)" * (model.num_active != model.num_params)
    return params(model.num_params) + active


def _known_of(model: KnownModel) -> str:
    known = ["embedded"] if model.is_embedded else ["priced"] if model.num_params else []
    if model.num_accuracies:
        plural = "y" if model.num_accuracies == 1 else "ies"
        known.append(f"{model.num_accuracies} published accurac{plural}")
    return ", ".join(known)


if __name__ == "__main__":
    sys.exit(main())
