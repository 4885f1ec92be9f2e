"""How a command begins and ends: what it can be told, one line for what went wrong, its exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App, CycloptsError, Parameter

from raybench.records import InputError, RaybenchError
from raybench.report.terminal import complain, flush_output, harmless

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""


def new_app(name: str, what: str, examples: Sequence[str], version: str | None = None) -> App:
    """A command line, ``what`` it is for, and ``examples``, with which its help ends as they are.

    Leaves errors to `parsed`, exit codes and Ctrl-C to `run_command`. Nothing is made up
    beside an option, as a second that takes it back. ``version``: what ``--version`` says.
    """
    return App(
        name=name,
        help=what,
        version=version,
        version_flags=[] if version is None else ["--version"],
        help_epilogue=examples_of(examples),
        help_format="plaintext",
        group_parameters="Options",
        default_parameter=Parameter(negative=(), show_default=False),
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
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code: Any = app(words, console=_console(words))
    except CycloptsError as error:
        error.verbose = False
        raise InputError(_told(error, str(app.name[0]))) from None
    return 0 if code is None else int(code)


def _console(words: Sequence[str]) -> Console | None:
    """Where help goes; None where none is asked for, for rich takes longer to import than most options to read."""
    if words and not {"-h", "--help", "--version"}.intersection(words):
        return None
    from raybench.report.screen import open_help_console

    return open_help_console()


def _told(error: CycloptsError, program: str) -> str:
    command = " ".join((program, *(error.command_chain or ())))
    what = str(error).strip()
    return f"{what}{'' if what.endswith(('.', '?')) else ';'} {command} --help says what it takes"


def run_command(command: Callable[[], int]) -> int:
    """The exit code: the command's own, 1 where something failed, 2 for bad input, 130 after Ctrl-C.

    What went wrong is one line on standard error.
    """
    if sys.stdout is None:  # the next file that is opened would get its number, and what libraries print
        complain("standard output is closed; send it somewhere, such as > FILE")
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what its encoding lacks is shown by number
    try:
        try:
            return command()
        finally:
            flush_output()
    except RaybenchError as error:
        for line in error.lines:
            complain(line)
        return error.exit_code
    except BrokenPipeError:  # the reader has gone, at the prompt
        return 0
    except OSError as error:
        parts = [part for part in (error.filename, error.strerror or error) if part is not None]
        complain(": ".join(harmless(str(part)) for part in parts))
        return 1
    except (KeyboardInterrupt, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "Query interrupted" not in str(error):  # DuckDB's word for Ctrl-C
            raise
        complain("interrupted")
        return INTERRUPTED
