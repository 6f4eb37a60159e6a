"""`spaces` and `models`: one line for each shipped study and known base model."""

from __future__ import annotations

import json

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.registry import find_space, named_spaces
from study import models, spaces
from study.analysis.published.model_accuracies import published_accuracies
from study.cli.command import OK
from study.cost.model_sizes import MODELS
from study.planning.preview.offline_estimate import estimate_plan, outline_plan
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.models.resolve import resolve_model


def test_a_study_has_one_line_with_its_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {name: named_spaces()[name] for name in ("noise", "micro", "gap", "mdl")}
    monkeypatch.setattr(spaces, "named_spaces", lambda: few)
    assert spaces.main([]) == OK
    header, *lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert header.split() == ["study", "cells", "GPU-hours", "models", "question"]
    assert [line.split()[:3] for line in lines] == [
        ["micro", "30", "-"],
        ["mdl", "20", "-"],
        ["noise", "96", "0.3"],
        ["gap", "546", ">83"],
    ]
    assert lines[1].endswith("find hard? Run `measure` first.")
    assert " 6 models, 6.74 B to 72.3 B " in lines[3]
    assert spaces.main(["--json"]) == OK
    listed = json.loads(capsys.readouterr().out)
    assert [study["is_partial"] for study in listed] == [False, False, False, True]


@pytest.mark.parametrize("name", named_spaces())
def test_a_study_begins_with_a_question_or_its_subject(name: str) -> None:
    question = (named_spaces()[name].__doc__ or "").splitlines()[0]
    assert 20 < len(question) <= 93 and question[0].isupper()
    assert "?" in question or question.startswith(("ARC on ", "A part of ", "The same "))


def test_the_number_of_cells_is_that_of_the_plan() -> None:
    space = find_space("micro")
    assert len(outline_plan(space).cells) == len(estimate_plan(space).plan.cells) == 30


def test_every_known_model_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert models.main([]) == OK
    _, *lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    names = [line.split()[0] for line in lines]
    used = {model.name for make in named_spaces().values() for model in make().models}
    assert len(names) == len(set(names)) and set(names) >= {*MICRO_MODELS, *MODELS, *used}
    assert names[:3] == list(MICRO_MODELS)
    by_name = dict(zip(names, lines, strict=True))
    number = len(published_accuracies("google/gemma-3-270m"))
    _, size, unit, *known = by_name["google/gemma-3-270m"].split()
    assert (size, unit) == ("268", "M")
    assert known[:4] == ["priced,", str(number), "published", "accuracies"]
    assert "arc_gemma3_lora" in known[-1]


def test_an_embedded_model_has_the_size_of_its_weights() -> None:
    sizes = {model.name: model.num_params for model in models.known_models()}
    for name in MICRO_MODELS:
        assert sizes[name] == resolve_model(BaseModelRef(name=name)).num_params


def test_a_mixture_has_its_active_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert models.main(["--json"]) == OK
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    mixture = listed["mistralai/Mixtral-8x7B-v0.1"]
    assert mixture["num_active"] < mixture["num_params"]
    assert "gap" in mixture["studies"] and not mixture["is_embedded"]
