"""The command line: of one command, or of several."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App, CycloptsError, Group, Parameter

from raybench.records import InputError
from raybench.report.usage_errors import told_error

if TYPE_CHECKING:
    from rich.console import Console

_ALIKE: Final = Parameter(negative=(), show_default=False, allow_repeating=True, json_list=False, json_dict=False)
"""What all that a command can be told has alike."""
_COMMENT: Final = re.compile(r"--[^=]*\s")


def new_app(name: str, what: str, examples: Sequence[str], version: str | None = None) -> App:
    """A command line, ``what`` it is for, and ``examples``, with which its help ends as they are.

    Leaves errors to `run_app`, exit codes and Ctrl-C to `run_command`. Of an option that is given again the last word
    counts; none is a list in JSON, and none has a second one that takes it back. ``version``: what ``--version`` says.
    """
    return App(
        name=name,
        help=what,
        version=version,
        version_flags=[] if version is None else ["--version"],
        help_epilogue=examples_of(examples),
        help_format="plaintext",
        group_parameters=Group("Options", sort_key=0),
        default_parameter=_ALIKE,
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )


def examples_of(examples: Sequence[str]) -> str:
    """The end of a help."""
    return "\n  ".join(("For example:", *examples))


def run_app(app: App, argv: Sequence[str] | None) -> int:
    """The exit code of the command that is meant; 0 after a help. Raises InputError for what is no command line."""
    words = _comments_last(sys.argv[1:] if argv is None else argv)
    try:
        code: Any = app(words, console=_console(words))
    except CycloptsError as error:
        error.verbose = False
        raise InputError(told_error(error, str(app.name[0]))) from None
    return 0 if code is None else int(code)


def _comments_last(words: Sequence[str]) -> list[str]:
    """A word with blanks in its name is no option but a query that begins with a comment: it goes last, after --."""
    queries = [] if "--" in words else [word for word in words if _COMMENT.match(word)]
    return [word for word in words if word not in queries] + (["--", *queries] if queries else [])


def _console(words: Sequence[str]) -> Console | None:
    """Where help goes; None where none is asked for, for rich takes longer to import than most options to read."""
    if words and not {"-h", "--help", "--version"}.intersection(words):
        return None
    from raybench.report.screen import open_help_console

    return open_help_console()
