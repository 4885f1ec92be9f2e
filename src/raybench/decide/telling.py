"""Which strategies a run tells apart, and by how much: by mean wall time on the same requests, no switch in it.

Section 6 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from raybench.analysis import Tables
from raybench.decide.advice import Comparison
from raybench.decide.capacity import STRATEGIES

Pair = tuple[str, str]

PAIRS: Final[tuple[Pair, ...]] = tuple((one, other) for i, one in enumerate(STRATEGIES) for other in STRATEGIES[:i])
"""Every two strategies once."""


def comparisons_of(tables: Tables, rows: Mapping[str, Mapping[str, Any]]) -> dict[Pair, Comparison]:
    """Pairs of strategies: directly where the run compared them, else through a third.

    ``rows``: the deployment that stands for each strategy. A pair that is not there was compared neither way.
    """
    strategies = {row["deployment"]: name for name, row in rows.items()}
    found: dict[Pair, Comparison] = {}
    for row in tables.rows(
        "SELECT * FROM by_strategy WHERE clock = 'wall' AND measure = 'end_to_end' AND verdict IS NOT NULL"
    ):
        one, other = strategies.get(row["deployment"], ""), row["reference_strategy"]
        if one and other in STRATEGIES:
            new, pair = told_by(row, one, other), _pair(one, other)
            found[pair] = _both_ways(found[pair], new) if pair in found else new
    direct = dict(found)
    for one, other in PAIRS:
        if (one, other) not in direct:
            possible = [
                through(direct[_pair(one, third)].seen_from(one), direct[_pair(other, third)].seen_from(other))
                for third in STRATEGIES
                if _pair(one, third) in direct and _pair(other, third) in direct
            ]
            if possible:
                found[one, other] = surest(possible)
    margin = 1 + tables.margin
    return {pair: within_margin(c, margin) if c.through else c for pair, c in found.items()}


def slack(compared: Mapping[Pair, Comparison], strategy: str, other: str) -> float:
    """How many times faster than measured ``strategy`` may be, beside ``other``: what the interval of the two allows.

    inf where the run says nothing of the two, or of how far visits differ.
    """
    if strategy == other:
        return 1.0
    pair = _pair(strategy, other)
    if pair not in compared:
        return math.inf
    seen = compared[pair].seen_from(strategy)
    return seen.ratio / seen.low if seen.low else math.inf


def _pair(one: str, other: str) -> Pair:
    """The two as `PAIRS` has them."""
    return (one, other) if (one, other) in PAIRS else (other, one)


def _both_ways(one: Comparison, other: Comparison) -> Comparison:
    """A pair that was compared in both directions: it is told apart only if both say so, and alike.

    The two need not agree: where one strategy has more configurations, other visits enter.
    """
    other = other.seen_from(one.strategy)
    if one.decides and other.decides and one.verdict != other.verdict:
        low, high = min(one.low, other.low), max(one.high, other.high)
        return dataclasses.replace(one, low=low, high=high, verdict="inconclusive", decides=False)
    return min(one, other, key=lambda c: (c.decides, c.verdict != "inconclusive"))


def told_by(row: Mapping[str, Any], one: str, other: str) -> Comparison:
    """What a row of `by_strategy` that has a verdict says of ``one`` against ``other``, by these names."""
    low, high = (0.0, math.inf) if row["low"] is None else (row["low"], row["high"])
    verdict, disputed = row["verdict"], bool(row["disputed"])
    return Comparison(one, other, row["ratio"], low, high, verdict, verdict in ("slower", "faster"), disputed=disputed)


def surest(found: Iterable[Comparison]) -> Comparison:
    """Of several comparisons of the same two one that tells them apart, and of those the narrowest."""
    return min(found, key=lambda c: (not c.decides, c.high - c.low))


def through(one: Comparison, other: Comparison) -> Comparison:
    """Two strategies compared with one reference: their ratio, within the widest that both intervals allow.

    It is inconclusive where one of the two comparisons is disputed, whatever the intervals of means say.
    """
    low = one.low / other.high
    high = one.high / other.low if other.low else math.inf
    disputed = one.disputed or other.disputed
    verdict = "inconclusive" if disputed else "slower" if low > 1 else "faster" if high < 1 else "inconclusive"
    return Comparison(
        one.strategy,
        other.strategy,
        one.ratio / other.ratio,
        low,
        high,
        verdict,
        verdict != "inconclusive",
        one.reference,
        disputed,
    )


def within_margin(compared: Comparison, margin: float) -> Comparison:
    """A difference that surely lies within the margin is one that nobody has to act on, as in `stats.verdict`."""
    if not compared.disputed and 1 / margin < compared.low and compared.high < margin:
        return dataclasses.replace(compared, verdict="equivalent", decides=False)
    return compared
