"""Dollars as a flag of a command takes them."""

from __future__ import annotations

import argparse
import math


def dollars(text: str) -> float:
    """Returns a sum of money, $.

    Raises:
        argparse.ArgumentTypeError: If it is no finite number of 0 or more: `nan` would pass every
            comparison, and so any price.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"dollars are a number, 0 or more, got {text!r}")
    return value
