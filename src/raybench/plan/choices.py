"""Names in the words of an error: what one could have been, and the first of many."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def one_of(choices: Iterable[str]) -> str:
    """``one of a, b, c``: at most twelve of them, in order."""
    shown = sorted(choices)
    if not shown:
        return "one that the plan defines (it defines none)"
    return "one of " + ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")


def nearest(value: str, choices: Iterable[str]) -> str | None:
    """The choice that ``value`` looks most like; None where it looks like none."""
    near = difflib.get_close_matches(value, list(choices), n=1, cutoff=0.5)
    return near[0] if near else None


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """The choice that ``value`` looks most like, as the end of a sentence; nothing where it looks like none."""
    near = nearest(value, choices)
    return f"; did you mean {near!r}?" if near else ""


def first_of(names: Sequence[str], shown: int) -> str:
    """``a, b and 3 more``: the first ``shown`` names, the others counted."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
