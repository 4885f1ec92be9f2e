"""The advice in a few lines, for what tells more of a run than advice."""

from __future__ import annotations

import argparse
from typing import Any, Final, NamedTuple

from raybench.analysis import Tables
from raybench.records import InputError

_NEEDED: Final = ("tasks", "gpu_memory", "requests_per_second")
_MORE: Final = ("slo_p95", "ttft", "tpot", "switches", "gpu_price")


class Brief(NamedTuple):
    """The advice in a sentence, why and with which limits, what to type next, and all of it as JSON values."""

    sentence: str
    lines: tuple[str, ...]
    next_command: str
    numbers: dict[str, Any]


def stated_needs(options: argparse.Namespace) -> list[str]:
    """The needs that a command line states, by name: `options.add_needs`."""
    return [name for name in (*_NEEDED, *_MORE) if getattr(options, name) is not None]


def advise(tables: Tables, options: argparse.Namespace) -> Brief | None:
    """The advice on the needs that a command line states; None where it states none.

    Raises InputError where it states some of those that go together, or one that cannot be.
    """
    given = stated_needs(options)
    if not given:
        return None
    if absent := [name for name in _NEEDED if name not in given]:
        missing = ", ".join(f"--{name.replace('_', '-')}" for name in absent)
        raise InputError(f"{missing}: missing; advice needs all of --tasks, --gpu-memory and --requests-per-second")
    from raybench.decide.advice import advice_to_dict  # a page without advice need not wait for these
    from raybench.decide.command import decide, needs_of, served_needs_of
    from raybench.decide.served import decide_served, served_to_dict

    if tables.description.plan.servers:
        served = decide_served(tables, served_needs_of(options))
        lines = (*((served.beside,) if served.beside else ()), *served.cautions)
        return Brief(served.sentence, lines, served.next_command, served_to_dict(served))
    advice = decide(tables, needs_of(options))
    lines = (*advice.missing, *advice.because, *advice.cautions)
    return Brief(advice.sentence, lines, advice.next_command, advice_to_dict(advice))
