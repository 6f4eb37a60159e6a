"""What tells conditions of one name apart, where a study sweeps how it trains itself.

A threshold, a round, a number of labels and a rate of noise have places of their own in a point;
everything else in which namesakes differ is said in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from search_spaces.frozen import FrozenModel
from search_spaces.supervision import Condition, SelfTraining

_LEVELS = ("levels", "unlabelled")
"""Fields of a condition itself that say what it draws from."""

_OPTIONS = tuple(name for name in SelfTraining.model_fields if name != "threshold")

Differences = Mapping[str, tuple[str, ...]]
"""Name of a condition -> the fields in which conditions of that name differ, in fixed order."""


def disambiguate_conditions(conditions: Iterable[Condition]) -> Differences:
    """Returns what differs among conditions of one name; names without a difference are left out.

    Args:
        conditions: Of one axis.
    """
    namesakes: dict[str, list[Condition]] = {}
    for condition in conditions:
        namesakes.setdefault(condition.name, []).append(condition)
    found = {}
    for name, members in namesakes.items():
        trained = [m.self_training for m in members if m.self_training is not None]
        found[name] = (*_varying(_LEVELS, members), *_varying(_OPTIONS, trained))
    return {name: fields for name, fields in found.items() if fields}


def variant_label(
    condition: Condition, differing: Differences, *, trains_itself: bool = True
) -> str:
    """Returns the words that tell a condition from others of its name; empty: there is no need.

    Args:
        condition: One of the axis, or the pseudo-labelled chain that a control starts from.
        differing: Of its axis (`differences`).
        trains_itself: False: of its labels alone, before the first round.

    Example: `rule quantile, start continue`.
    """
    fields = differing.get(condition.name, ())
    options = condition.self_training if trains_itself else None
    parts = []
    for name in fields:
        if name in _OPTIONS:
            if options is not None:
                parts.append(_words(name, getattr(options, name)))
        elif options is not None or name == "levels":
            parts.append(_words(name, getattr(condition, name)))
    return ", ".join(parts)


def _varying(fields: Iterable[str], values: Iterable[FrozenModel]) -> list[str]:
    members = list(values)
    return [name for name in fields if len({getattr(member, name) for member in members}) > 1]


def _words(name: str, value: object) -> str:
    if value is None or value == ():
        text = "all"
    elif isinstance(value, tuple):
        text = "+".join(value)
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {text}"
