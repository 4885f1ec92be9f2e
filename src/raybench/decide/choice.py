"""Which way is advised, and which others would be somewhere within what the run can tell apart.

Section 6 of the rule in `docs/decide.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from raybench.decide.advice import Comparison, WayResult
from raybench.decide.capacity import Measured
from raybench.decide.needs import Needs
from raybench.decide.telling import Pair, slack


def best_of(ways: Sequence[WayResult]) -> WayResult | None:
    """The way that needs the fewest GPUs by its own numbers, ties in the order of ``ways``; None: none is feasible."""
    return min((way for way in ways if way.gpus is not None), key=lambda way: way.gpus or 0, default=None)


def may_be_better(
    best: WayResult, measured: Sequence[Measured], needs: Needs, compared: Mapping[Pair, Comparison]
) -> tuple[str, ...]:
    """Names of the ways that would be advised instead of ``best`` within the interval of the two.

    One of the two stays as measured, and the other is as much faster or slower than the interval of their ratio allows:
    no comparison turns a number by more than that, and none turns it where both are of one strategy.
    """
    (chosen,) = (one for one in measured if one.way.name == best.way)
    found, goes_first = [], True
    for one in measured:
        if one is chosen:
            goes_first = False
            continue
        factor = slack(compared, one.way.strategy, chosen.way.strategy)
        faster = one.gpus(needs, 0.0 if math.isinf(factor) else 1 / factor)
        if _beats(faster, best.gpus, goes_first) or _beats(one.gpus(needs), chosen.gpus(needs, factor), goes_first):
            found.append(one.way.name)
    return tuple(found)


def _beats(gpus: int | None, other: int | None, goes_first: bool) -> bool:
    """Whether a way that needs ``gpus`` is advised before one that needs ``other``; ``goes_first``: at as many."""
    if gpus is None:
        return False
    return other is None or gpus < other or (gpus == other and goes_first)
