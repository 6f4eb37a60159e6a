"""Arms: the cells of one base model and recipe, seed by seed, with all that they start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from search_spaces.cell import STEP_VERSIONS
from search_spaces.recipes import PolicyDPO, TrainedRecipe
from search_spaces.space import Space
from search_spaces.supervision import Condition
from study.artifacts.points import PlannedArm
from study.artifacts.policies import PolicyComparison
from study.planning.axes import PreparedAxis
from study.planning.axis_checks import check_round
from study.planning.cells import CellFactory, ResolvedBase, RoundOf
from study.planning.conditions import ResolvedCondition, policy_draws, zero_shot_recipe
from trainables.cells.planned import PlannedCell
from trainables.data.draws import CellDraws
from trainables.self_training.unlabelled import shared_texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Arms:
    """Plans the cells of one base model and recipe on one axis."""

    space: Space
    factory: CellFactory
    axis: PreparedAxis
    base: ResolvedBase
    recipe: TrainedRecipe
    _known: dict[tuple[Condition, int], PlannedArm] = field(init=False, default_factory=dict)

    def zero_shot(self) -> PlannedArm:
        """Returns the arm of the untrained base."""
        axis = self.axis
        recipe = zero_shot_recipe(axis.axis, self.recipe, free_form=axis.task.data.free_form)
        planned = self.factory.make(
            axis,
            self.base,
            recipe,
            None,
            name="zero-shot",
            prompt=axis.axis.prompt_of(recipe),
            study_seed=self.space.study_seed,
        )
        return PlannedArm(cells=(planned.id,))

    def trained(self, resolved: ResolvedCondition, number: int = 0) -> PlannedArm:
        """Returns the arm of a condition, one cell a seed, with the rounds that come before it.

        Args:
            resolved: The condition.
            number: Round of its self-training; 0: its labels alone.
        """
        # The number of rounds is the space's, not the cell's: more rounds add cells.
        key = (resolved.condition, number)
        if key not in self._known:
            parents = self.trained(resolved.pseudo_labelled, number - 1).cells if number else ()
            cells = []
            for seed in range(self.space.seeds):
                draws = resolved.draws(self.space.study_seed, seed)
                round_of = self._round_of(resolved, draws, number)
                planned = self.factory.make(
                    self.axis,
                    self.base,
                    resolved.recipe,
                    _draws_of_round(resolved, draws, number),
                    name=resolved.condition.name,
                    prompt=self.axis.axis.prompt_of(resolved.recipe),
                    study_seed=self.space.study_seed,
                    measure=self.axis.axis.measure,
                    source=resolved,
                    difficulty_gap=self.axis.hardness.gap(resolved.levels, None),
                    parent=parents[seed] if parents else None,
                    round_of=round_of,
                )
                if round_of is not None:
                    ids = self.factory.ids(self.axis.task, planned.draws or draws)
                    check_round(planned, self.axis.task, ids)
                cells.append(planned)
            self._known[key] = _arm(cells)
        return self._known[key]

    def compare_policies(
        self, recipe: PolicyDPO, resolved: ResolvedCondition
    ) -> PolicyComparison | None:
        """Plans the policies of a condition that trains itself; None for any other condition.

        Args:
            recipe: How policies are trained.
            resolved: The condition of the reward model.
        """
        condition, variant = resolved.condition, resolved.variant()
        if condition.self_training is None:
            return None
        untrained = PolicyDPO(
            labels="none",
            num_samples=recipe.num_samples,
            temperature=recipe.temperature,
            max_new_tokens=recipe.max_new_tokens,
            prompt=recipe.prompt,
        )
        gold = recipe.model_copy(update={"labels": "gold"})
        last = condition.rounds
        name = f"policy: {condition.name} {variant}" if variant else f"policy: {condition.name}"
        return PolicyComparison(
            model=self.base.model.name,
            task=self.axis.axis.task,
            recipe=resolved.recipe,
            condition=condition.name,
            variant=variant,
            threshold=condition.threshold,
            ssrm_round=last,
            base=self._policies(untrained, "policy: base", None),
            before=self._policies(recipe, f"{name} round 0", self.trained(resolved)),
            after=self._policies(recipe, f"{name} round {last}", self.trained(resolved, last)),
            gold=self._policies(gold, "policy: gold", None),
        )

    def _policies(
        self, recipe: PolicyDPO, name: str, reward_models: PlannedArm | None
    ) -> PlannedArm:
        """Returns the arm of policies: one a seed, or the untrained base.

        Args:
            recipe: Of the policies.
            name: For the reader.
            reward_models: One a seed, whose preferences the policies are trained on; None: they
                are trained on the gold reward, or not at all.
        """
        is_trained = recipe.labels != "none"
        cells = [
            self.factory.make(
                self.axis,
                self.base,
                recipe,
                policy_draws(self.space, self.axis.axis, seed) if is_trained else None,
                name=name,
                prompt=self.axis.axis.prompt_of(recipe),
                study_seed=self.space.study_seed,
                measure=self.axis.axis.measure if is_trained else None,
                parent=None if reward_models is None else reward_models.cells[seed],
            )
            for seed in range(self.space.seeds if is_trained else 1)
        ]
        return _arm(cells)

    def _round_of(
        self, resolved: ResolvedCondition, draws: CellDraws, number: int
    ) -> RoundOf | None:
        options, labels = resolved.condition.self_training, resolved.condition.labels
        if number == 0 or options is None:
            return None
        is_noisy = labels.kind in ("noise", "paper noise", "random") and draws.validation
        step = "self-training, noisy validation" if is_noisy else "self-training"
        return RoundOf(
            options=options,
            number=number,
            answer_classes=self._answer_classes(draws),
            version=STEP_VERSIONS[step],
        )

    def _answer_classes(self, draws: CellDraws) -> Literal["texts"] | None:
        """Returns what the classes of answers are in all rounds of a chain.

        All levels that any round may label decide: one level may share its texts (yes, no) and the
        next one not, and a chain that admits level after level averages classes over its rounds.
        """
        ids = self.factory.ids(self.axis.task, draws)
        items = self.axis.task.by_id(id_ for level in ids.unlabelled for id_ in level)
        return "texts" if shared_texts({item.id: item.choices for item in items}) else None


def _draws_of_round(resolved: ResolvedCondition, draws: CellDraws, number: int) -> CellDraws:
    """Returns what a round draws of all that its chain does: round 0 has no use for a pool."""
    options = resolved.condition.self_training
    if options is None:
        return draws
    if number == 0:
        return draws.model_copy(update={"validation": (), "unlabelled": ()})
    if options.admission == "by-level":
        return draws.model_copy(update={"unlabelled": draws.unlabelled[:number]})
    return draws


def _arm(cells: Sequence[PlannedCell]) -> PlannedArm:
    draws = tuple(cell.draws.id for cell in cells if cell.draws is not None)
    return PlannedArm(cells=tuple(cell.id for cell in cells), draws=draws)
