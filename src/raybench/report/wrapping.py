"""Sentences on a terminal are broken at blanks; what is not for a terminal keeps a line a sentence, to be searched."""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import Final, TextIO

_COMMAND: Final = re.compile(r"^ *(raybench|ray|duckdb|cd|SET) |\braybench [a-z]+ (?=[^a-z ]|[^ ]*[/='\"-])")
"""A command line in a line, other than a command's name in a sentence."""

JOINT: Final = "\ue000"
"""Stands for a blank at which nothing is broken. It is printable nowhere, so harmless text has none of its own; the
no-break space will not do, as rich breaks lines there."""
_NUMBER: Final = r"\d[\d,.]{0,15}"
_PERCENT: Final = rf"[+-]?{_NUMBER} %"
_END: Final = rf"(?:{_PERCENT}|\+inf|-)"
_PARTS: Final = re.compile(rf"\[{_END}, {_END}\]|{_PERCENT}|{_NUMBER} (?:[kKMG]i?B|[mun]?s|min|h|MHz)\b")


def joined(text: str, joint: str = JOINT) -> str:
    """``text``, which is harmless, with ``joint`` for each blank in an interval, or between a number and its unit."""
    return _PARTS.sub(lambda part: part[0].replace(" ", joint), text)


def with_blanks(text: str) -> str:
    """Text of `joined` lines as it was before."""
    return text.replace(JOINT, " ")


def wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of ``width`` at most, but for longer words; a line with a command to copy stays whole."""
    if len(text) <= width or _COMMAND.search(text):
        return [text]
    indent = text[: len(text) - len(text.lstrip(" "))]
    lines = textwrap.wrap(
        joined(text.strip(" ")),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return list(map(with_blanks, lines))


def lines_for(text: str, stream: TextIO) -> list[str]:
    """``text`` as it is written to ``stream``: wrapped on a terminal, whose width is ``COLUMNS`` where that is set."""
    return wrapped(text, shutil.get_terminal_size().columns) if stream.isatty() else [text]
