"""The advice in a few lines, for what tells more of a run than advice."""

from __future__ import annotations

from typing import Any, NamedTuple

from raybench.analysis import Tables
from raybench.decide.options import StatedNeeds, stated
from raybench.store import Location


class Brief(NamedTuple):
    """The advice in a sentence, why and with which limits, what to type next, and all of it as JSON values."""

    sentence: str
    lines: tuple[str, ...]
    next_command: str
    numbers: dict[str, Any]


def advise(tables: Tables, run: Location, options: StatedNeeds) -> Brief | None:
    """The advice on the needs that a command line states; None where it states none.

    Raises InputError where it states some of those that go together, or one that cannot be.
    """
    if not stated(options):
        return None
    from raybench.decide.advice import advice_to_dict  # a page without advice need not wait for these
    from raybench.decide.command import decide, needs_of, served_needs_of
    from raybench.decide.served import decide_served, served_to_dict

    if tables.description.plan.servers:
        served = decide_served(tables, served_needs_of(run, options))
        lines = (*((served.beside,) if served.beside else ()), *served.cautions)
        return Brief(served.sentence, lines, served.next_command, served_to_dict(served))
    advice = decide(tables, needs_of(run, options))
    lines = (*advice.missing, *advice.because, *advice.cautions)
    return Brief(advice.sentence, lines, advice.next_command, advice_to_dict(advice))
