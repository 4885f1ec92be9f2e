"""Orders in which configurations take turns, balanced: over some laps each is as often first, second, ... as any other.

An order drawn anew each time is balanced only on average. Where a run is short, what comes first (and finds caches,
allocators and clocks as another left them) is then by chance one configuration more often than its reference.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np


def balanced_order(count: int, place: int, seed: Sequence[int]) -> tuple[int, ...]:
    """The order of ``count`` things in lap number ``place`` of an endless series of laps that ``seed`` draws.

    The series is made of Williams' Latin squares, each with its rows and names shuffled: within one, every thing has
    every place equally often and follows every other equally often. An even ``count`` takes ``count`` laps for it, an
    odd one twice as many. Source: Williams (1949), Australian Journal of Scientific Research A 2, 149-168.
    """
    rows = _square(count)
    square, row = divmod(place, len(rows))
    rng = np.random.default_rng([*seed, square])
    names = rng.permutation(count)
    return tuple(int(names[thing]) for thing in rows[rng.permutation(len(rows))[row]])


@functools.cache
def _square(count: int) -> tuple[tuple[int, ...], ...]:
    """Williams' design: 0, 1, n - 1, 2, n - 2, ... and its shifts; of an odd number also all of them backwards."""
    first = [(place + 1) // 2 if place % 2 else (count - place // 2) % count for place in range(count)]
    rows = [tuple((thing + shift) % count for thing in first) for shift in range(count)]
    return (*rows, *(row[::-1] for row in rows)) if count % 2 and count > 1 else tuple(rows) or ((),)
