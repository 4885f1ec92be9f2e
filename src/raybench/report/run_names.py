"""Which run a command means: its place, its name where runs are kept, or by the word ``latest`` the newest there."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from raybench.records import InputError
from raybench.report.arguments import FLAT, parsed_by
from raybench.report.completion import completed, completed_run, completed_run_but_latest
from raybench.report.terminal import complain
from raybench.store import DEFAULT_RESULTS, Location, is_run_id, parse_location

_LATEST: Final = "latest"

RunArgument = Location | str
"""A place, or the name of a run where runs are kept, to be looked for by `named_run`; the word ``latest`` is one."""


def _run_argument(text: str) -> RunArgument:
    return text if is_run_id(text) else parse_location(text)


def _run_but_latest(text: str) -> RunArgument:
    if text == _LATEST:
        raise InputError("latest is not taken, so that none is meant by mistake; raybench runs has them")
    return _run_argument(text)


_OR_LATEST: Final = ", or latest: the one there that was begun last"
_WHOLE: Final[dict[str, Any]] = {"accepts_keys": False, "n_tokens": 1}
"""Of a place: one word, though a place has parts."""


def _run_parameter(name: str, more: str = "", takes_latest: bool = True) -> Parameter:
    """Of a run; ``takes_latest``: whether the word is taken, too."""
    return Parameter(
        name=name,
        help=f"the run's folder or URI, its name under --results{_OR_LATEST if takes_latest else ''}{more}",
        converter=parsed_by(_run_argument if takes_latest else _run_but_latest),
        completer=completed_run if takes_latest else completed_run_but_latest,
        **_WHOLE,
    )


Run = Annotated[RunArgument, _run_parameter("RUN")]
RunBefore = Annotated[RunArgument, _run_parameter("RUN_A", "; what was")]
RunAfter = Annotated[RunArgument, _run_parameter("RUN_B", "; what is compared with it")]
OtherRun = Annotated[RunArgument | None, _run_parameter("RUN_B", "; the page is of that run compared with the first")]
RunToRemove = Annotated[RunArgument, _run_parameter("RUN", takes_latest=False)]

PLACE: Final = Parameter(
    metavar="DIR|URI", converter=parsed_by(parse_location), completer=completed(tuple, files="/"), **_WHOLE
)
"""Of an option that says where runs are kept."""


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every command that reads a run can be told."""

    results: Annotated[Location, PLACE] = DEFAULT_RESULTS
    """where the RUN that is named is kept (default: data/runs)"""


def named_run(named: RunArgument, results: Location) -> Location:
    """The place of the run ``named``. What ``latest`` is, standard error says.

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
