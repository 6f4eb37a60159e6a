"""Rows of the surface: a point with its estimates, or with the reason why there are none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from search_spaces.recipes import Recipe
from search_spaces.supervision import LabelKind
from study.artifacts.condition_kinds import ConditionKind
from study.artifacts.points import Point
from study.statistics.floor import FLOOR_BELOW_CHANCE, FLOOR_NOT_READABLE, Floor, FloorVerdict
from study.statistics.recovery import ONE_SEED
from study.statistics.sgr import Difference, Recovery, SgrEstimate, Verdict

Scalar = str | int | float | None

FLOOR_AT_CHANCE = "floor at chance: SGR includes learning the format"
"""Caveat of a point; the text before the colon is its short form."""

MUCH_OVERLAP = 0.5
"""Above this expected share of common labels, seeds say little about other pools."""

NOT_FACTORS = frozenset({"method", "search_labels"})
"""Fields of a recipe that are not factors, because they have separate columns."""

_CACHED_RECIPES = 4096
"""A study has few recipes, and every point asks for the text of its recipe many times."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its interval; what could not be estimated is None."""

    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    """Of the null that it is 0 (for a share: that it is 1)."""

    @classmethod
    def of(cls, difference: Difference | None) -> Interval:
        """Returns a difference with its interval, all None where there is no difference."""
        if difference is None:
            return cls()
        return cls(
            estimate=difference.estimate,
            low=difference.low,
            high=difference.high,
            p_value=difference.p_value,
        )

    @classmethod
    def of_share(cls, share: Recovery | None) -> Interval:
        """Returns a share with its interval, without a p-value; all None without a share."""
        return cls() if share is None else cls(estimate=share.value, low=share.low, high=share.high)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SurfaceRow:
    """One point with its estimates, or with the reason why there are none."""

    point: Point
    role: ConditionKind = "labels"
    label_kind: LabelKind = "gold"
    """How the source's labels are made."""
    hard_labels: int | None = None
    """Labelled items of one seed of the hard arm."""
    num_cells: int
    """Distinct cells of the point's arms."""
    cell_seconds: float | None = None
    """Wall-clock seconds of its finished cells together; other points use them too."""
    reason: str | None = None
    """Why there is no estimate."""
    estimate: SgrEstimate | None = None
    """Of the point's three arms; None with a reason."""
    floor: Floor | None = None
    """Zero-shot against chance, where there is an estimate."""
    gain_over_start: Difference | None = None
    """For a self-trained source: source - start. Needs neither zero-shot nor hard cells."""
    recovery_over_start: Recovery | None = None
    """For a self-trained source: the share of hard - start that it recovers."""
    over_trivial: Recovery | None = None
    """Where the trivial control ran: (source - trivial) / (hard - trivial), whose floor knows the
    answer format."""
    accuracies: Mapping[str, float] = field(default_factory=dict)
    """Arm -> accuracy on the test level: the estimate's means, else those of the arms whose cells
    are all finished."""
    unreadable: Mapping[str, float] = field(default_factory=dict)
    """Arm -> share of its generated answers that could not be read; arms that score choices are
    absent."""
    num_items: int | None = None
    """Test items of the estimate; without one those of the test level."""

    @property
    def zero_shot(self) -> float | None:
        """Accuracy of the untrained model."""
        return self.accuracies.get("zero_shot")

    @property
    def easy(self) -> float | None:
        """Accuracy after training on the source."""
        return self.accuracies.get("easy")

    @property
    def hard(self) -> float | None:
        """Accuracy after training on hard labels."""
        return self.accuracies.get("hard")

    @property
    def start(self) -> float | None:
        """For a self-trained source: accuracy of the arm it started from."""
        return self.accuracies.get("start")

    @property
    def sgr(self) -> Interval:
        """SGR; its p-value is of the null that it is 1. Empty unless the floor can be its zero."""
        estimate = self.estimate
        if estimate is None or not self.has_floor:
            return Interval()
        return Interval(
            estimate=estimate.value,
            low=estimate.low,
            high=estimate.high,
            p_value=estimate.p_full_recovery,
        )

    @property
    def gap(self) -> Interval:
        """Difference hard - zero-shot: the denominator of SGR, without a p-value."""
        gap = Interval.of(None if self.estimate is None else self.estimate.hard_gain)
        return Interval(estimate=gap.estimate, low=gap.low, high=gap.high)

    @property
    def easy_gain(self) -> Interval:
        """Difference source - zero-shot."""
        return Interval.of(None if self.estimate is None else self.estimate.easy_gain)

    @property
    def hard_gain(self) -> Interval:
        """Difference hard - zero-shot."""
        return Interval.of(None if self.estimate is None else self.estimate.hard_gain)

    @property
    def hard_minus_easy(self) -> Interval:
        """Difference hard - source."""
        return Interval.of(None if self.estimate is None else self.estimate.hard_minus_easy)

    @property
    def ssrm_gain(self) -> Interval:
        """For a self-trained source: the paired difference source - start."""
        return Interval.of(self.gain_over_start)

    @property
    def residual(self) -> Interval:
        """For a self-trained source: the share of hard - start that it recovers."""
        return Interval.of_share(self.recovery_over_start)

    @property
    def format_matched(self) -> Interval:
        """Where the trivial control ran: SGR with that control as the floor."""
        return Interval.of_share(self.over_trivial)

    @property
    def format_matched_verdict(self) -> Verdict | None:
        """Verdict on `format_matched`."""
        return None if self.over_trivial is None else self.over_trivial.verdict

    @property
    def residual_verdict(self) -> Verdict | None:
        """Verdict on `residual`."""
        return None if self.recovery_over_start is None else self.recovery_over_start.verdict

    @property
    def verdict(self) -> Verdict | FloorVerdict | None:
        """What may be said of SGR; a floor that cannot be its zero decides first."""
        if self.estimate is None:
            return None
        fault = None if self.floor is None else self.floor.verdict
        return self.estimate.verdict if fault is None else fault

    @property
    def verdict_note(self) -> str:
        """Reasons for the verdict, and what the interval leaves out."""
        if self.estimate is None:
            return ""
        notes = [self.floor.verdict_note if self.floor else "", self.estimate.verdict_note]
        if self.estimate.missing_share > 0:
            notes.append(f"{self.estimate.missing_share:.2%} of scores missing")
        if self.point.pool_overlap > MUCH_OVERLAP:
            notes.append("given this pool")
        return "; ".join(filter(None, notes))

    @property
    def caveats(self) -> tuple[str, ...]:
        """What must accompany the SGR wherever it is shown."""
        is_at_chance = self.floor is not None and self.floor.at_chance and self.has_floor
        return (FLOOR_AT_CHANCE,) if is_at_chance else ()

    @property
    def draw_note(self) -> str:
        """Note of a point with one seed; empty otherwise."""
        return ONE_SEED if len(self.point.easy.cells) == 1 else ""

    @property
    def has_floor(self) -> bool:
        """Whether zero-shot can be the zero of SGR, as far as is known."""
        return self.verdict not in (FLOOR_BELOW_CHANCE, FLOOR_NOT_READABLE)

    @property
    def num_seeds(self) -> int | None:
        """Seeds of the trained arm that has fewest."""
        return None if self.estimate is None else self.estimate.num_seeds

    @property
    def missing_share(self) -> float | None:
        """Share of (item, seed) pairs of the arms without a score; 0 for complete data."""
        return None if self.estimate is None else self.estimate.missing_share

    @property
    def recipe_text(self) -> str:
        """The recipe with all its factors."""
        return recipe_text(self.point.recipe)

    @property
    def factors(self) -> Mapping[str, Scalar]:
        """The recipe's hyper-parameters."""
        return recipe_factors(self.point.recipe)


@lru_cache(maxsize=_CACHED_RECIPES)
def recipe_factors(recipe: Recipe) -> Mapping[str, Scalar]:
    """Returns a recipe's hyper-parameters as plain values, nested ones by their last name.

    Options that a recipe does not use (no reasoning, say) are left out.
    """
    return MappingProxyType(dict(_leaves(recipe.model_dump(mode="json", exclude=set(NOT_FACTORS)))))


@lru_cache(maxsize=_CACHED_RECIPES)
def recipe_text(recipe: Recipe) -> str:
    """Returns the one readable text of a recipe: `lora(n_train=160, rank=16, ...)`."""
    parts = ", ".join(
        f"{name}={scalar_text(value)}" for name, value in recipe_factors(recipe).items()
    )
    return f"{recipe.method}({parts})"


def scalar_text(value: Any) -> str:
    """Returns a factor's value as text; floats without trailing zeros."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif value is None:
            continue
        elif isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, Iterable) and not isinstance(value, str):
            yield name, "+".join(scalar_text(element) for element in value)
        else:
            yield name, value
