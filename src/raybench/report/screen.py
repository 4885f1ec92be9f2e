"""Tables, and lines beside them, on the screen: rich's, for text that is foreign."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Final, TextIO, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raybench.report.fitted import fit_columns, listed
from raybench.report.terminal import Output, harmless
from raybench.report.wrapping import joined, with_blanks, wrapped

_LOG_WIDTH: Final = 180
_BLANKS: Final = re.compile(r" +((?:\x1b\[[0-9;]*m)*\n)")


class Screen(Console):
    """What people read, `harmless`: without markup, highlighting or codes for emoji in any string.

    No line ends by blanks, as those of tables do.
    """

    def __init__(self, file: TextIO, **options: Any) -> None:
        """``options``: those of rich's Console."""
        tidy: Any = _Tidy(file)
        super().__init__(file=tidy, **options, markup=False, highlight=False, emoji=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, but that a table that is too narrow for its words is a list of its rows."""
        if len(objects) == 1 and isinstance(objects[0], Table) and objects[0].columns:
            table = objects[0]
            objects = (table if fit_columns(table, self.width) else listed(table),)
        super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """What becomes of each string: a line, a cell, a title."""
        shown = joined(harmless(text))
        return super().render_str(shown, **{**options, "markup": False, "highlight": False, "emoji": False})


class _Tidy:
    """A file whose lines are written without the blanks at their ends; rich writes whole lines.

    What was `joined` so as not to be broken has its blanks again.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(_BLANKS.sub(r"\1", with_blanks(text)))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def open_console() -> Screen:
    """Standard output, as wide as ``COLUMNS`` says or the terminal is, or wide enough for every table in a log.

    Colours are for terminals that have them, where ``NO_COLOR`` does not say otherwise (no-color.org).
    """
    output: Any = Output(sys.stdout)
    terminal = sys.stdout.isatty()
    stated = os.environ.get("COLUMNS", "")
    width = None if terminal else _LOG_WIDTH
    if stated.isdecimal() and int(stated) > 0:
        width = int(stated)
    return Screen(
        output,
        width=width,
        force_terminal=terminal,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        _environ={name: value for name, value in os.environ.items() if name != "COLUMNS"},
    )


def open_help_console() -> Console:
    """Standard output, for the help of a command, which is our own text."""
    tidy: Any = _Tidy(cast(TextIO, Output(sys.stdout)))
    return Console(file=tidy, force_terminal=sys.stdout.isatty())


def print_line(console: Screen, text: str) -> None:
    """One line; on a terminal broken at blanks where it is longer, but for one with a command to copy."""
    for line in wrapped(harmless(text), console.width) if console.is_terminal else [text]:
        console.print(line, soft_wrap=True)
