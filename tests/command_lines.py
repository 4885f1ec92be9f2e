"""What commands are told by a command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

from cyclopts import App

from raybench import cli
from raybench.sweep.command import app as sweep_app


def bound(words: Sequence[str], app: App = cli.app) -> tuple[str, dict[str, Any]]:
    """The function that is to run, and its arguments by name. Raises CycloptsError."""
    command, found, _ = app.parse_args(list(words), exit_on_error=False, print_error=False)
    found.apply_defaults()
    arguments = dict(found.arguments)
    if arguments.get("options", ...) is None:  # nothing is said, which is what the function makes of it
        arguments["options"] = get_args(get_type_hints(command)["options"])[0]()
    return command.__name__, arguments


def told(words: Sequence[str]) -> Any:
    """The options of the command that ``words`` begin with."""
    return bound(words)[1]["options"]


def told_sweep(words: Sequence[str]) -> Any:
    """The options of ``python -m raybench.sweep`` and these words."""
    return bound(words, sweep_app())[1]["options"]
