"""How a command begins and ends: what it can be told, one line for what went wrong, its exit code."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from raybench.plan import did_you_mean, nearest
from raybench.records import InputError, RaybenchError
from raybench.report.terminal import complain, flush_output, harmless

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""

_ALIKE: Final = Parameter(negative=(), show_default=False, allow_repeating=True, json_list=False, json_dict=False)
"""What all that a command can be told has alike."""
_COMMENT: Final = re.compile(r"--[^=]*\s")
_LONGEST: Final = 60
"""Characters of a word that is none, which are repeated."""


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
        default_parameter=Parameter(
            negative=(), show_default=False, allow_repeating=True, json_list=False, json_dict=False
        ),
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
        raise InputError(_told(error, str(app.name[0]))) from None
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


def _told(error: CycloptsError, program: str) -> str:
    command = " ".join((program, *(error.command_chain or ())))
    what = _what(error)
    return f"{what}{'' if what.endswith('?') else ';'} {command} --help says what it takes"


def _what(error: CycloptsError) -> str:
    """What is wrong, of what: in our words where cyclopts says it of no name, or names what is not meant."""
    told = str(error).strip().removesuffix(".")
    if isinstance(error, UnknownCommandError):
        known = [] if error.app is None else [name for name in error.app if not name.startswith("-")]
        word = (error.unused_tokens or [""])[0]
        meant = did_you_mean(word, known)
        return f"{_shown(word)} is no command{meant}{' There' if meant else '; there'} are {', '.join(known)}"
    if isinstance(error, UnknownOptionError):
        return _what_option(error)
    if isinstance(error, UnusedCliTokensError):
        return f"{', '.join(map(_shown, error.unused_tokens or ()))}: more than it takes"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        if error.argument.field_info.is_positional_only:
            return f"{name}: missing"
        return f"{name}: give a value; one that begins with a hyphen as {name}=VALUE"
    if isinstance(error, ValidationError) and error.group is not None:
        return f"{error.group.name}: give one of them"
    if isinstance(error, CoercionError) and error.msg is not None and error.argument is not None:
        return f"{error.argument.name}: {error.msg}"
    return told


def _what_option(error: UnknownOptionError) -> str:
    word = (error.token.keyword or error.token.value).partition("=")[0]
    known = {name.lstrip("-") for one in error.argument_collection if one.parse for name in one.names}
    if word.lstrip("-") in known:
        return f"{word} stands after --, where there are no options"
    near = nearest(word.lstrip("-"), known)
    return f"{_shown(word)} is no option here" + (f"; did you mean --{near}?" if near else "")


def _shown(word: str) -> str:
    return word if len(word) <= _LONGEST else f"{word[:_LONGEST]}..."


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
