"""Arms: the cells of one base model and recipe, seed by seed, with all that they start from."""

from __future__ import annotations

from typing import Literal

from search_spaces.base_models import BaseModelRef
from search_spaces.cell import STEP_VERSIONS, Cell, cell_id, step_version
from search_spaces.frozen import digest
from search_spaces.levels import Level
from search_spaces.recipes import PolicyDPO, Recipe, TrainedRecipe
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import Condition, Labels
from study.artifacts.points import PlannedArm
from study.cost.flops import expected_flop, expected_training_flop
from study.planning.axes import PreparedAxis
from study.planning.conditions import cell_draws, condition_recipe, policy_draws, zero_shot_recipe
from study.planning.pool_checks import check_round
from study.planning.variants import Differences, disambiguate_conditions, variant_label
from trainables.cells.planned import PlannedCell
from trainables.data.draws import CellDraws, DrawnIds
from trainables.data.prompts.formats import get_prompt
from trainables.data.seeding import ids_hash
from trainables.models.chat_templates import plain_name, prompt_hash
from trainables.models.source import ModelSource
from trainables.self_training.answer_classes import shared_texts


class Cells:
    """All cells that a plan has so far, each once, and what they draw."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.planned: dict[str, PlannedCell] = {}
        self._ids: dict[CellDraws, DrawnIds] = {}
        self._hashes: dict[tuple[CellDraws, bool], str] = {}

    def drawn(self, axis: PreparedAxis, draws: CellDraws) -> DrawnIds:
        """Returns the ids of a cell's items, looked up once for all models and recipes."""
        if draws not in self._ids:
            self._ids[draws] = axis.task.drawn_ids(draws)
        return self._ids[draws]

    def labelled_hash(self, axis: PreparedAxis, draws: CellDraws, *, reasoned: bool) -> str:
        """Returns the hash of a cell's labelled items, made once for all models and recipes.

        Args:
            axis: Whose items they are.
            draws: Of the cell.
            reasoned: Whether the cell learns from worked solutions: no other hash holds them.
        """
        key = (draws, reasoned)
        if key not in self._hashes:
            ids = self.drawn(axis, draws).labelled
            solutions = [item.reasoning for item in axis.task.by_id(ids)] if reasoned else None
            self._hashes[key] = ids_hash(ids) if solutions is None else digest([ids, solutions])
        return self._hashes[key]


class Arms:
    """Plans the cells of one base model and recipe on one axis."""

    def __init__(
        self,
        cells: Cells,
        axis: PreparedAxis,
        model: BaseModelRef,
        source: ModelSource,
        recipe: TrainedRecipe,
    ) -> None:
        self._cells = cells
        self._axis = axis
        self._model = model
        self._source = source
        self._recipe = recipe
        self._known: dict[tuple[Condition, int], PlannedArm] = {}
        self.differing: Differences = disambiguate_conditions(axis.axis.conditions)

    def zero_shot(self) -> PlannedArm:
        """Returns the arm of the base as it is."""
        free_form = self._axis.task.data.free_form
        recipe = zero_shot_recipe(self._axis.axis, self._recipe, free_form=free_form)
        return PlannedArm(cells=(self._plan(self._cell(recipe, None, None), "zero-shot", None).id,))

    def labelled(self, condition: Condition) -> PlannedArm:
        """Returns the arm of the condition's labels alone: round 0 where it is self-trained."""
        return self._arm(condition, 0)

    def self_trained(self, condition: Condition, number: int) -> PlannedArm:
        """Returns the arm of a round of the condition's self-training, from 1."""
        return self._arm(condition, number)

    def policy(self, recipe: PolicyDPO, name: str, reward_models: PlannedArm | None) -> PlannedArm:
        """Returns the arm of policies: one a seed, or the base as it is.

        Args:
            recipe: Of the policies.
            name: What the reader knows them by.
            reward_models: Whose preferences they are trained on, one a seed; None: nobody's, or
                the gold reward's.
        """
        if recipe.labels == "none":
            return PlannedArm(cells=(self._plan(self._cell(recipe, None, None), name, None).id,))
        cells, draws = [], []
        for seed in range(self._cells.space.seeds):
            drawn = policy_draws(self._cells.space, self._axis.axis, seed)
            parent = None if reward_models is None else reward_models.cells[seed]
            cell = self._cell(recipe, drawn, None, parent)
            cells.append(self._plan(cell, name, drawn).id)
            draws.append(drawn.id)
        return PlannedArm(cells=tuple(cells), draws=tuple(draws))

    def _arm(self, condition: Condition, number: int) -> PlannedArm:
        # The number of rounds is the space's, not the cell's: more rounds add cells.
        key = (condition, number)
        if key not in self._known:
            seeds = range(self._cells.space.seeds)
            planned = [self._round(condition, number, seed) for seed in seeds]
            draws = [cell.draws.id for cell in planned if cell.draws is not None]
            self._known[key] = PlannedArm(
                cells=tuple(cell.id for cell in planned), draws=tuple(draws)
            )
        return self._known[key]

    def _round(self, condition: Condition, number: int, seed: int) -> PlannedCell:
        """Plans a round with all that come before it."""
        draws = cell_draws(self._cells.space, self._axis.axis, self._recipe, condition, seed)
        options = condition.self_training
        recipe = condition_recipe(self._recipe, condition)
        if number == 0 or options is None:
            start = draws.model_copy(update={"validation": (), "unlabelled": ()})
            cell = self._cell(recipe, start, condition)
            return self._plan(cell, condition.name, start, condition)
        chain = condition.model_copy(
            update={"self_training": options.model_copy(update={"targets": "pseudo"})}
        )
        parent = self._round(chain, number - 1, seed)
        classes = self._answer_classes(draws)
        if options.admission == "by-level":
            draws = draws.model_copy(update={"unlabelled": draws.unlabelled[:number]})
        ids = self._cells.drawn(self._axis, draws)
        pool = [id_ for level in ids.unlabelled for id_ in level]
        cell = self._cell(recipe, draws, condition).model_copy(
            update={
                "self_training": options,
                "round": number,
                "parent": parent.id,
                "unlabelled_hash": ids_hash(pool),
                "validation_hash": ids_hash(ids.validation) if ids.validation else None,
                "answer_classes": classes,
                "round_version": STEP_VERSIONS[_round_step(condition, draws)],
            }
        )
        check_round(Cell.model_validate(dict(cell)), self._axis.task, condition, draws, ids)
        return self._plan(cell, condition.name, draws, condition)

    def _answer_classes(self, draws: CellDraws) -> Literal["texts"] | None:
        """Says what answers' classes are in all rounds: by all levels that any of them may label.

        A level alone may share its texts (yes, no) and the next one not, and a chain that admits
        level after level carries averages of classes from round to round.
        """
        ids = self._cells.drawn(self._axis, draws)
        items = self._axis.task.by_id(id_ for level in ids.unlabelled for id_ in level)
        return "texts" if shared_texts({item.id: item.choices for item in items}) else None

    def _cell(
        self,
        recipe: Recipe,
        draws: CellDraws | None,
        condition: Condition | None,
        parent: str | None = None,
    ) -> Cell:
        axis = self._axis
        prompt = axis.axis.prompt_of(recipe)
        hashed = None
        if draws is not None:
            reasoned = get_prompt(axis.axis.task, plain_name(prompt)).generates
            hashed = self._cells.labelled_hash(axis, draws, reasoned=reasoned)
        return Cell(
            model=self._source.content,
            dtype=self._source.dtype,
            task=axis.axis.task,
            data_hash=axis.task.data.data_hash,
            split_hash=axis.task.split.split_hash,
            prompt=prompt_hash(axis.axis.task, prompt, self._source),
            recipe=recipe,
            training_hash=hashed,
            tested_hash=None if axis.test_draw is None else ids_hash(axis.tested),
            labels=Labels() if condition is None else condition.labels,
            study_seed=self._cells.space.study_seed,
            seed=None if draws is None else draws.labelled[0].seed,
            parent=parent,
            measured_by=_measured_by(self._axis, draws),
            version=step_version(recipe, self._model.dtype),
        )

    def _plan(
        self,
        cell: Cell,
        name: str,
        draws: CellDraws | None,
        condition: Condition | None = None,
    ) -> PlannedCell:
        axis = self._axis.axis
        planned = PlannedCell(
            id=cell_id(cell),
            cell=cell,
            model_name=self._model.name,
            condition=name,
            variant=""
            if condition is None
            else variant_label(
                condition, self.differing, trains_itself=cell.self_training is not None
            ),
            is_control=_is_control(condition, cell),
            measure=None if draws is None else axis.measure,
            train_level=None if condition is None else only_level(axis, condition),
            draws=draws,
            test_draw=self._axis.test_draw,
            flop=expected_flop(cell, draws, self._source, self._axis.size),
            training_flop=expected_training_flop(cell, draws, self._source, self._axis.size),
        )
        return self._cells.planned.setdefault(planned.id, planned)


def _round_step(condition: Condition, draws: CellDraws) -> str:
    """Returns the step of `STEP_VERSIONS` that a round of self-training is."""
    is_noisy = condition.labels.kind in ("noise", "paper noise", "random")
    return "self-training, noisy validation" if is_noisy and draws.validation else "self-training"


def _measured_by(axis: PreparedAxis, draws: CellDraws | None) -> str | None:
    """Returns what cut the levels that are drawn from: the children's link to its cells."""
    drawn = () if draws is None else (*draws.labelled, *draws.validation, *draws.unlabelled)
    if all(draw.level is None for draw in drawn):
        return None
    return axis.task.data.measured_by.get(axis.axis.measure)


def _is_control(condition: Condition | None, cell: Cell) -> bool:
    """Says whether the cell is its condition's result, not its start, and that is a control."""
    if condition is None or (condition.self_training is None) != (cell.self_training is None):
        return False
    return condition.control


def only_level(axis: TaskAxis, condition: Condition) -> Level | None:
    """Returns the level that all of a condition's labels are of; None where there are several."""
    return axis.train_level(condition.levels[0]) if len(condition.levels) == 1 else None
