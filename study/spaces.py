"""`python -m study.spaces`: lists the shipped studies."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from search_spaces.registry import named_spaces
from search_spaces.space import Space
from study.artifacts.plan import ModelFacts
from study.cli import options
from study.cli.command import OK, command, paragraphs
from study.cli.console import show
from study.cli.pricing import load_pricing
from study.cost.budget import price_plan
from study.cost.jobs import PricingOptions
from study.formatting import DASH, Table, params
from study.planning.preview.offline_estimate import outline_plan
from trainables.data.lab.base_models import MICRO_MODELS

LEGEND = """
GPU-hours: estimated for the cheapest node type that fits. `-`: embedded models, which run on CPUs
and need no download. `>`: without a model that has no price or fits no node type."""


@command(
    examples={
        "": "List the shipped studies.",
        "--json": "List them for a program.",
    }
)
def main(json_: options.Json = False) -> int:
    """Lists the shipped studies: cells, GPU-hours, models and question of each.

    Exit status: 0 done, 1 the output could not be written, 2 bad input.
    """
    pricing = load_pricing(None, None)
    studies = [describe(name, make, pricing) for name, make in named_spaces().items()]
    studies.sort(key=lambda study: (study.gpu_hours, study.name != "micro"))
    if json_:
        print(json.dumps([asdict(study) for study in studies], indent=2))
    else:
        show(_table(studies), LEGEND)
    return OK


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippedStudy:
    """What a shipped study asks, and how large it is."""

    name: str
    question: str
    num_cells: int
    gpu_hours: float
    """Of the models with a known price; 0 on CPUs."""
    is_partial: bool
    """Whether `gpu_hours` leaves out a model."""
    models: str
    needs_measure: bool
    """Whether `measure` makes the values that cut its levels."""

    @property
    def hours_text(self) -> str:
        """GPU-hours for a table; a dash on CPUs."""
        if not self.gpu_hours:
            return DASH
        if self.gpu_hours < 0.1:
            return "<0.1"
        digits = 0 if self.gpu_hours >= 10 else 1
        return f"{'>' * self.is_partial}{self.gpu_hours:,.{digits}f}"


def describe(name: str, make: Callable[[], Space], pricing: PricingOptions) -> ShippedStudy:
    """Returns the question and the size of a shipped study; reads neither data nor weights.

    Args:
        name: Of the study.
        make: Returns its space; its docstring begins with the question.
        pricing: What nodes cost.
    """
    space = make()
    plan = outline_plan(space)
    is_embedded = all(model.name in MICRO_MODELS for model in space.models)
    hours = [base.gpu_hours for base in price_plan(plan, pricing).bases if not is_embedded]
    return ShippedStudy(
        name=name,
        question=paragraphs(make.__doc__ or "").partition("\n")[0],
        num_cells=len(plan.cells),
        gpu_hours=sum(hour or 0.0 for hour in hours),
        is_partial=None in hours,
        models=_models(plan.models),
        needs_measure=bool(space.hardness),
    )


def _table(studies: list[ShippedStudy]) -> Table:
    return Table(
        header=("study", "cells", "GPU-hours", "models", "question"),
        rows=[
            (
                study.name,
                f"{study.num_cells:,}",
                study.hours_text,
                study.models,
                study.question + " Run `measure` first." * study.needs_measure,
            )
            for study in studies
        ],
        numbers=("cells", "GPU-hours"),
    )


def _models(models: Sequence[ModelFacts]) -> str:
    """Returns a model's name, or how many models there are and their sizes if known."""
    if len(models) == 1:
        return models[0].name.rpartition("/")[2]
    sizes = sorted(model.num_params for model in models if model.num_params is not None)
    known = f", {params(sizes[0])} to {params(sizes[-1])}" if sizes else ""
    return f"{len(models)} models{known}"


if __name__ == "__main__":
    sys.exit(main())
