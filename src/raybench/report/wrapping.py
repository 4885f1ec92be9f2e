"""Sentences on a terminal are broken at blanks; what is not for a terminal keeps a line a sentence, to be searched."""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import Final, TextIO

_COMMAND: Final = re.compile(r"^ *(raybench|ray|duckdb|cd|SET) |\braybench [a-z]+ (?=[^a-z ]|[^ ]*[/='\"-])")
"""A command line in a line, other than a command's name in a sentence."""


def wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of ``width`` at most, but for longer words; a line with a command to copy stays whole."""
    if len(text) <= width or _COMMAND.search(text):
        return [text]
    indent = text[: len(text) - len(text.lstrip(" "))]
    return textwrap.wrap(
        text.strip(" "),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def lines_for(text: str, stream: TextIO) -> list[str]:
    """``text`` as it is written to ``stream``: wrapped on a terminal, whose width is ``COLUMNS`` where that is set."""
    return wrapped(text, shutil.get_terminal_size().columns) if stream.isatty() else [text]
