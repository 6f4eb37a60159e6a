"""The line that tells how far a long command is."""

from __future__ import annotations

import shutil
from typing import TextIO

LINE_INTERVAL_S = 10.0
"""At least between two lines when the output is not a terminal."""


class StatusLine:
    """Texts that overwrite each other on a terminal; elsewhere each is a new line.

    Args:
        stream: Where they are written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0

    @property
    def is_terminal(self) -> bool:
        """Whether texts can be overwritten."""
        return self._stream.isatty()

    def write(self, text: str, *, overwrite: bool = False) -> None:
        """Writes a text in place of the last one that may be overwritten.

        Args:
            text: One line.
            overwrite: Whether the next text replaces it on a terminal.
        """
        if self.is_terminal:
            if overwrite:  # a line that wraps would stay
                text = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + text.ljust(self._width) + ("" if overwrite else "\n"))
            self._width = len(text) if overwrite else 0
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
