"""SGR (or PGR) of a published table: one accuracy a seed of each arm, and nothing else."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from study.statistics.means import RatioOfMeans, ratio_of_means
from study.statistics.sgr import SgrEstimate, estimate_sgr_from_means
from trainables.errors import BadInputError

FLOORS, CEILINGS = ("zero_shot", "weak"), ("hard", "ceiling")
"""Names of the arms that count as 0 and as 1."""

COLUMNS = ("arm", "seed", "accuracy")


@dataclass(frozen=True, kw_only=True, slots=True)
class MeansTable:
    """A table of accuracies."""

    arms: Mapping[str, Sequence[float]]
    """Arm -> accuracy of each seed, in [0, 1]."""
    floor: str
    ceiling: str
    num_items: int | None
    """Test items behind each accuracy, if the table states them."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The arms between floor and ceiling, in the order of the table."""
        return tuple(name for name in self.arms if name not in (self.floor, self.ceiling))


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceDifference:
    """Difference of two sources' shares of one gap, which is a ratio itself."""

    first: str
    second: str
    ratio: RatioOfMeans
    """(first - second) / (ceiling - floor)."""


def read_means_table(path: Path) -> MeansTable:
    """Reads a CSV file with the columns arm, seed and accuracy, and perhaps num_items.

    Raises:
        BadInputError: If the file cannot be read, lacks a column or an arm, or a value is not one.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path} cannot be read as CSV: {error}") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise BadInputError(
            f"{path} must have the columns {', '.join(COLUMNS)} (num_items is optional) and a row "
            f"for each seed of each arm, got {', '.join(rows[0]) if rows else 'no row'}"
        )
    by_arm: dict[str, dict[str, float]] = {}
    for line, row in enumerate(rows, start=2):
        seeds = by_arm.setdefault(row["arm"], {})
        if row["seed"] in seeds:
            raise BadInputError(f"{path}, line {line}: {row['arm']} has seed {row['seed']} twice")
        seeds[row["seed"]] = _accuracy(row["accuracy"], f"{path}, line {line}")
    sizes = {row.get("num_items") or "" for row in rows}
    if len(sizes) > 1:
        raise BadInputError(f"{path}: num_items must be one number, got {', '.join(sorted(sizes))}")
    num_items = _num_items(sizes.pop(), path)
    table = MeansTable(
        arms={name: tuple(seeds.values()) for name, seeds in by_arm.items()},
        floor=_only(FLOORS, by_arm, path),
        ceiling=_only(CEILINGS, by_arm, path),
        num_items=num_items,
    )
    if not table.sources:
        raise BadInputError(f"{path} needs an arm besides {table.floor} and {table.ceiling}")
    return table


def estimate_sources(table: MeansTable, *, level: float = 0.95) -> Mapping[str, SgrEstimate]:
    """Returns the share of the gap that each source recovers."""
    return {
        name: estimate_sgr_from_means(
            table.arms[table.floor],
            table.arms[name],
            table.arms[table.ceiling],
            num_items=table.num_items,
            level=level,
        )
        for name in table.sources
    }


def compare_sources(table: MeansTable, *, level: float = 0.95) -> tuple[SourceDifference, ...]:
    """Returns the difference of each pair of sources; floor and ceiling are counted once."""
    return tuple(
        SourceDifference(
            first=first,
            second=second,
            ratio=ratio_of_means(
                table.arms,
                numerator={first: 1.0, second: -1.0},
                denominator={table.ceiling: 1.0, table.floor: -1.0},
                num_items=table.num_items,
                level=level,
            ),
        )
        for first, second in combinations(table.sources, 2)
    )


def _accuracy(text: str, where: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise BadInputError(f"{where}: accuracy must be a number in [0, 1], got {text!r}")
    return value


def _num_items(text: str, path: Path) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text) < 2:
        raise BadInputError(f"{path}: num_items must be a whole number of at least 2, got {text!r}")
    return int(text)


def _only(names: Sequence[str], arms: Mapping[str, object], path: Path) -> str:
    """Returns the one of the names that the table has."""
    found = [name for name in names if name in arms]
    if len(found) != 1:
        raise BadInputError(
            f"{path} must have one arm named {' or '.join(names)}, got arms {', '.join(arms)}"
        )
    return found[0]
