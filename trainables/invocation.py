"""How this process was called, for messages that name a command to run."""

from __future__ import annotations

import sys
from pathlib import Path

SCARCE = "scarce"
"""The program that has every command."""


def command_line(command: str) -> str:
    """Returns a command as the user called this process: `scarce X`, else `python -m study.X`.

    Args:
        command: A command with its arguments, such as `status RUN`.
    """
    is_scarce = Path(sys.argv[0]).stem == SCARCE
    return f"{SCARCE} {command}" if is_scarce else f"python -m study.{command}"
