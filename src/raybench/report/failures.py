"""Why something failed, as people read it. What is stored says more: where in the code, a server's whole log."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from raybench.records import count
from raybench.report.terminal import run_argument, shell_command
from raybench.store import Location, redact_uris

BRIEF: Final = 200
"""Characters. Exceptions take less, as a rule; the end of a server's log takes more."""
TOLD: Final = 120
"""Of a failure that was told whole not long before: a path, and what is wrong with it."""
_NAMED: Final = 3
"""Of several configurations that one thing ended, as many are named."""

_PLACE: Final = re.compile(r" \([^()\s]+\.py:\d+\)$")
"""What a visit puts behind the message of an exception: where it was raised."""
_OURS: Final = re.compile(r"\b(?:Raybench|Input|NoSuchFile|SeveralProblems|Store|AlreadyThere|Gate|Server)Error: ")
"""Exceptions of raybench's own: their message says all of it."""


def told_failure(message: str) -> str:
    """All of a failure's message but for where in the code it was raised, and by which exception of raybench's own."""
    return _OURS.sub("", _PLACE.sub("", message.rstrip()), count=1)


def brief_failure(message: str, most: int = BRIEF) -> str:
    """Up to ``most`` characters of it in one line, cut between words; without secrets of URIs."""
    first = redact_uris(" ".join(told_failure(message).split("\n")).strip())
    if len(first) <= most:
        return first
    cut = first[: most - 4]
    return f"{cut.rpartition(' ')[0] or cut} ..."


def all_of_it(run: Location) -> str:
    """The command that shows failures whole."""
    return f"All of it: {shell_command(['raybench', 'sql', run_argument(run), 'FROM failures'])}"


def failed_headline(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """What a run in which something failed says first; None where nothing did. ``rows``: of ``completeness``."""
    failed = sum(has_failed(row) for row in rows)
    if not failed:
        return None
    return f"{failed:,} of {count(len(rows), 'configuration')} failed; why is said below."


def has_failed(row: Mapping[str, Any]) -> bool:
    """Whether a failure ended a configuration: what was tried again and came through has not failed."""
    return not row["complete"] and row["failure"] is not None


def incomplete_lines(rows: Sequence[Mapping[str, Any]], most: int = BRIEF) -> list[str]:
    """Of configurations that are not complete how far they are and why, those that are alike in one line.

    ``most``: characters of why.
    """
    alike: dict[tuple[int, int, str], list[str]] = {}
    for row in rows:
        why = brief_failure(row["failure"]) if row["failure"] else "not measured yet"
        alike.setdefault((row["rounds_done"], row["rounds_planned"], why), []).append(row["configuration"])
    return [
        f"{_names(names)}: {done} of {count(planned, 'round')}; {brief_failure(why, most)}"
        for (done, planned, why), names in alike.items()
    ]


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
