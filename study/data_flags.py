"""The flags of every command that loads a task's data."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--data-root` and `--skip-bad-rows` to a command."""
    parser.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="local copies of data sets, a folder a task (default: the Hugging Face Hub)",
    )
    parser.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="leave out rows that cannot be used, and print how many and why",
    )
