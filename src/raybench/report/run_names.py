"""Which run a command means: its place, its name where runs are kept, or by the word ``latest`` the newest there."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from raybench.records import InputError
from raybench.report.completion import completed, names_and_latest, names_of_runs
from raybench.report.terminal import complain
from raybench.store import DEFAULT_RESULTS, Location, is_run_id, location_argument

_LATEST: Final = "latest"

RunArgument = Location | str
"""A place, or the name of a run where runs are kept; the word ``latest`` is one."""


def add_run_argument(
    parser: argparse.ArgumentParser,
    name: str = "directory",
    metavar: str = "RUN",
    what: str = "",
    may_lack: bool = False,
    takes_latest: bool = True,
) -> None:
    """A run, to be looked for by `named_run`. ``what``: more of it to say, in its help.

    ``may_lack``: where it is not given, it is None. ``takes_latest``: whether the word is taken, too.
    """
    or_latest = ", or latest: the one there that was begun last" if takes_latest else ""
    argument = parser.add_argument(
        name,
        type=_run_argument if takes_latest else _run_but_latest,
        metavar=metavar,
        nargs="?" if may_lack else None,
        help=f"the run's folder or URI, its name under --results{or_latest}{what}",
    )
    completed(argument, names_and_latest if takes_latest else names_of_runs)


def add_results_argument(parser: argparse.ArgumentParser, what: str = "where the RUN that is named is kept") -> None:
    """Where runs are kept."""
    parser.add_argument(
        "--results",
        type=location_argument,
        default=DEFAULT_RESULTS,
        metavar="DIR|URI",
        help=f"{what} (default: {DEFAULT_RESULTS})",
    )


def named_run(named: RunArgument | None, results: Location) -> Location | None:
    """The place of the run ``named``; None for None. What ``latest`` is, standard error says.

    A name is that of a run in ``results``, where there is none of something here; ``latest`` is always the word.
    Raises InputError where no run is to be found, or one there and another here, and StoreError.
    """
    if not isinstance(named, str):
        return named
    return _newest(results) if named == _LATEST else _of_name(named, results)


def _of_name(name: str, results: Location) -> Location:
    from raybench.store import is_run  # with what reads a run, which the help of a command needs not

    there, here = results / name, Path(name)
    if not is_run(there):
        if os.path.lexists(here):
            return here
        raise InputError(f"{name}: no run here, nor one of that name in {results}; raybench runs says which there are")
    if is_run(here) and not (isinstance(there, Path) and there.samefile(here)):
        raise InputError(f"{name}: a run here and another in {results}; say which: ./{name} or {there}")
    return there


def _newest(results: Location) -> Location:
    from raybench.store import newest_run

    found, notices = newest_run(results)
    if found is None:
        none = f"latest: no run in {results}; name a run's own folder or URI, or by --results where runs are"
        raise InputError("; ".join([none, *notices]))
    for notice in notices:
        complain(notice)
    complain(f"latest is {found.root}")
    return found.root


def _run_argument(text: str) -> RunArgument:
    return text if is_run_id(text) else location_argument(text)


def _run_but_latest(text: str) -> RunArgument:
    if text == _LATEST:
        raise argparse.ArgumentTypeError(
            "latest is not taken, so that none is meant by mistake; raybench runs has them"
        )
    return _run_argument(text)
