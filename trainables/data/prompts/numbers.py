r"""Numeric answers compared by value: `1,000`, `-5`, `$12.50`, `1 1/2`, `\frac{3}{4}`, `1.5e3`.

A text is first written plainly: compatibility characters by their usual ones (`½` is ` 1/2`, raised
digits are a power), LaTeX's marks by what they stand for.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_SIGN = r"(?:(?<![^\W\d_])[-+\u2212])?"  # U+2212 is the minus sign; behind a letter it is a hyphen
_GROUPED = r"\d{1,3}(?:,\d{3})+(?!,?\d)"
_SPACED = r"[1-9]\d{0,2}(?: \d{3})+(?!\d|\s*/\s*\d)"
_ILL_GROUPED = r"\d+(?:,\d+)+"
"""Groups that are none of three digits: a list or another country's decimals, so no value."""
_DIGITS = rf"(?:(?:{_GROUPED}|{_SPACED}|{_ILL_GROUPED}|\d+)(?:\.\d+)?|\.\d+)"
_EXPONENT = r"\^\s*\{?\s*([-+\u2212]?\d+)\}?"
_POWER_OF_TEN = rf"e([-+]?\d+)(?!\w)|\s*(?:[x*\u00d7]|\\times|\\cdot)\s*10\s*{_EXPONENT}"
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_VALUE = re.compile(
    rf"(?P<number>{_SIGN}\s?[$\u20ac\u00a3]?\s?{_SIGN}{_DIGITS})"
    rf"(?:{_POWER_OF_TEN}|\s*{_EXPONENT})?"
    r"(?:\s*/\s*(?P<denominator>\d+)|\s+(?P<over>\d+)\s*/\s*(?P<under>\d+))?"
    rf"(?P<scale>(?:[\s-]+(?:{'|'.join(_SCALES)})\b)*)",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*([^{}]+?)\s*\}\s*\{\s*([^{}]+?)\s*\}|(\d)(\d))")

_MAX_CHARS = 100
"""A longer string of digits is noise (and may be more than `int` reads)."""

_MAX_EXPONENT = 999
"""Of a power: a larger one is noise too, and would be slow to compute."""


def parse_number(text: str) -> Fraction | None:
    """Returns the value of a text that is one number; None if it is none.

    Currency and percent signs, thousands separators and a full stop at the end are no part of the
    value: `$1,000.00` is 1000 and `50%` is 50.
    """
    match = _VALUE.fullmatch(_plain(text).strip().rstrip(".").rstrip("%").strip())
    return None if match is None else _value(match)


def same_number(first: str, second: str) -> bool:
    """Returns whether two answers have the same value; text without a number equals no answer."""
    value = parse_number(first)
    return value is not None and value == parse_number(second)


def first_number(text: str) -> Fraction | None:
    """Returns the value of the first number in a text; None if it has none."""
    values = (_value(match) for match in _VALUE.finditer(_plain(text)))
    return next((value for value in values if value is not None), None)


def _plain(text: str) -> str:
    """Returns the text in plain characters, and LaTeX's fractions as `3/4`."""
    if not text.isascii():
        text = re.sub(r"[\u2070-\u2079\u00b2\u00b3\u00b9\u207a\u207b]+", _as_power, text)
        text = "".join(map(_plain_character, text)).replace("\u2044", "/")
    if "\\" in text or "{" in text:
        text = text.replace("{,}", ",").replace("\\,", " ").replace("\\$", "$").replace("\\%", "%")
        text = _FRACTION.sub(lambda match: f" {match[1] or match[3]}/{match[2] or match[4]}", text)
    return text


def _as_power(raised: re.Match[str]) -> str:
    return f"^{unicodedata.normalize('NFKC', raised[0])}"


def _plain_character(character: str) -> str:
    """Returns what a character stands for; lowered digits stay, they are no number's."""
    kind = unicodedata.decomposition(character).partition(" ")[0]
    if kind == "<sub>":
        return character
    usual = unicodedata.normalize("NFKC", character)
    return f" {usual}" if kind == "<fraction>" else usual


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > _MAX_CHARS:
        return None
    number = re.sub(r"[^\d.,]", "", match["number"])
    if "," in number and not re.fullmatch(rf"{_GROUPED}(?:\.\d+)?", number):
        return None
    value = Fraction(number.replace(",", ""))
    exponents = match.group(2, 3, 4)
    if any(abs(_whole(one)) > _MAX_EXPONENT for one in exponents if one):
        return None
    try:
        value = _raised(value, *exponents) / int(match["denominator"] or 1)
        value += Fraction(int(match["over"] or 0), int(match["under"] or 1))
    except ZeroDivisionError:
        return None
    for word in re.findall("[a-z]+", match["scale"].casefold()):
        value *= 10 ** _SCALES[word]
    return -value if re.search("[-\u2212]", match["number"]) else value


def _raised(value: Fraction, e: str | None, ten: str | None, power: str | None) -> Fraction:
    """Returns a value times a power of ten (`1.5e3`, `1.5 x 10^3`), or itself raised (`2^10`)."""
    exponent = _whole(e or ten or power or "1")
    if power is not None:
        return Fraction(value**exponent)
    return value if e is None and ten is None else value * Fraction(10) ** exponent


def _whole(text: str) -> int:
    return int(text.replace("\u2212", "-"))
