"""Which run a command reads: the one that its command line names, or by the word ``latest`` the newest."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from raybench.records import InputError
from raybench.report.completion import completed, runs_of
from raybench.report.terminal import complain
from raybench.store import DEFAULT_RESULTS, Location, location_argument

_LATEST: Final = Path("latest")
"""What the word becomes, until it is known where the runs are; as a path it is equal to others, and not the same."""


def add_run_argument(
    parser: argparse.ArgumentParser,
    name: str = "directory",
    metavar: str = "RUN",
    what: str = "",
    may_lack: bool = False,
) -> None:
    """A run's place, to be looked for by `named_run`. ``what``: more of it to say, in its help.

    ``may_lack``: where it is not given, it is None.
    """
    help_text = "the run's folder or URI, or latest: the one that was begun last" + what
    argument = parser.add_argument(
        name, type=_run_argument, metavar=metavar, nargs="?" if may_lack else None, help=help_text
    )
    completed(argument, runs_of)


def add_results_argument(parser: argparse.ArgumentParser, what: str = "where latest is looked for") -> None:
    """Where runs are kept."""
    parser.add_argument(
        "--results",
        type=location_argument,
        default=DEFAULT_RESULTS,
        metavar="DIR|URI",
        help=f"{what} (default: {DEFAULT_RESULTS})",
    )


def named_run(named: Location | None, results: Location) -> Location | None:
    """``named``, also None; for ``latest`` the newest run of ``results`` that can be read, which standard error names.

    A folder here that is called that is meant before. Raises InputError where no run is to be found.
    """
    if named is not _LATEST or os.path.lexists(_LATEST):
        return named
    from raybench.store import newest_run  # with what reads a run, which the help of a command needs not

    found, notices = newest_run(results)
    if found is None:
        none = f"latest: no run in {results}; name a run's own folder or URI, or by --results where runs are"
        raise InputError("; ".join([none, *notices]))
    for notice in notices:
        complain(notice)
    complain(f"latest is {found.root}")
    return found.root


def _run_argument(text: str) -> Location:
    return _LATEST if text == str(_LATEST) else location_argument(text)
