"""Where text for people goes: as wide as the terminal is, or wide enough for every table in a log."""

from __future__ import annotations

import sys

from rich.console import Console

_LOG_WIDTH = 160


def open_console() -> Console:
    """Standard output."""
    return Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)


def print_line(console: Console, text: str) -> None:
    """One line as it is: not wrapped, coloured or read as markup, so that a command in it can be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
