"""Recipe searches of a space: the items each may see, its winner, and its file."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from search_spaces.base_models import BaseModelRef
from search_spaces.explain import count, explain
from search_spaces.recipes import TrainedRecipe
from search_spaces.space import Space, TaskAxis
from search_spaces.tuning import FoundRecipe, History, most_examples, ranges_of, with_parameters
from study.planning.axes import load_tasks
from study.tuning.results import winner
from trainables.data.draws import CellDraws, Draw
from trainables.data.task import SplitTask
from trainables.models.chat_templates import prompt_hash
from trainables.models.resolve import resolve_model
from trainables.models.source import ModelSource
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.tuning.search import EasyItems, Search

MIN_VALIDATION = 20
"""With fewer items, a single answer is worth over 5 points, and a search would fit noise."""

PACKAGES = ("bitsandbytes", "numpy", "optuna", "peft", "ray", "torch", "transformers")


def make_searches(
    space: Space,
    method: str,
    data_root: Path | None,
    storage: Storage,
    *,
    num_validation: int,
    seed: int,
    skip_bad_rows: bool = False,
) -> Iterator[tuple[BaseModelRef, Search]]:
    """Yields a search for each base model, and each task axis that has the method.

    Args:
        space: Its recipe of the method is the start of each search.
        method: The method to tune.
        data_root: Local copies of data sets.
        storage: The run folder, which model-based measures are read from.
        num_validation: Labelled items for validation; fewer if the pool has fewer.
        seed: Seed of the draws and of the sampler.
        skip_bad_rows: Leave out rows that cannot be used, instead of stopping at the first.

    Raises:
        ValueError: If no axis has the method, an axis has several recipes of it, a pool is too
            small, or data or models cannot be used.
    """
    layout.check_space_name(space.name)
    if space.split == "paper":
        raise ValueError(
            f"space {space.name} has split 'paper', where every item may be a test item, which a "
            "search must not use; tune with split='frozen'"
        )
    starts = [(axis, start) for axis in space.tasks if (start := _start(space, axis, method))]
    if not starts:
        known = sorted({recipe.method for axis in space.tasks for recipe in space.recipes(axis)})
        raise ValueError(f"space {space.name} has no recipe of {method}, only {', '.join(known)}")
    space, tasks = load_tasks(space, data_root, storage, skip_bad_rows=skip_bad_rows)
    axes = {(axis.task, axis.measure): axis for axis in space.tasks}  # their levels are values now
    for model in space.models:
        source = resolve_model(model)
        for named, start in starts:
            axis = axes[named.task, named.measure]
            seeds = (space.study_seed, seed)
            items = easy_items(axis, tasks[axis.task], start, num_validation, seeds)
            history = _history(axis, source, start, items, seeds)
            notes = tasks[axis.task].data.loading_notes
            yield model, Search(history=history, items=items, source=source, notes=notes)


def _history(
    axis: TaskAxis,
    source: ModelSource,
    start: TrainedRecipe,
    items: EasyItems,
    seeds: tuple[int, int],
) -> History:
    return History(
        model=source.content,
        dtype=source.dtype,
        task=axis.task,
        measure=axis.measure,
        level=axis.train_levels[0],
        prompt=prompt_hash(axis.task, axis.prompt_of(start), source),
        start=start,
        ranges=ranges_of(start),
        study_seed=seeds[0],
        seed=seeds[1],
        items_hash=items.hash,
        num_labelled=len(items.labelled),
        num_validation=len(items.validation),
    )


def easy_items(
    axis: TaskAxis,
    task: SplitTask,
    start: TrainedRecipe,
    num_validation: int,
    seeds: tuple[int, int],
) -> EasyItems:
    """Returns the only items a search may use: labelled and validation items of the easiest level.

    Raises:
        ValueError: If the pool has too few items for both.
    """
    level = axis.train_levels[0]
    wanted = most_examples(start, ranges_of(start))
    shared = {
        "task": axis.task,
        "measure": axis.measure,
        "level": level,
        "study_seed": seeds[0],
        "seed": seeds[1],
    }
    labels = Draw.model_validate({**shared, "n": wanted, "use": "train"})
    rest = Draw.model_validate({**shared, "n": None, "use": "validation"})
    pool_size = len(task.pool_ids(axis.measure, level))
    chosen: tuple[str, ...] = ()
    if pool_size >= wanted:
        drawn = task.drawn_ids(CellDraws(labelled=(labels,), validation=(rest,)))
        chosen = drawn.validation[:num_validation]  # draws are nested
    if len(chosen) < MIN_VALIDATION:
        raise ValueError(
            f"level {level.name!r} of {axis.task} by {axis.measure} has {count(pool_size, 'item')} "
            f"in the pool; {wanted} are for training, and a search needs at least {MIN_VALIDATION} "
            f"others (--validation {num_validation}). A pool has twice the space's largest draw if "
            "the level has enough items: widen the level, or give the space a larger n_train"
        )
    return EasyItems(labelled=task.by_id(drawn.labelled), validation=task.by_id(chosen))


def found_recipe(
    history: History, *, model_name: str, seconds: tuple[float, ...], is_over: bool
) -> FoundRecipe:
    """Returns the content of the search's file, with its winner once the search is over."""
    best = winner(history) if is_over else None
    recipe = None
    if best is not None:
        origin = {"search": history.hash, "search_labels": history.num_labels}
        recipe = with_parameters(history.start, {**best.parameters, **origin})
    return FoundRecipe(
        recipe=recipe,
        history=history,
        model_name=model_name,
        num_labels=history.num_labels,
        num_pruned=history.num_pruned,
        seconds=seconds,
        packages={name: version(name) for name in PACKAGES},
    )


def file_of(space: str, model_name: str, history: History, ending: str = "json") -> str:
    """Returns the key of a search's file, or of its drawing."""
    names = (model_name, history.task, history.measure, history.start.method)
    return layout.tuned(space, *names, ending=ending)


def read_earlier(storage: Storage, key: str, wanted: History) -> FoundRecipe | None:
    """Returns the file of earlier runs of the same search; None if there is none.

    Raises:
        ValueError: If the file contains another search, or is damaged.
    """
    try:
        earlier = FoundRecipe.model_validate_json(storage.read_bytes(key))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ValueError(
            f"{storage.path(key)} is not a search's file of this version: "
            f"{explain(error)}. Move the file away, or give another --out"
        ) from error
    before = earlier.history.model_dump(mode="json", exclude={"trials"})
    now = wanted.model_dump(mode="json", exclude={"trials"})
    differing = [name for name in now if before[name] != now[name]]
    if differing:
        raise ValueError(
            f"{storage.path(key)} has a search with other {', '.join(differing)}, whose trials do "
            "not belong to this one. Move the file away, or give another --out"
        )
    return earlier


def _start(space: Space, axis: TaskAxis, method: str) -> TrainedRecipe | None:
    recipes = [recipe for recipe in space.recipes(axis) if recipe.method == method]
    if len(recipes) > 1:
        raise ValueError(
            f"{axis.task} by {axis.measure} has {len(recipes)} recipes of {method}, and a search "
            "starts from one: tune a space with one of them"
        )
    without_search = {"search": None, "search_labels": None}
    return recipes[0].model_copy(update=without_search) if recipes else None
