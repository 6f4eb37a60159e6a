"""Recovered shares of a gap with their verdict, for SGR and for residual recovery.

Both are (source - floor) / (ceiling - floor) and differ only in the arms' roles. The numbers come
from `study.statistics.ratio`; this module decides which of them may be reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

from study.statistics.arms import ArmScores
from study.statistics.influences import Clusters, Contrast
from study.statistics.ratio import RatioEstimate, estimate_ratio

Verdict = Literal["resolved", "resolved, imprecise", "gap not resolvable", "hard labels hurt"]
RESOLVED: Final = "resolved"
IMPRECISE: Final = "resolved, imprecise"
GAP_NOT_RESOLVABLE: Final = "gap not resolvable"
HARD_LABELS_HURT: Final = "hard labels hurt"

MAX_INTERVAL = 1.0
"""Widest interval of a share whose verdict is `RESOLVED`: a wider one hardly tells no recovery from
a full one, so it is never in a headline."""

ONE_SEED: Final = "one seed: this draw only"
"""Note of an estimate without seed variance: its interval covers new items, but not new draws of
labels."""

_FEW_CLUSTERS = 20
"""With fewer the cluster-robust variance is itself too uncertain (docs/statistics.md)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recovery:
    """Share of a gap that is recovered: (source - floor) / (ceiling - floor).

    All accuracies and differences are fractions. Missing numbers are None, never NaN.
    """

    value: float | None
    """The share; None unless the gap is resolved. Can be outside [0, 1]."""
    low: float | None
    high: float | None
    verdict: Verdict
    """resolved: gap_low > 0; imprecise if the interval of the share is wider than `MAX_INTERVAL`.
    hard labels hurt: gap_high < 0. Else gap not resolvable."""
    verdict_note: str
    """The reason for a verdict other than resolved, and the limits of the interval."""
    gap: float
    """ceiling - floor: the denominator."""
    gap_low: float | None
    """None if the gap has no interval: one item, or no variance."""
    gap_high: float | None
    num_items: int | None
    """Items that all arms have scored; None if only means are known."""
    num_seeds: int
    """Seeds of the arm with the fewest, deterministic arms excluded."""
    num_clusters: int | None
    """Sampled groups of items; None if items were sampled independently."""
    missing_share: float
    """Share of (item, seed) pairs without a score, over all arms and all items passed in."""
    level: float
    means: Mapping[str, float]
    """Mean score of each arm, by name."""
    p_full_recovery: float | None
    """p-value of the null that the share is 1, with the nu of the set, so that both agree."""
    ratio: RatioEstimate
    """The core's result: raw Fieller set, g, nu, covariance."""


AnyRecovery = TypeVar("AnyRecovery", bound=Recovery)


def is_precise(low: float | None, high: float | None) -> bool:
    """Returns whether the interval of a share is at most `MAX_INTERVAL` wide."""
    return low is not None and high is not None and high - low <= MAX_INTERVAL


class Roles(NamedTuple):
    """Arms of (source - floor) / (ceiling - floor)."""

    floor: str
    source: str
    ceiling: str

    @property
    def numerator(self) -> Contrast:
        """The contrast source - floor."""
        return {self.source: 1.0, self.floor: -1.0}

    @property
    def denominator(self) -> Contrast:
        """The gap ceiling - floor."""
        return {self.ceiling: 1.0, self.floor: -1.0}


def estimate_recovery(
    kind: type[AnyRecovery],
    arms: Mapping[str, ArmScores],
    roles: Roles,
    level: float,
    clusters: Clusters | None,
) -> AnyRecovery:
    """Estimates the ratio and decides the verdict."""
    ratio = estimate_ratio(
        arms,
        numerator=roles.numerator,
        denominator=roles.denominator,
        level=level,
        clusters=clusters,
    )
    return recovery_of(
        kind, ratio, roles, num_clusters=None if clusters is None else ratio.sample.num_units
    )


def recovery_of(
    kind: type[AnyRecovery], ratio: RatioEstimate, roles: Roles, *, num_clusters: int | None = None
) -> AnyRecovery:
    """Decides the verdict of an estimated ratio."""
    gap = ratio.denominator
    verdict = _verdict(ratio)
    bounds = ratio.fieller if verdict in (RESOLVED, IMPRECISE) else None
    labels = _labels(ratio, num_clusters=num_clusters)
    reasons = [] if bounds else [_reason(ratio, roles)]
    return kind(
        value=ratio.ratio if bounds else None,
        low=bounds.low if bounds else None,
        high=bounds.high if bounds else None,
        verdict=verdict,
        verdict_note="; ".join(reasons + labels),
        gap=gap.estimate,
        gap_low=gap.low,
        gap_high=gap.high,
        num_items=ratio.sample.num_items,
        num_seeds=ratio.sample.num_seeds,
        num_clusters=num_clusters,
        missing_share=ratio.sample.missing_share,
        level=ratio.level,
        means=ratio.sample.means,
        p_full_recovery=ratio.p_value(1.0),
        ratio=ratio,
    )


def _verdict(ratio: RatioEstimate) -> Verdict:
    """The verdict by the interval of the gap, and its grade by that of the share."""
    gap, share = ratio.denominator, ratio.fieller
    if gap.low is None or gap.high is None:
        return GAP_NOT_RESOLVABLE
    if gap.low > 0.0:
        return RESOLVED if share is not None and is_precise(share.low, share.high) else IMPRECISE
    return HARD_LABELS_HURT if gap.high < 0.0 else GAP_NOT_RESOLVABLE


def _reason(ratio: RatioEstimate, roles: Roles) -> str:
    """Why there is no share, with the names of the arms."""
    gap = ratio.denominator
    name = f"{roles.ceiling} - {roles.floor}"
    if gap.low is None or gap.high is None:
        return ratio.reason
    span = f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f} points"
    if gap.high < 0.0:
        return f"{name} is below 0: {span} at level {ratio.level:g}"
    if gap.estimate == 0.0:
        return f"{name} is exactly 0, so there is no gap to recover ({span})"
    return f"the interval of {name} holds 0: {span} at level {ratio.level:g}"


def _labels(ratio: RatioEstimate, *, num_clusters: int | None) -> list[str]:
    """Sources of uncertainty that the interval leaves out, and weak grounds of it."""
    labels = []
    one_seed = ratio.sample.one_seed_arms
    if one_seed:
        if len(one_seed) == ratio.sample.num_seeded_arms:
            labels.append(ONE_SEED)
        else:
            names = ", ".join(one_seed)
            labels.append(f"interval without the seed variance of {names} (one seed)")
    if num_clusters is not None and num_clusters < _FEW_CLUSTERS:
        labels.append(f"only {num_clusters} clusters: the interval is uncertain under 20")
    if ratio.fieller is not None and ratio.fieller.low == ratio.fieller.high is not None:
        labels.append("zero-width interval: the ratio is the same for every item and seed")
    return labels
