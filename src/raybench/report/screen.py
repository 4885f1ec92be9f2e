"""Tables, and lines beside them, on the screen: rich's, for text that is foreign."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from raybench.report.terminal import Output, harmless

_LOG_WIDTH = 180


class Screen(Console):
    """What people read, `harmless`: without markup, highlighting or codes for emoji in any string."""

    def __init__(self, file: TextIO, **options: Any) -> None:
        """``options``: those of rich's Console."""
        super().__init__(file=file, **options, markup=False, highlight=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """What becomes of each string: a line, a cell, a title."""
        return super().render_str(harmless(text), **{**options, "markup": False, "highlight": False, "emoji": False})


def open_console() -> Screen:
    """Standard output, as wide as the terminal is, or wide enough for every table in a log."""
    output: Any = Output(sys.stdout)
    return Screen(output, width=None if sys.stdout.isatty() else _LOG_WIDTH)


def print_line(console: Screen, text: str) -> None:
    """One line, not wrapped, so that a command in it can be copied."""
    console.print(text, soft_wrap=True)
