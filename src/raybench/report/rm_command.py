"""``raybench rm RUN``: a run is removed, after asking."""

from __future__ import annotations

import sys

from raybench.records import InputError, RaybenchError, count
from raybench.report.options import RmOptions
from raybench.report.terminal import harmless, say, shown_place, write_text
from raybench.store import Location, Removal, read_description


def run_rm(path: Location, options: RmOptions) -> int:
    """``raybench rm``: 0 where it is removed, 1 where the answer is no.

    Raises InputError where there is no run, a driver has it, or nobody can be asked; StoreError.
    """
    if not options.yes and not (sys.stdin is not None and sys.stdin.isatty()):
        raise InputError("--yes: missing; there is no terminal to ask on whether to remove the run")
    with Removal(path) as removal:
        shown = shown_place(removal.root)
        what = f"{shown}: {_described(path)}, {count(len(removal.files) + 1, 'file')}"
        if not options.yes and not _agrees(what):
            say("Nothing is removed.")
            return 1
        left = removal.remove()
    say(f"Removed {what}")
    if left:
        say(f"Left there, for it is not the run's: {', '.join(left)}")
    return 0


def _described(path: Location) -> str:
    """What the run is, as far as that can be read: what is damaged can be removed, too."""
    try:
        description = read_description(path)
    except RaybenchError:
        return "a run whose description cannot be read"
    return f"{description.plan.name} of {description.model.name}, begun {description.created_at:%Y-%m-%d %H:%M}"


def _agrees(what: str) -> bool:
    write_text(f"Remove {harmless(what)}? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
