"""How numbers, times and tables print."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

ESCAPES = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}
"""How control characters print: a terminal would obey those that come with the data."""


def without_controls(text: str) -> str:
    """Returns a text with its control characters escaped."""
    return text.translate(ESCAPES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table; as a string its columns are aligned and its lines as long as they need to be."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Collection[str] = ()
    """Names of the columns that are aligned right."""

    def __str__(self) -> str:
        right = [name in self.numbers for name in self.header]
        rows = [[without_controls(cell) for cell in row] for row in (self.header, *self.rows)]
        return "\n".join(aligned(rows, right=right))


def text_of(parts: Iterable[str | Table]) -> str:
    """Returns texts and tables as plain text."""
    return "\n".join(map(str, parts))


def aligned(
    rows: Iterable[Sequence[str]], *, indent: int = 0, right: Sequence[bool] | None = None
) -> list[str]:
    """Returns the rows as lines whose columns begin (right: end) at the same places."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = right or [False] * len(widths)
    return [
        " " * indent
        + "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, sides, strict=True)
        ).rstrip()
        for row in table
    ]


def clock(seconds: float) -> str:
    """Returns minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


DASH = "-"
"""Stands for what there is not."""


def points_span(low: float | None, high: float | None) -> str:
    """Returns an interval of differences in points, `[+0.3, +4.1]`."""
    return (
        ""
        if low is None or high is None
        else f"[{percent(low, sign=True)}, {percent(high, sign=True)}]"
    )


def percent(value: float | None, *, sign: bool = False) -> str:
    """Returns a fraction in percent with one decimal."""
    if value is None:
        return DASH
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"


def p_text(p_value: float | None) -> str:
    """Returns a p-value with three decimals."""
    if p_value is None:
        return DASH
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def number(value: float | None) -> str:
    """Returns a share with two decimals."""
    return DASH if value is None else f"{value:.2f}"


def span(low: float | None, high: float | None) -> str:
    """Returns an interval of shares, `[0.31, 0.82]`."""
    return "" if low is None or high is None else f"[{low:.2f}, {high:.2f}]"


def band(low: float, high: float) -> str:
    """Returns a range of values: `3 to 5`, or `8` if both ends are equal."""
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def duration(seconds: float | None) -> str:
    """Returns a time in the unit that fits it."""
    if seconds is None:
        return DASH
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    if seconds < 2 * 3600.0:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


GIB = 2**30


def gib(number: float) -> str:
    """Returns a number of bytes: `1.5 GiB`."""
    return f"{number / GIB:,.1f} GiB"


def params(count: int | None) -> str:
    """Returns a model size: `0.86 M`."""
    if count is None:
        return "unknown size"
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
