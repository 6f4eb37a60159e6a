"""Plans a space whose data or weights are not on this machine, with stubs in their place.

It fetches no file. Counts of cells are exact, except where two draws would happen to give equal
items. Item counts and model sizes are published ones. The ids in such a plan mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from search_spaces.base_models import BaseModelRef
from search_spaces.data_source import FUNCTION, kind_of
from search_spaces.levels import Level
from search_spaces.space import Space, TaskAxis
from study.artifacts.plan import Plan
from study.cost.flops import CHARS_PER_TOKEN, TaskSize
from study.cost.model_sizes import MODELS
from study.planning.axes import PreparedAxis, check_axis, load_tasks, prepare_axis
from study.planning.cells import PromptFacts
from study.planning.model_checks import check_models
from study.planning.planner import plan_space
from trainables.data.draws import CellDraws, Draw, DrawnIds, TestDraw
from trainables.data.items import Item
from trainables.data.prompts.formats import get_prompt
from trainables.data.task import Split, SplitTask, TaskData
from trainables.data.tasks.published_sizes import FACTS
from trainables.data.tasks.registry import find_task
from trainables.errors import UnavailableError
from trainables.models.chat_templates import CHAT, plain_name
from trainables.models.resolve import HUB_NAME, resolve_model
from trainables.models.source import DType, ModelSource

GENERATED_TASKS = frozenset({"micro", "micro_preferences"})
"""They need no data."""

UNKNOWN_DTYPE: DType = "bfloat16"
"""Assumed for `auto` if the weights are not here: most models are published in it."""

UNKNOWN_SIZE = TaskSize(num_test=0, num_items=0, tokens_per_item=0.0, num_choices=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A plan made without some of its data or weights."""

    plan: Plan
    checked_tasks: frozenset[str]
    """Tasks whose data was loaded, and whose axes were checked."""
    checked_models: frozenset[str]
    """Base models whose files are here."""
    is_sized: bool
    """Whether the size of every task is known; without it there is no cost."""


class StubTask(SplitTask):
    """A task without data: an item of a draw is the name of the draw and its place."""

    def pool_ids(self, measure: str | None, level: Level | None) -> tuple[str, ...]:
        """Returns no ids: which items are in the pool is not known."""
        return ()

    def tested_ids(self, draw: TestDraw | None) -> tuple[str, ...]:
        """Returns an id that stands for the tested items."""
        return () if draw is None else (draw.model_dump_json(),)

    def by_id(self, ids: Iterable[str]) -> tuple[Item, ...]:
        """Returns no items."""
        return ()

    def drawn_ids(self, draws: CellDraws) -> DrawnIds:
        """Returns an id for each draw."""
        return DrawnIds(
            labelled=tuple(map(_draw_name, draws.labelled)),
            validation=tuple(map(_draw_name, draws.validation)),
            unlabelled=tuple((_draw_name(draw),) for draw in draws.unlabelled),
        )


def estimate_plan(
    space: Space, data_root: Path | None = None, *, skip_bad_rows: bool = False
) -> Estimate:
    """Returns the plan of a space; data and models that are here are loaded and checked.

    Args:
        space: The study.
        data_root: Folder with local copies of data sets, if there is one.
        skip_bad_rows: Leave out rows that cannot be used, instead of stopping at the first.

    Raises:
        ValueError: If data or a model that is here cannot be used.
    """
    prepared: list[PreparedAxis] = []
    checked: set[str] = set()
    for name in dict.fromkeys(axis.task for axis in space.tasks):
        axes = tuple(axis for axis in space.tasks if axis.task == name)
        alone = space.model_copy(update={"tasks": axes})
        needs_no_root = name in GENERATED_TASKS or kind_of(name) == FUNCTION
        if data_root is not None or needs_no_root:
            with suppress(UnavailableError):
                alone, tasks = load_tasks(alone, data_root, skip_bad_rows=skip_bad_rows)
                for axis in alone.tasks:
                    check_axis(alone, axis, tasks[name])
                prepared += [prepare_axis(alone, axis, tasks[name]) for axis in alone.tasks]
                checked.add(name)
                continue
        prepared += _stub_axes(alone)
    stubs = {model.name: _stub_model(model) for model in space.models if not _is_here(model)}
    here = tuple(model for model in space.models if model.name not in stubs)
    resolved = {model.name: resolve_model(model) for model in here}
    if here:
        check_models(space.model_copy(update={"models": here}), resolved)
    return Estimate(
        plan=plan_space(space, prepared, {**stubs, **resolved}, _find_prompt),
        checked_tasks=frozenset(checked),
        checked_models=frozenset(resolved),
        is_sized=all(axis.size != UNKNOWN_SIZE for axis in prepared),
    )


def outline_plan(space: Space) -> Plan:
    """Returns the plan of a space as if none of its data and models were here; reads no file."""
    models = {model.name: _stub_model(model) for model in space.models}
    return plan_space(space, _stub_axes(space), models, _find_prompt)


def _stub_axes(space: Space) -> list[PreparedAxis]:
    return [
        prepare_axis(space, axis, _stub_task(axis), _published_size(axis.task))
        for axis in space.tasks
    ]


def _published_size(task: str) -> TaskSize:
    facts = FACTS.get(task)
    if facts is None:
        return UNKNOWN_SIZE
    return TaskSize(
        num_test=facts.num_items,
        num_items=facts.num_items,
        tokens_per_item=facts.characters / CHARS_PER_TOKEN,
        num_choices=facts.num_choices,
    )


def _stub_task(axis: TaskAxis) -> StubTask:
    data = TaskData(
        name=axis.task,
        items=(),
        measures={axis.measure: {}},
        data_hash="unknown",
        source="not loaded",
        licence="unknown",
        free_form=find_task(axis.task).free_form,
    )
    return StubTask(data=data, split=Split(test=(), pool=(), split_hash="unknown"))


def _draw_name(draw: Draw) -> str:
    return f"{draw.names} {draw.n}"


def _is_here(model: BaseModelRef) -> bool:
    if model.path is not None:
        return True
    return not HUB_NAME.fullmatch(model.name) or Path(model.name).expanduser().exists()


def _stub_model(model: BaseModelRef) -> ModelSource:
    size = MODELS.get(model.name)
    return ModelSource(
        name=model.name,
        source=model.name,
        revision=model.revision,
        content=f"hub:{model.name}",
        dtype=UNKNOWN_DTYPE if model.dtype == "auto" else model.dtype,
        num_params=None if size is None else size.num_params,
        num_active_params=None if size is None else size.num_active,
        num_expert_params=0 if size is None else size.num_expert,
        num_layers=None if size is None else size.num_layers,
        hidden_size=None if size is None else size.hidden_size,
        vocab_size=None if size is None else size.vocab_size,
    )


def _find_prompt(task: str, name: str, model: ModelSource) -> PromptFacts:
    """Returns a prompt without the model's chat template, which may not be here."""
    prompt = get_prompt(task, plain_name(name))
    chat = CHAT if name.startswith(CHAT) else ""
    return PromptFacts(
        hash=f"{chat}{prompt.hash}", generates=prompt.generates, shows_choices=prompt.shows_choices
    )
