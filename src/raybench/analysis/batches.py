"""How many samples are looked at at a time: so that the memory of a long run is that of some millions of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

ROWS_AT_ONCE: Final = 2_000_000
"""Samples that are held at a time, where no configuration or round has more: some 100 bytes each."""


def batches(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of neighbours that have `ROWS_AT_ONCE` together at most, or of one that has more."""
    first, held = 0, 0
    for number, count in enumerate(counts):
        if number > first and held + count > ROWS_AT_ONCE:
            yield first, number - 1
            first, held = number, 0
        held += count
    if counts:
        yield first, len(counts) - 1
