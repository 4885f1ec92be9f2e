"""What a shell completes of a command line, by argcomplete: commands, options, runs, plans.

A shell asks the command itself, each time Tab is pressed, with the line in its environment; in any other case none of
this is imported.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from raybench.report.command import Parser
from raybench.report.terminal import write_text
from raybench.store import DEFAULT_RESULTS

SHELLS: Final = ("bash", "zsh", "fish")

_PLACE: Final = re.compile("DIR|FILE|PATH|URI")
_ASKED: Final = "_ARGCOMPLETE"
"""Of the environment in which a shell asks."""

Words = Callable[[argparse.Namespace], Iterable[str]]
"""What an argument may be, by what of the command line is there already."""


def is_completing() -> bool:
    """Whether a shell asks what a command line goes on with."""
    return _ASKED in os.environ


def completed_command() -> str:
    """The first word after the program's name in the line that is completed; empty where there is none."""
    words = os.environ.get("COMP_LINE", "").split()
    return words[1] if len(words) > 1 else ""


def complete(parser: Parser) -> None:
    """Tell the shell, and end the process."""
    import argcomplete

    by_default: Any = _places
    argcomplete.autocomplete(parser, always_complete_options="long", default_completer=by_default)


def completed(action: argparse.Action, words: Words, kinds: tuple[str, ...] | None = ()) -> None:
    """Let ``action`` be completed by ``words``, and by folders and files.

    ``kinds``: only files that end so; None: no files.
    """

    def found(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        from argcomplete.completers import FilesCompleter

        known = list(words(parsed_args))
        files = () if kinds is None else (str(name) for name in FilesCompleter(kinds)(prefix))
        # What a terminal acts on completes nothing: names of folders are foreign.
        return [word for word in (*known, *(f for f in files if f.rstrip("/") not in known)) if word.isprintable()]

    vars(action)["completer"] = found  # which is how argcomplete is told


def _places(prefix: str, action: argparse.Action, **_: Any) -> list[str]:
    """Files and folders, for what is a place by its metavar; for a number, a rate or a name nothing."""
    from argcomplete.completers import FilesCompleter

    if not _PLACE.search(str(action.metavar)):
        return []
    return [word for word in map(str, FilesCompleter()(prefix)) if word.isprintable()]


def names_and_latest(options: argparse.Namespace) -> list[str]:
    """``latest`` and the names of the runs in ``--results``, where that is a folder."""
    return ["latest", *names_of_runs(options)]


def names_of_runs(options: argparse.Namespace) -> list[str]:
    """The names of the runs in ``--results``, where that is a folder."""
    results = getattr(options, "results", None) or DEFAULT_RESULTS
    return sorted(path.parent.name for path in results.glob("*/run.json")) if isinstance(results, Path) else []


def add_completion_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``raybench completion``."""
    parser.add_argument("shell", choices=SHELLS)


def run_completion(options: argparse.Namespace) -> int:
    """``raybench completion``: 0."""
    from argcomplete.shell_integration import shellcode

    write_text(shellcode(["raybench"], use_defaults=False, shell=options.shell).strip() + "\n")
    return 0
