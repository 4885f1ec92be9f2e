"""Which of several things a request is for, by the name of how requests come to them."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Final, Literal

Routing = Literal["round_robin", "blocked", "mixed", "uniform", "zipf", "geometric"]
"""How the requests of several adapters come: in turns, all of one after all of another, mixed in each batch, or drawn.

Drawn, each adapter is as likely (``uniform``), adapter number k is so by 1 / k (``zipf``: Zipf's law with exponent 1),
or each is 2/3 as likely as the one before it (``geometric``). Of 1,024 the first 8 then get 0.8, 36.2 and 96.1 %.
"""

_RATIO: Final = 2 / 3
DRAWN: Final = frozenset({"uniform", "zipf", "geometric"})


def shares(routing: Routing, count: int) -> list[float]:
    """How likely each of ``count`` things is where requests are drawn; they add up to 1."""
    exponents = {"uniform": 0.0, "zipf": 1.0}
    if routing == "geometric":
        found = [_RATIO**place for place in range(count)]
    else:
        found = [(place + 1) ** -exponents[routing] for place in range(count)]
    total = sum(found)
    return [weight / total for weight in found]


def places(routing: Routing, count: int, first: int, requests: int, seed: int) -> list[int]:
    """Of a round's requests, from number ``first`` on, the place of the one of ``count`` things that each is for.

    What is drawn follows from ``seed`` and ``first`` alone.
    """
    if routing in DRAWN:
        drawn = random.Random(f"{seed}/{first}")
        return drawn.choices(range(count), cum_weights=list(accumulate(shares(routing, count))), k=requests)
    if routing == "blocked":
        return [i * count // requests for i in range(requests)]
    return [(first + i) % count for i in range(requests)]
