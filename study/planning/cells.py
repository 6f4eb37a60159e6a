"""The factory of cells: the only place where a `Cell` is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from search_spaces.base_models import BaseModelRef
from search_spaces.cell import Cell, cell_id, step_version
from search_spaces.frozen import digest
from search_spaces.recipes import Recipe
from search_spaces.supervision import Labels, SelfTraining
from study.cost.flops import TaskSize, expected_flop, expected_training_flop
from study.planning.conditions import ResolvedCondition
from trainables.cells.planned import PlannedCell
from trainables.data.draws import CellDraws, DrawnIds, TestDraw
from trainables.data.prompts.formats import get_prompt
from trainables.data.seeding import ids_hash
from trainables.data.task import SplitTask
from trainables.models.chat_templates import plain_name, prompt_hash
from trainables.models.source import ModelSource


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFacts:
    """What a plan needs of a prompt format."""

    hash: str
    """Its identity, with that of the chat template around it."""
    generates: bool
    """Whether its answers are generated, after reasoning."""
    shows_choices: bool
    """Whether the question's text lists the choices."""


FindPrompt = Callable[[str, str, ModelSource], PromptFacts]
"""Returns a prompt format: of a task, by name, for a base model."""


def find_prompt(task: str, name: str, model: ModelSource) -> PromptFacts:
    """Returns a prompt format; the chat template of the base model is read if it needs one.

    Raises:
        ValueError: If there is no such format, or the model has no chat template.
    """
    prompt = get_prompt(task, plain_name(name))
    return PromptFacts(
        hash=prompt_hash(task, name, model),
        generates=prompt.generates,
        shows_choices=prompt.shows_choices,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredTask:
    """A task with the test items that cells are scored on."""

    task: SplitTask
    size: TaskSize
    test_draw: TestDraw | None = None
    """None: every test item is scored."""

    @property
    def tested(self) -> tuple[str, ...]:
        """Ids of the test items that cells are scored on."""
        return self.task.tested_ids(self.test_draw)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedBase:
    """A base model as the space names it, and what it was resolved to."""

    model: BaseModelRef
    source: ModelSource


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundOf:
    """What makes a cell a round of self-training."""

    options: SelfTraining
    number: int
    answer_classes: Literal["texts"] | None
    version: int


class CellFactory:
    """Makes the cells of a plan, each once, and keeps what they draw.

    Args:
        find_prompt: Finds prompt formats.
    """

    def __init__(self, find_prompt: FindPrompt = find_prompt) -> None:
        self.planned: dict[str, PlannedCell] = {}
        self._find_prompt = find_prompt
        self._ids: dict[CellDraws, DrawnIds] = {}
        self._hashes: dict[tuple[CellDraws, bool], str] = {}

    def ids(self, task: SplitTask, draws: CellDraws) -> DrawnIds:
        """Returns the ids of a cell's items, looked up once for all models and recipes."""
        if draws not in self._ids:
            self._ids[draws] = task.drawn_ids(draws)
        return self._ids[draws]

    def make(
        self,
        scored: ScoredTask,
        base: ResolvedBase,
        recipe: Recipe,
        draws: CellDraws | None,
        *,
        name: str,
        prompt: str,
        study_seed: int,
        measure: str | None = None,
        source: ResolvedCondition | None = None,
        difficulty_gap: float | None = None,
        parent: str | None = None,
        round_of: RoundOf | None = None,
    ) -> PlannedCell:
        """Returns a cell of the plan.

        Args:
            scored: Its task.
            base: Its base model.
            recipe: How the base is trained.
            draws: Of its items; None: it draws none.
            name: Of its condition, for the reader.
            prompt: Name of the task's prompt format.
            study_seed: Of the study.
            measure: Of the levels that it draws from, for the reader.
            source: Its condition, if an axis has it.
            difficulty_gap: From its labels to all items of the task.
            parent: Id of the cell that it starts from.
            round_of: For a round of self-training.
        """
        task, is_round = scored.task, round_of is not None
        format_ = self._find_prompt(task.data.name, prompt, base.source)
        ids = DrawnIds(labelled=()) if draws is None else self.ids(task, draws)
        pool = [id_ for level in ids.unlabelled for id_ in level]
        cell = Cell(
            model=base.source.content,
            dtype=base.source.dtype,
            task=task.data.name,
            data_hash=task.data.data_hash,
            split_hash=task.split.split_hash,
            prompt=format_.hash,
            recipe=recipe,
            training_hash=None if draws is None else self._labelled_hash(task, draws, format_),
            tested_hash=None if scored.test_draw is None else ids_hash(scored.tested),
            labels=Labels() if source is None else source.condition.labels,
            self_training=None if round_of is None else round_of.options,
            round=0 if round_of is None else round_of.number,
            unlabelled_hash=None if round_of is None else ids_hash(pool),
            validation_hash=ids_hash(ids.validation) if ids.validation else None,
            answer_classes=None if round_of is None else round_of.answer_classes,
            round_version=None if round_of is None else round_of.version,
            study_seed=study_seed,
            seed=None if draws is None else draws.labelled[0].seed,
            parent=parent,
            measured_by=_measured_by(task, draws),
            version=step_version(recipe, base.model.dtype),
        )
        id_ = cell_id(cell)
        if id_ not in self.planned:
            self.planned[id_] = PlannedCell(
                id=id_,
                cell=cell,
                model_name=base.model.name,
                condition=name,
                variant="" if source is None else source.variant(trains_itself=is_round),
                is_control=source is not None and source.is_control(trains_itself=is_round),
                measure=measure,
                train_level=None if source is None else source.train_level,
                difficulty_gap=difficulty_gap,
                draws=draws,
                test_draw=scored.test_draw,
                flop=expected_flop(
                    cell, draws, base.source, scored.size, shows_choices=format_.shows_choices
                ),
                training_flop=expected_training_flop(cell, draws, base.source, scored.size),
            )
        return self.planned[id_]

    def _labelled_hash(self, task: SplitTask, draws: CellDraws, prompt: PromptFacts) -> str:
        """Returns the hash of the labelled items, with their worked solutions if it uses them."""
        key = (draws, prompt.generates)
        if key not in self._hashes:
            ids = self.ids(task, draws).labelled
            solutions = [item.reasoning for item in task.by_id(ids)] if prompt.generates else None
            self._hashes[key] = ids_hash(ids) if solutions is None else digest([ids, solutions])
        return self._hashes[key]


def _measured_by(task: SplitTask, draws: CellDraws | None) -> str | None:
    """Returns the hash of the cells that cut the levels which are drawn from, if models did."""
    drawn = () if draws is None else (*draws.labelled, *draws.validation, *draws.unlabelled)
    measures = {draw.measure for draw in drawn if draw.level is not None}
    return next((hash_ for m in measures if (hash_ := task.data.measured_by.get(m or ""))), None)
