"""A dry run without data or weights: it counts what the plan would have, and says what it lacks."""

from __future__ import annotations

import re
import socket
from collections import Counter
from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import InContext, LoRA, Reasoning
from search_spaces.registry import named_spaces
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD, MEDIUM, micro
from search_spaces.studies.lab.ssrm_micro import ssrm_micro
from search_spaces.studies.published.cost import cost_micro
from search_spaces.studies.published.hase2024 import hase2024
from search_spaces.studies.published.noise import noise_micro
from search_spaces.supervision import Condition, Labels, SelfTraining
from study.artifacts.costs import BaseCost
from study.artifacts.plan import Plan
from study.cli.pricing import load_pricing
from study.cost.budget import price_plan
from study.cost.flops import CHARS_PER_TOKEN
from study.planning.planner import make_plan
from study.planning.preview import offline_estimate
from study.planning.preview.offline_estimate import estimate_plan
from study.planning.preview.summary import format_estimate
from study.sweep import main
from tests.support.lab_levels import SINGLE_STEPS
from trainables.data.tasks.published_sizes import FACTS

MARKET = load_pricing(None, None)


def rounds_of_all_kinds() -> Space:
    """Rounds, controls and methods that share cells, or cannot serve a condition."""
    trained = {"levels": ("easy",), "unlabelled": ("medium", "hard")}
    return Space(
        name="rounds",
        models=(BaseModelRef(name="micro-s"), BaseModelRef(name="micro-m")),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=(EASY, MEDIUM, HARD),
                test_levels=(MEDIUM, HARD, SINGLE_STEPS[0]),
                conditions=(
                    Condition(name="by-level", self_training=by_level(), rounds=2, **trained),
                    Condition(name="first round only", self_training=by_level(), **trained),
                    Condition(
                        name="oracle", self_training=by_level("oracle", 10), rounds=3, **trained
                    ),
                    Condition(
                        name="tested",
                        self_training=SelfTraining(calibration="temperature", n_validation=8),
                        **trained,
                    ),
                    Condition(name="mixed", levels=("easy", "hard"), n_train=4),
                    Condition(name="like easy", levels=("easy",)),
                    Condition(name="wrong", labels=Labels(kind="random")),
                ),
            ),
            TaskAxis(
                task="micro",
                measure="grade",
                train_levels=SINGLE_STEPS[:1],
                test_levels=SINGLE_STEPS[:1],
                methods=(InContext(k=2), LoRA(n_train=4)),
            ),
        ),
        methods=(LoRA(n_train=8), LoRA(n_train=4), InContext(k=4, quantization="nf4")),
        seeds=3,
    )


def by_level(targets: str = "pseudo", number: int = 20) -> SelfTraining:
    return SelfTraining(admission="by-level", targets=targets, max_unlabelled=number)


@pytest.mark.parametrize(
    "space", [ssrm_micro(), noise_micro(), cost_micro(), rounds_of_all_kinds()]
)
def test_counts_are_those_of_the_plan(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = make_plan(space)
    monkeypatch.setattr(offline_estimate, "GENERATED_TASKS", frozenset())
    monkeypatch.setattr(offline_estimate, "_is_here", lambda model: False)
    estimate = estimate_plan(space)
    assert not estimate.checked_tasks and not estimate.checked_models
    assert len(estimate.plan.points) == len(plan.points)
    assert len(estimate.plan.cells) == len(plan.cells)
    methods, planned = (
        Counter(c.cell.recipe.method for c in p.cells) for p in (estimate.plan, plan)
    )
    assert methods == planned


def _methods(plan: Plan) -> Counter[str]:
    return Counter(cell.cell.recipe.method for cell in plan.cells)


@pytest.mark.parametrize("name", ["hase2024", "gap", "noise", "cost", "small"])
def test_a_space_is_told_without_data_or_weights(name: str) -> None:
    space = named_spaces()[name]()
    text = format_estimate(estimate_plan(space), "no network", MARKET)[0]
    assert text.startswith(f"Space {name}: NOT CHECKED, no ids")
    for known_gap in ("grade 6 unknown, grade 7 unknown", "of all cells: unknown, see below"):
        text = text.replace(known_gap, "")
    assert "unknown" not in text
    assert all(model.name in text for model in space.models)
    assert text.count("not checked") == len(space.models) + len({a.task for a in space.tasks})


@pytest.mark.parametrize("name", sorted(named_spaces()))
def test_every_space_is_told_without_a_network_at_once_and_quietly(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    looks: list[object] = []

    def no_network(host: object, *args: object, **options: object) -> None:
        looks.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main([name, "--dry-run", "--out", str(tmp_path / "runs")]) == 0
    said = capfd.readouterr()
    assert said.err == "" and "Retrying" not in said.out
    assert len(looks) <= 2, "one look, and once a process the client's own; no retries"
    if not said.out.startswith(f"Space {name}: NOT CHECKED, no ids"):
        assert re.search(r"data [0-9a-f]{12}, split [0-9a-f]{12}", said.out)


def test_published_counts_stand_beside_the_levels() -> None:
    text = format_estimate(estimate_plan(hase2024()), "no network", MARKET)[0]
    assert "by grade: easy 1,434, medium 1,055, hard 2,032" in text
    assert "by question_words: easy about 687, medium about 916, hard about 687" in text


def test_experts_that_int8_does_not_reach_are_said() -> None:
    text = format_estimate(estimate_plan(hase2024()), "no network", MARKET)[0]
    (line,) = [line for line in text.splitlines() if "routed experts" in line]
    assert "int8 leaves 97% of mistralai/Mixtral-8x7B-v0.1 in bfloat16" in line


def test_what_nothing_is_known_of_is_said_to_be_unknown(tmp_path: Path) -> None:
    axis = micro().tasks[0].model_copy(update={"task": "jsonl:mine"})
    space = micro().model_copy(
        update={
            "tasks": (axis,),
            "models": (BaseModelRef(name="owner/unheard-of"),),
            "contrasts": (),
        }
    )
    text = format_estimate(estimate_plan(space), "no network", MARKET)[0]
    assert "jsonl:mine: no published counts" in text
    assert "unknown size" in text and "cost      of all cells: unknown" in text


def test_hours_grow_with_the_model_and_with_what_is_generated() -> None:
    space = hase2024()

    def bases(asked: Space) -> tuple[BaseCost, ...]:
        return price_plan(estimate_plan(asked).plan, MARKET).bases

    small, _, large, _, mixture, _ = bases(space)
    assert (small.gpu_hours or 0) < (large.gpu_hours or 0)
    assert mixture.flop / large.flop == pytest.approx(12.9 / 69.0), "unused experts cost nothing"
    axis = next(axis for axis in space.tasks if axis.task == "strategyqa")
    tokens = round(FACTS["strategyqa"].characters / CHARS_PER_TOKEN)
    axes = [
        axis.model_copy(update={"methods": (recipe,)})
        for recipe in (InContext(k=4), InContext(k=4, reasoning=Reasoning(max_new_tokens=tokens)))
    ]
    alone = space.model_copy(update={"models": space.models[:1], "contrasts": ()})
    chosen, generated = (
        bases(alone.model_copy(update={"tasks": (axis,)}))[0].gpu_hours or 0 for axis in axes
    )
    # As many tokens again as an item has: twice the operations, at a tenth of the rate.
    assert generated / chosen == pytest.approx(20, rel=0.05)


def test_data_that_is_here_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    space = tmp_path / "space.py"
    space.write_text(
        "from search_spaces.studies.lab.micro import micro\n"
        "from search_spaces.studies.published.hase2024 import MODELS\n"
        "from search_spaces.space import Space\n"
        "def mine() -> Space:\n"
        "    axis = micro().tasks[0]\n"
        "    other = axis.model_copy(update={'task': 'arc', 'measure': 'grade'})\n"
        "    return micro().model_copy(update={'name': 'mine', 'tasks': (axis, other)})\n"
    )
    arguments = [f"{space}:mine", "--dry-run", "--data-root", str(folder)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "micro: data is here and was checked; by steps" in text
    assert "arc: 4,521 items, not checked" in text
    assert text.count("here and checked") == 3, "the lab's models"
    (folder / "arc").mkdir(parents=True)
    (folder / "arc" / "annotations.json").write_text("{}")
    assert main(arguments) == 2
    assert "0 annotations, not 5120" in capsys.readouterr().err
